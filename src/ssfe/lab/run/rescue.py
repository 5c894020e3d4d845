"""What goes wrong while a run is under way, told with the way to continue it."""

from __future__ import annotations

import errno
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from safetensors import SafetensorError

from ssfe.lab.errors import UserError
from ssfe.lab.run.folder import RunFolder
from ssfe.lab.training.interrupt import Interrupted


@contextmanager
def rescued(folder: RunFolder) -> Iterator[None]:
    """Within, a full disk and mistakes in the data become a UserError that says how to go on, Ctrl-C an Interrupted."""
    again = f"continue with ssfe train --resume {folder.path}"
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stop:
        # A second Ctrl-C in training, which Lightning answers with sys.exit, or one after it.
        if isinstance(stop, SystemExit) and not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        if folder.checkpoint.exists():
            raise Interrupted(signal.SIGINT, folder.path) from stop
        raise KeyboardInterrupt from stop
    except UserError as error:
        if "start a new run" in error.line:  # Diverged: to continue would end the same way.
            raise
        raise UserError(f"{error.line.rstrip('.')}; the run is kept: mend this, then {again}") from error
    except (OSError, SafetensorError) as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if not full and "No space left" not in str(error):
            raise
        raise UserError(f"the disk of {folder.path} is full; nothing is lost: free some space, then {again}") from error
