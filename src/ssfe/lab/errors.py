"""The one exception that the command turns into a single line on the terminal."""

from __future__ import annotations


class UserError(Exception):
    """A mistake the user can mend. The message is one line: what is wrong, and how to mend it.

    The command prints it without a traceback and exits with status 2.
    """

    @property
    def line(self) -> str:
        """The message alone: an error from a loader's worker process comes wrapped in that process's traceback."""
        return str(self).rsplit("UserError: ", 1)[-1].strip()


class Diverged(UserError):
    """Training has diverged: continuing the run would end the same way."""


def said_of_files(error: OSError) -> str:
    """What the operating system said, and of which file, in one line."""
    if error.strerror is None or error.filename is None:
        return str(error) or type(error).__name__
    return f"{error.strerror}: {error.filename}"
