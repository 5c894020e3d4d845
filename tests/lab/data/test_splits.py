from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from ssfe.lab.data import ArrayImages, FileImages
from ssfe.lab.errors import UserError


def array_images() -> ArrayImages:
    images = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1).expand(6, 3, 4, 5).contiguous()
    return ArrayImages(images, torch.arange(6) + 10)


def file_images(path: Path) -> FileImages:
    return FileImages([str(path)], torch.tensor([3]))


def test_an_item_is_an_image_and_its_class_index() -> None:
    image, label = array_images()[2]
    assert (image.dtype, image.shape) == (torch.uint8, (3, 4, 5))
    assert (int(image[0, 0, 0]), label) == (2, 12)
    assert isinstance(label, int)


def test_subsets_nest_keep_their_order_and_share_the_images() -> None:
    whole = array_images()
    part = whole.subset([5, 1, 3]).subset(torch.tensor([2, 0]))
    assert [(int(image[0, 0, 0]), label) for image, label in (part[0], part[1])] == [(3, 13), (5, 15)]
    assert part.labels.tolist() == [13, 15]
    assert len(part) == 2
    assert len(whole) == 6
    assert part[0][0].data_ptr() == whole[3][0].data_ptr()


def test_the_end_of_a_split_raises_index_error() -> None:
    with pytest.raises(IndexError):
        array_images().subset([0, 1])[2]


def test_stacking_follows_the_subset() -> None:
    part = array_images().subset([5, 1, 3])
    assert isinstance(part, ArrayImages)
    assert part.stack()[:, 0, 0, 0].tolist() == [5, 1, 3]
    assert part.stack(torch.tensor([2, 0]))[:, 0, 0, 0].tolist() == [3, 5]


def test_relabelling_leaves_the_original_alone() -> None:
    whole = array_images()
    assert whole.relabel(torch.zeros(6)).labels.tolist() == [0] * 6
    assert whole.labels.tolist() == [10, 11, 12, 13, 14, 15]


def test_in_memory_tells_arrays_from_files(tmp_path: Path) -> None:
    assert array_images().in_memory
    assert not file_images(tmp_path / "a.png").in_memory


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGB", (1, 2, 3), (1, 2, 3)),
        ("L", 7, (7, 7, 7)),
        ("1", 1, (255, 255, 255)),
        ("RGBA", (1, 2, 3, 100), (1, 2, 3)),
        ("I;16", 0x1234, (0x12, 0x12, 0x12)),
    ],
)
def test_every_pil_mode_becomes_rgb(tmp_path: Path, mode: str, colour: object, expected: tuple[int, ...]) -> None:
    PIL.Image.new(mode, (5, 4), colour).save(tmp_path / "a.png")  # type: ignore[arg-type]
    image, label = file_images(tmp_path / "a.png")[0]
    assert (image.dtype, image.shape, label) == (torch.uint8, (3, 4, 5), 3)
    assert tuple(image[:, 2, 2].tolist()) == expected


def test_sixteen_bits_in_a_pgm(tmp_path: Path) -> None:
    """Pillow opens it as 32-bit integers."""
    (tmp_path / "a.pgm").write_bytes(b"P5 2 1 65535\n\x12\x34\x00\xff")
    assert file_images(tmp_path / "a.pgm")[0][0][:, 0].tolist() == [[0x12, 0]] * 3


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pixels_of_unknown_range_are_refused(tmp_path: Path, mode: str) -> None:
    PIL.Image.new(mode, (5, 4), 7).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match="its pixels are 32-bit or signed numbers of unknown range"):
        file_images(tmp_path / "a.tif")[0]


def test_a_palette_with_transparency_keeps_its_colours(tmp_path: Path) -> None:
    image = PIL.Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 9, 8, 7])
    image.save(tmp_path / "a.png", transparency=b"\x00\x80")
    assert file_images(tmp_path / "a.png")[0][0][:, 0, 0].tolist() == [9, 8, 7]


def test_grey_decoding_gives_one_channel(tmp_path: Path) -> None:
    PIL.Image.new("RGB", (5, 4), (9, 9, 9)).save(tmp_path / "a.png")
    images = file_images(tmp_path / "a.png")
    assert images.decoded_as("L")[0][0].shape == (1, 4, 5)
    assert images[0][0].shape == (3, 4, 5)


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    pixels = np.zeros((4, 8, 3), dtype=np.uint8)
    pixels[:, :4] = 255  # bright left half; orientation 6 turns it clockwise, so that it becomes the top
    image = PIL.Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.png", exif=exif)
    decoded, _ = file_images(tmp_path / "a.png")[0]
    assert decoded.shape == (3, 8, 4)
    assert decoded[:, :4].min() == 255
    assert decoded[:, 4:].max() == 0


@pytest.mark.parametrize("damage", ["text", "truncated", "empty", "missing", "broken chunk"])
def test_a_damaged_file_is_named_in_one_line(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "broken.png"
    PIL.Image.effect_noise((64, 64), 50).save(path)
    content = path.read_bytes()
    changed = {"text": b"not an image", "truncated": content[:500], "empty": b""}
    changed["broken chunk"] = content.replace(b"IDAT", b"\x00\x01\x02\x03")
    path.write_bytes(changed.get(damage, content))
    if damage == "missing":
        path.unlink()
    with pytest.raises(UserError) as caught:
        file_images(path)[0]
    message = str(caught.value)
    assert message.startswith(f"Cannot read the image {path} (")
    assert message.endswith("): remove or replace it.")
    assert "\n" not in message


def test_an_image_beyond_pillows_safety_limit_is_a_user_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    PIL.Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UserError, match="exceeds limit"):
        file_images(tmp_path / "a.png")[0]


def test_splits_travel_to_worker_processes(tmp_path: Path) -> None:
    PIL.Image.new("RGB", (5, 4), (9, 9, 9)).save(tmp_path / "a.png")
    for split in (array_images(), file_images(tmp_path / "a.png")):
        copy = pickle.loads(pickle.dumps(split.subset([0])))
        assert torch.equal(copy[0][0], split[0][0])


def test_good_pixels_are_read_whatever_the_other_tags(tmp_path: Path) -> None:
    """Pillow's exif_transpose writes all tags anew, and fails on this one."""
    pixels = np.zeros((16, 32, 3), dtype=np.uint8)
    pixels[:, :16] = 255
    entries = b"\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00"  # orientation 6
    entries += b"\x10\x01\x0b\x00\x01\x00\x00\x00\x00\x00\x80\x3f"  # the camera's model, as a float
    exif = b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x02\x00" + entries + bytes(4)
    PIL.Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=95, exif=exif)
    with pytest.raises((AttributeError, TypeError)), PIL.Image.open(tmp_path / "a.jpg") as image:
        PIL.ImageOps.exif_transpose(image)
    decoded, _ = file_images(tmp_path / "a.jpg")[0]
    assert decoded.shape == (3, 32, 16)
    assert decoded[:, :14].min() > 200
    assert decoded[:, 18:].max() < 50
    for orientation in range(1, 9):
        image = PIL.Image.effect_noise((6, 4), 80)
        tags = image.getexif()
        tags[0x0112] = orientation
        image.save(tmp_path / "turned.png", exif=tags)
        with PIL.Image.open(tmp_path / "turned.png") as stored:
            expected = np.asarray(PIL.ImageOps.exif_transpose(stored).convert("RGB"))
        assert (file_images(tmp_path / "turned.png")[0][0].permute(1, 2, 0).numpy() == expected).all()
