from __future__ import annotations

from pathlib import Path

import pytest

from ssfe.lab.errors import UserError
from ssfe.lab.files import read_yaml, write_json, write_whole


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_json(path, {"a": 1})

    def fail(unfinished: Path) -> None:
        unfinished.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_whole(path, fail)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == '{\n  "a": 1\n}\n'


def test_reading_yaml(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("a: 1\nb: !!python/object/apply:os.getpid []\n")
    with pytest.raises(UserError, match="not YAML"):
        read_yaml(path)
    path.write_text("a: 1\n")
    assert read_yaml(path) == {"a": 1}


def test_files_have_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    """safetensors makes files for their owner alone."""
    (tmp_path / "usual").touch()
    write_whole(tmp_path / "whole", lambda path: path.touch(mode=0o600))
    assert (tmp_path / "whole").stat().st_mode == (tmp_path / "usual").stat().st_mode
