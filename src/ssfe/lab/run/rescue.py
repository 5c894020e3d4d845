"""What goes wrong while a run is under way, told with the way to continue it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from safetensors import SafetensorError

from ssfe.lab.errors import UserError
from ssfe.lab.run.folder import RunFolder


@contextmanager
def rescued(folder: RunFolder) -> Iterator[None]:
    """Within, a full disk and mistakes in the data become a UserError that says how to go on."""
    again = f"then continue with ssfe train --resume {folder.path}"
    try:
        yield
    except UserError as error:
        if not folder.checkpoint.exists():
            raise
        raise UserError(f"{error.line} The run is kept: mend this, {again}") from error
    except (OSError, SafetensorError) as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if not full and "No space left" not in str(error):
            raise
        raise UserError(f"the disk of {folder.path} is full; nothing is lost: free some space, {again}") from error
