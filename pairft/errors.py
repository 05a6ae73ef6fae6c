"""The one kind of error that is the user's to mend, and the exit codes."""

import signal

EXIT_USER = 2
EXIT_STOPPED = {signal.SIGINT: 130, signal.SIGTERM: 143}


class UserError(ValueError):
    """Something the user can mend. The message names what is wrong, where, and the remedy; it is shown without a
    traceback and the program ends with EXIT_USER."""
