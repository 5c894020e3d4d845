"""What goes wrong while a run is under way, told with the way to continue it."""

from __future__ import annotations

import errno
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from shlex import quote

from lightning.pytorch.utilities.exceptions import SIGTERMException
from safetensors import SafetensorError

from ssfe.lab.data.decode import UNREADABLE
from ssfe.lab.errors import Diverged, UserError, said_of_files
from ssfe.lab.run.folder import RunFolder
from ssfe.lab.training.interrupt import Interrupted


@contextmanager
def rescued(folder: RunFolder) -> Iterator[None]:
    """Within, a full disk and mistakes in the data become a UserError that says how to go on, Ctrl-C an Interrupted."""
    again = f"continue with ssfe train --resume {quote(str(folder.path))}"
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stop:
        number = _signal_behind(stop)
        if number is None:
            raise
        raise Interrupted(number, folder.path) from stop
    except Diverged:
        raise
    except UserError as error:
        # Without the image the run would not be the one that was started.
        line = error.line.rstrip(".").replace(UNREADABLE, "replace it by an image of the same name")
        raise UserError(f"{line}; the run is kept: mend this, then {again}") from error
    except (OSError, SafetensorError) as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or "No space left" in str(error):
            what = f"the disk of {folder.path} is full; nothing is lost: free some space"
            raise UserError(f"{what}, then {again}") from error
        if isinstance(error, BrokenPipeError) or not isinstance(error, OSError):
            raise
        raise UserError(f"{said_of_files(error)}; the run is kept: mend this, then {again}") from error
    except (RuntimeError, ValueError) as error:
        told = _told(error, again)
        if told is None:
            raise
        raise UserError(told) from error


def _told(error: Exception, again: str) -> str | None:
    """What to say of errors that torch has only words for."""
    if "DataLoader worker" in str(error):  # killed, or dead of itself
        what = "a process that loads images was killed, perhaps for want of memory; the run is kept"
        return f"{what}: {again} and fewer --workers (0 loads without more processes)"
    if "more than 1 value per channel" in str(error):
        return "batch norm cannot train on single values: raise batch_size or image_size, in a new run"
    return None


def _signal_behind(stop: BaseException) -> int | None:
    """The signal that Lightning, or Python, answered in its own way: a second Ctrl-C, or one outside of training."""
    if isinstance(stop, SIGTERMException):
        return signal.SIGTERM
    # Lightning turns a KeyboardInterrupt into sys.exit.
    return signal.SIGINT if isinstance(stop.__context__ or stop, KeyboardInterrupt) else None
