"""The errors that end a run without a traceback, and the exit codes."""

import errno

EXIT_USER = 2
EXIT_DIVERGED = 3
# File system errors that the user can fix: no space, no permission, a missing folder, a failing disk.
USER_ERRNOS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG),
    *(errno.ENOENT, errno.ENOTDIR, errno.EIO, errno.ESTALE),
)
EXIT_SIGNAL = 128  # plus the number of the signal that stopped the run, as in a shell


class UserError(ValueError):
    """Something the user can fix. The message says what is wrong, where, and what to do. It is shown without a
    traceback, and the program exits with EXIT_USER."""


class DiskError(UserError):
    """There is no room, or saving failed: no fault of the settings, so that a search over them ends, too."""


class Diverged(ArithmeticError):
    """A loss or gradient (or `what`) is not finite. The program exits with EXIT_DIVERGED."""

    def __init__(self, step: int, what: str = "the loss or the gradient") -> None:
        super().__init__(f"{what} is not finite at step {step}")
        self.step = step  # the first step with such a value, counted from 1


class PeerFailed(Exception):
    """Another process of this run has failed and shows its error. This one ends with the exit code `code`."""

    def __init__(self, code: int) -> None:
        super().__init__(f"another rank has failed with exit code {code}")
        self.code = code
