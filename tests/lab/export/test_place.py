from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ssfe.lab.errors import UserError
from ssfe.lab.export.place import check_free, staged


@pytest.mark.parametrize(
    ("name", "folder", "said"),
    [
        ("thesis.txt", False, "thesis.txt is there already and no export of ssfe: choose another --output"),
        ("full", False, "full is a folder: choose another --output, a file"),
        ("full", True, "full is not empty: choose another --output, or remove it first"),
        ("thesis.txt", True, "thesis.txt is a file: choose another --output, a folder"),
    ],
)
def test_nothing_of_the_users_is_overwritten(name: str, folder: bool, said: str, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("four years of work")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    with pytest.raises(UserError, match=said):
        check_free(tmp_path / name, folder=folder)


def test_what_is_free(exports: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "bare").mkdir()
    check_free(tmp_path / "empty", folder=False)
    check_free(tmp_path / "absent" / "x.onnx", folder=False)
    check_free(tmp_path / "bare", folder=True)
    check_free(tmp_path / "absent", folder=True)
    for earlier in ("model.safetensors", "model.pt2", "model.onnx"):
        check_free(exports.folder / earlier, folder=False)
    with pytest.raises(UserError, match="no export of ssfe"):
        check_free(exports.run / "model.safetensors", folder=False)


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with staged(tmp_path / "old") as made:
            made.write_text("half")
            raise KeyError

    (tmp_path / "old").write_text("before")
    with pytest.raises(KeyError):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old").read_text() == "before"


def test_a_file_with_its_neighbour_and_a_folder(tmp_path: Path) -> None:
    with staged(tmp_path / "new" / "x.onnx") as made:
        made.write_text("graph")
        made.with_name("x.onnx.data").write_text("weights")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["x.onnx", "x.onnx.data"]
    (tmp_path / "bare").mkdir()
    with staged(tmp_path / "bare") as made:
        made.mkdir()
        (made / "README.md").write_text("card")
    assert [path.name for path in (tmp_path / "bare").iterdir()] == ["README.md"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bare", "new"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match=r"cannot write .*file/x.onnx: .*; choose another --output"),
        staged(tmp_path / "file" / "x.onnx"),
    ):
        raise AssertionError("not reached")
