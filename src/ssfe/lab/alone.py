"""Keeping two processes apart that would write into one folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ssfe.lab.errors import UserError


@contextmanager
def alone(folder: Path, what: str) -> Iterator[None]:
    """Within, no other process is at work in the folder; on a file system without locks nobody can tell.

    Raises:
        UserError: if one is, with ``what`` it does ("trains this run").
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(f"another process {what} ({folder}): wait for it, or stop it") from error
    except (OSError, NotImplementedError):
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError):  # where open files cannot be removed
            (folder / ".lock").unlink()
        lock.release()
