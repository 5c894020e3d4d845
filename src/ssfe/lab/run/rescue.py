"""What goes wrong while a run is under way, told with the way to continue it."""

from __future__ import annotations

import errno
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch.utilities.exceptions import SIGTERMException
from safetensors import SafetensorError

from ssfe.lab.errors import Diverged, UserError
from ssfe.lab.run.folder import RunFolder
from ssfe.lab.training.interrupt import Interrupted


@contextmanager
def rescued(folder: RunFolder) -> Iterator[None]:
    """Within, a full disk and mistakes in the data become a UserError that says how to go on, Ctrl-C an Interrupted."""
    again = f"continue with ssfe train --resume {folder.path}"
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
        raise UserError(f"{error.line.rstrip('.')}; the run is kept: mend this, then {again}") from error
    except (OSError, SafetensorError) as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if not full and "No space left" not in str(error):
            raise
        raise UserError(f"the disk of {folder.path} is full; nothing is lost: free some space, then {again}") from error


def _signal_behind(stop: BaseException) -> int | None:
    """The signal that Lightning, or Python, answered in its own way: a second Ctrl-C, or one outside of training."""
    if isinstance(stop, SIGTERMException):
        return signal.SIGTERM
    # Lightning turns a KeyboardInterrupt into sys.exit.
    return signal.SIGINT if isinstance(stop.__context__ or stop, KeyboardInterrupt) else None
