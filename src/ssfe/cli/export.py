"""``ssfe export``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentParser

from ssfe.cli.parsers import OneLineParser
from ssfe.cli.tables import say
from ssfe.lab.export.export import Exported, export
from ssfe.lab.run.folder import RunFolder


def export_parser() -> ArgumentParser:
    """The parser of ``ssfe export``."""
    parser = OneLineParser(
        prog="ssfe export",
        usage="ssfe export RUN --format safetensors|torch-export|onnx|hf [OPTION ...]",
        description="Write a run's shipped model in another format, checked against the run.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="A run folder.")
    parser.add_argument(
        "--format",
        type=Literal["safetensors", "torch-export", "onnx", "hf"],
        required=True,
        help="Of these, safetensors and hf (a Hugging Face folder) hold weights for timm, the others a graph.",
    )
    parser.add_argument("--output", type=Path | None, help="The file or folder to write. Default: in RUN/export/.")
    parser.add_argument(
        "--batch",
        type=int | Literal["dynamic"],
        default="dynamic",
        help="Images at a time that a graph takes. dynamic: any number.",
    )
    parser.add_argument(
        "--input",
        type=Literal["float", "uint8"],
        default="float",
        help="What a graph takes. float: normalised images. uint8: pixels, which it normalises itself.",
    )
    parser.add_argument("--data_dir", type=Path | None, help="As for ssfe train: to check on the run's test images.")
    return parser


def run_export(parsed: dict[str, Any]) -> int:
    """Export, and say what was written and what it was checked against."""
    batch = parsed["batch"]
    exported = export(
        RunFolder(parsed["run"]),
        parsed["format"],
        output=parsed["output"],
        batch=None if batch == "dynamic" else batch,
        pixels=parsed["input"] == "uint8",
        data_dir=parsed["data_dir"],
    )
    for line in report(exported):
        say(line)
    return 0


def report(exported: Exported) -> list[str]:
    """What was written, what it takes and gives, and how it compares with the run."""
    metadata, agreement = exported.shipment.metadata(), exported.agreement
    took, gives = metadata["input"], metadata["output"]
    shape, logits = (f"({', '.join(map(str, end['shape']))})" for end in (took, gives))
    return [
        f"wrote   {exported.path}, {_size(exported.size)}",
        f"input   {took['dtype']} {shape}, {took['values']}; output: logits {logits}",
        f"check   {exported.runtime} against the run, on {exported.source}",
        f"        largest difference of a logit: {agreement.largest:.2g} (logits up to {agreement.scale:.3g}); "
        f"same class: {agreement.same_class} of {agreement.images}",
    ]


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
