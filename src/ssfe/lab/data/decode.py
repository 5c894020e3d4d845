"""From a PIL image to a uint8 tensor, with one error for everything that a damaged image can raise."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Literal, overload

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from ssfe.lab.errors import UserError

UNREADABLE = "remove or replace it"
"""What to do about an image that cannot be read."""

# What Pillow raises for truncated, mislabelled or hostile files, by format.
DAMAGED = (
    *(OSError, SyntaxError, ValueError, EOFError, TypeError, AttributeError, LookupError, ArithmeticError),
    *(struct.error, zlib.error, PIL.Image.DecompressionBombError),
)

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}
"""What turns an image upright, by its EXIF orientation (as in PIL.ImageOps.exif_transpose)."""


@overload
def decode(opener: Callable[[], PIL.Image.Image], mode: None, where: str) -> tuple[str, tuple[int, int]]: ...
@overload
def decode(opener: Callable[[], PIL.Image.Image], mode: Literal["RGB", "L"], where: str) -> Tensor: ...
def decode(
    opener: Callable[[], PIL.Image.Image], mode: Literal["RGB", "L"] | None, where: str
) -> Tensor | tuple[str, tuple[int, int]]:
    """Open an image and give it as uint8 (C, H, W), upright; with ``mode=None`` only its PIL mode and size.

    Raises UserError naming ``where`` if the image cannot be read.
    """
    try:
        with opener() as image:
            if mode is None:
                return image.mode, image.size
            return pil_to_uint8(image, mode)
    except DAMAGED as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"Cannot read the image {where} ({reason}): {UNREADABLE}.") from error


def pil_to_uint8(image: PIL.Image.Image, mode: Literal["RGB", "L"]) -> Tensor:
    """The image, turned upright by its EXIF tag, as a uint8 tensor (3, H, W) for RGB or (1, H, W) for L.

    16-bit grey images keep their upper 8 bits (Pillow alone would clip them); alpha is dropped.

    Raises ValueError for 32-bit or signed integers and for floats, whose range is not known.
    """
    sixteen = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM")
    image = _upright(image)
    if image.mode in ("I", "F") and not sixteen:
        raise ValueError("its pixels are 32-bit or signed numbers of unknown range; make them 8 or 16 bits, unsigned")
    if sixteen:
        image = PIL.Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    pixels = np.array(image.convert(mode))
    return torch.from_numpy(pixels).reshape(*pixels.shape[:2], -1).permute(2, 0, 1).contiguous()


def _upright(image: PIL.Image.Image) -> PIL.Image.Image:
    """The image, turned by its EXIF tag. Pillow's own ``exif_transpose`` also writes all tags anew, and so refuses good
    pixels for a damaged tag that nobody needs.
    """
    image.load()
    try:
        turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    except DAMAGED:
        turn = None
    return image if turn is None else image.transpose(turn)
