"""Small images on disk, each of one colour that tells its class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import PIL.Image
import pytest

MakeFolder = Callable[..., Path]


def paint(path: Path, value: int, size: tuple[int, int] = (8, 8), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.new(mode, size, (value,) * len(mode)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> MakeFolder:
    """Make ``tmp_path/name`` with ``counts[folder]`` images in each folder, image i of class k coloured 20k + i."""

    def make(counts: Mapping[str, int], name: str = "pets", size: tuple[int, int] = (8, 8), mode: str = "RGB") -> Path:
        classes = sorted({Path(key).name for key in counts})
        for key, count in counts.items():
            (tmp_path / name / key).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                paint(tmp_path / name / key / f"{i}.png", 20 * classes.index(Path(key).name) + i, size, mode)
        return tmp_path / name

    return make
