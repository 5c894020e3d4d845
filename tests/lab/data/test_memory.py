from __future__ import annotations

import itertools
from pathlib import Path

import PIL.Image
import pytest
import torch

from ssfe.lab.data import ArrayImages, FileImages
from ssfe.lab.data import memory as module
from ssfe.lab.data.memory import Look, evenly, hold, look
from ssfe.lab.errors import UserError


def files(folder: Path, sizes: list[tuple[int, int]], mode: str = "RGB") -> FileImages:
    paths = [folder / f"{i}.png" for i in range(len(sizes))]
    for i, (path, size) in enumerate(zip(paths, sizes, strict=True)):
        PIL.Image.new(mode, size, (i,) * len(mode)).save(path)
    return FileImages([str(path) for path in paths], torch.arange(len(sizes)))


@pytest.mark.parametrize(
    ("size", "mode", "image_size", "channels", "small"),
    [
        ((32, 32), "RGB", 32, 3, True),
        ((64, 64), "L", 64, 1, True),
        ((20, 30), "RGB", 30, 3, True),
        ((65, 65), "RGB", 288, 3, False),
        ((300, 200), "L", 288, 3, False),
    ],
)
def test_size_and_channels_follow_from_the_images(
    tmp_path: Path, size: tuple[int, int], mode: str, image_size: int, channels: int, small: bool
) -> None:
    seen = look(files(tmp_path, [size] * 3, mode))
    assert (seen.input_size(288), seen.channels, seen.small) == (image_size, channels, small)


def test_small_images_of_several_sizes_are_brought_to_64_pixels(tmp_path: Path) -> None:
    seen = look(files(tmp_path, [(30, 30), (40, 35), (50, 70)]))
    assert (seen.input_size(288), seen.channels, seen.small) == (64, 3, False)


def test_one_coloured_image_makes_all_rgb(tmp_path: Path) -> None:
    images = files(tmp_path, [(8, 8)] * 3, "L")
    PIL.Image.new("RGB", (8, 8)).save(images.paths[1])
    assert look(images).channels == 3


def test_arrays_are_not_probed() -> None:
    assert look(ArrayImages(torch.zeros(2, 1, 28, 28, dtype=torch.uint8), torch.zeros(2))) == Look((28, 28), 28, True)


def test_small_images_are_decoded_into_memory_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = files(tmp_path, [(8, 8)] * 250).subset([200, 3, 7])
    held = hold(images, look(images))
    assert isinstance(held, ArrayImages)
    assert held.stack()[:, 0, 0, 0].tolist() == [200, 3, 7]
    assert held.labels.tolist() == [200, 3, 7]


def test_a_stray_image_of_another_size_leaves_all_on_disk(tmp_path: Path) -> None:
    images = files(tmp_path, [(8, 8), (9, 9)])
    held = hold(images, Look((8, 8), 8, False))
    assert isinstance(held, FileImages)
    assert held[1][0].shape == (3, 9, 9)


def test_what_does_not_fit_stays_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = files(tmp_path, [(8, 8)] * 2)
    monkeypatch.setattr(module, "MEMORY_LIMIT", 2 * 3 * 64)
    assert hold(images, look(images)).in_memory
    monkeypatch.setattr(module, "MEMORY_LIMIT", 2 * 3 * 64 - 1)
    assert not hold(images, look(images)).in_memory


def test_a_damaged_image_is_reported_at_the_start(tmp_path: Path) -> None:
    images = files(tmp_path, [(8, 8)] * 300)
    Path(images.paths[290]).write_bytes(b"x")
    with pytest.raises(UserError, match=r"290\.png"):
        hold(images, Look((8, 8), 8, False))


@pytest.mark.parametrize(("count", "limit"), [(3, 5), (5, 5), (100, 7), (1000, 64)])
def test_evenly_spaced_indices_reach_from_end_to_end(count: int, limit: int) -> None:
    indices = evenly(count, limit)
    assert (indices[0], indices[-1], len(indices)) == (0, count - 1, min(count, limit))
    steps = {b - a for a, b in itertools.pairwise(indices)}
    assert max(steps) - min(steps) <= 1
