"""Files read with one clear complaint, and written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from ssfe.lab.errors import UserError


def read_yaml(path: Path) -> dict[str, Any]:
    """The options in a YAML file.

    Raises:
        UserError: if there is no such file, or it is not a mapping in YAML.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the config file {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a config file: it is no text; give a YAML file of options") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1}: {getattr(error, 'problem', '')})" if mark else ""
        raise UserError(f"{path} is not a config file: it is not YAML{where}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a config file: it has no lines of the form option: value")
    return content


def read_json(path: Path, mend: str) -> dict[str, Any]:
    """The mapping in a JSON file.

    Raises:
        UserError: if it cannot be read, or holds something else; it ends with ``mend``.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged: {mend}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged: {mend}")
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """A readable JSON file, replaced as a whole."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_whole(path, lambda unfinished: unfinished.write_text(text, encoding="utf-8"))


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file beside ``path`` and put it in its place: a full disk never leaves half a file, nor one that keeps
    it full."""
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        write(unfinished)
        give_usual_mode(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def give_usual_mode(path: Path) -> None:
    """The permissions of any new file: safetensors makes files that their owner alone may read."""
    mask = os.umask(0)  # it cannot be read otherwise
    os.umask(mask)
    path.chmod(0o666 & ~mask)
