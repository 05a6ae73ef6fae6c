"""The errors that end a run without a traceback, and the exit codes."""

import errno

EXIT_USER = 2
EXIT_DIVERGED = 3
# What a file system says that the user can fix: no space, no permission, a folder gone, a disk in trouble.
USER_ERRNOS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG),
    *(errno.ENOENT, errno.ENOTDIR, errno.EIO, errno.ESTALE),
)
EXIT_SIGNAL = 128  # plus the number of the signal that stopped the run, as a shell has it


class UserError(ValueError):
    """Something the user can fix. The message names what is wrong, where, and the remedy; it is shown without a
    traceback and the program ends with EXIT_USER."""


class Diverged(ArithmeticError):
    """Something is not finite: a loss or gradient, unless `what` says otherwise. Ends the program with code 3."""

    def __init__(self, step: int, what: str = "the loss or the gradient") -> None:
        super().__init__(f"{what} is not finite at step {step}")
        self.step = step  # the first such one, counted from 1
