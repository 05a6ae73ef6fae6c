"""The one kind of error that is the user's to mend, and the exit codes."""

import errno
import signal

EXIT_USER = 2
# What a file system says that the user can mend: no space, no permission, a name too long.
USER_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG)
EXIT_STOPPED = {signal.SIGINT: 130, signal.SIGTERM: 143}


class UserError(ValueError):
    """Something the user can mend. The message names what is wrong, where, and the remedy; it is shown without a
    traceback and the program ends with EXIT_USER."""
