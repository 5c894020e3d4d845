"""Where an export goes: nothing of the user's is overwritten, and nothing unfinished or unchecked is left there."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import safetensors

from ssfe.lab.errors import UserError
from ssfe.lab.export.shipment import MARK
from ssfe.lab.files import give_usual_mode


def check_free(path: Path, *, folder: bool) -> None:
    """Check that an export may be written there: nothing is there, or an empty folder for a folder, or for a file an
    empty file or an earlier export.

    Raises:
        UserError: if not.
    """
    try:
        if folder and path.exists() and not path.is_dir():
            raise UserError(f"{path} is a file: choose another --output, a folder")
        if folder and path.exists() and any(path.iterdir()):
            raise UserError(f"{path} is not empty: choose another --output, or remove it first")
        if not folder and path.is_dir():
            raise UserError(f"{path} is a folder: choose another --output, a file")
        if not folder and path.exists() and not _is_export(path):
            raise UserError(f"{path} is there already and no export of ssfe: choose another --output")
    except OSError as error:
        raise _unwritable(path, error) from error


def _is_export(path: Path) -> bool:
    """Whether the file is empty, or bears our mark: all formats store it uncompressed."""
    with path.open("rb") as file:
        if not path.stat().st_size:
            return True
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(MARK.encode()) >= 0


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """A path of the same name in a hidden folder beside ``path``; what is there at the end goes to ``path``.

    Nothing does if the block raises.

    Raises:
        UserError: if nothing can be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".ssfe-", dir=path.parent) as hidden:
            made = Path(hidden) / path.name
            yield made
            for file in filter(Path.is_file, Path(hidden).rglob("*")):
                give_usual_mode(file)
            if made.is_dir():
                path.mkdir(exist_ok=True)
                move = {file: path / file.name for file in made.iterdir()}
            else:  # with the file of weights that a large ONNX graph has beside it
                move = {file: path.parent / file.name for file in Path(hidden).iterdir()}
            for source, target in move.items():
                source.replace(target)
    except (OSError, safetensors.SafetensorError) as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: Exception) -> UserError:
    return UserError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}; choose another --output")
