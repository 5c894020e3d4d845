"""Images and heat maps as drawings with embedded PNGs."""

from __future__ import annotations

import base64
import io

import torch
from markupsafe import Markup
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ssfe.lab.report.charts.svg import drawing, tag

LARGEST = 160
"""Side in pixels to which larger images are reduced."""
_SIDE = 100
_HEAT_SIDE = 48
_FOG = (133, 138, 148)
"""What a network did not look at is hidden by grey: a coloured map over a coloured image could not be told from it."""


def picture(image: Tensor, name: str, description: str) -> Markup:
    """A uint8 image (C, S, S), C in {1, 3}, which later drawings may repeat by its name (an id on the page)."""
    small = image.shape[-1] <= 64
    if image.shape[-1] > LARGEST:
        shrunk = F.interpolate(image[None].float(), (LARGEST, LARGEST), mode="bilinear", antialias=True)
        image = shrunk[0].round().clamp(0, 255).to(torch.uint8)
    pixels = image.permute(1, 2, 0).contiguous().numpy()
    encoded = png(Image.fromarray(pixels.squeeze(-1) if len(image) == 1 else pixels))
    return drawing(_SIDE, _SIDE, description, _image(encoded, "pixels" if small else None, name))


def heat_over(name: str, heat: Tensor, description: str) -> Markup:
    """The picture of that name, clear where a heat map (h, w) in [0, 1] is high, fading into grey where it is low."""
    size = (_HEAT_SIDE, _HEAT_SIDE)
    smooth = F.interpolate(heat[None, None], size, mode="bicubic", align_corners=False)[0, 0].clamp(0, 1)
    opacity = (255 * 0.92 * (1 - smooth)).round().to(torch.uint8)[..., None]
    pixels = torch.cat([torch.tensor(_FOG, dtype=torch.uint8).expand(*size, 3), opacity], -1).numpy()
    return drawing(_SIDE, _SIDE, description, tag("use", href=f"#{name}"), _image(png(Image.fromarray(pixels))))


def repeated(name: str, description: str) -> Markup:
    """The picture of that name once more."""
    return drawing(_SIDE, _SIDE, description, tag("use", href=f"#{name}"))


def png(image: Image.Image) -> str:
    """A data URI."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _image(source: str, class_: str | None = None, name: str | None = None) -> Markup:
    return tag("image", href=source, width=_SIDE, height=_SIDE, class_=class_, id=name)
