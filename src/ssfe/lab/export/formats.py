"""The formats, by name."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from torch import Tensor

from ssfe.lab.errors import UserError
from ssfe.lab.export import hf_folder, onnx_file, safetensors_file, torch_export
from ssfe.lab.export.shipment import Shipment


@dataclass(frozen=True)
class Format:
    """How a format is written and read back.

    Attributes:
        filename: of the export, unless the user says otherwise.
        write: writes it.
        load: reads it back, from the file or folder alone: a function from inputs to logits.
        runtime: the package that ``load`` runs it with.
        graph: it holds a graph, which takes a batch size and pixels; otherwise weights for timm.
        packages: what it needs beyond the extra ``lab``.
    """

    filename: str
    write: Callable[[Shipment, Path], None]
    load: Callable[[Path], Callable[[Tensor], Tensor]]
    runtime: str
    graph: bool = False
    packages: tuple[str, ...] = ()

    @property
    def runtime_version(self) -> str:
        """Such as ``onnxruntime 1.32.0``."""
        return f"{self.runtime} {version(self.runtime)}"


FORMATS = {
    "safetensors": Format("model.safetensors", safetensors_file.write, safetensors_file.load, "timm"),
    "torch-export": Format("model.pt2", torch_export.write, torch_export.load, "torch", graph=True),
    "onnx": Format(
        "model.onnx",
        onnx_file.write,
        onnx_file.load,
        "onnxruntime",
        graph=True,
        packages=("onnx", "onnxscript", "onnxruntime"),
    ),
    "hf": Format("huggingface", hf_folder.write, hf_folder.load, "timm"),
}


def find_format(name: str) -> Format:
    """The format of that name.

    Raises:
        UserError: if there is none, or a package that it needs is missing.
    """
    if name not in FORMATS:
        raise UserError(f"format={name} is not one of {', '.join(FORMATS)}")
    missing = [package for package in FORMATS[name].packages if importlib.util.find_spec(package) is None]
    if missing:
        raise UserError(
            f'{name} needs {" and ".join(missing)}, of the extra export: pip install ".[export]" in the clone of ssfe'
        )
    return FORMATS[name]
