"""``ssfe export``: a run's shipped network as another program wants it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ssfe.lab.errors import UserError
from ssfe.lab.export.check import Agreement, compare, require, sample_images
from ssfe.lab.export.formats import find_format
from ssfe.lab.export.place import check_free, staged
from ssfe.lab.export.shipment import Shipment
from ssfe.lab.run.folder import RunFolder
from ssfe.lab.run.model_file import load_shipped


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: the file or folder.
        size: in bytes.
        runtime: what it was checked with, such as ``onnxruntime 1.32.0``.
        source: the images it was checked on, in words.
        agreement: with the run's network.
        shipment: what was exported.
    """

    path: Path
    size: int
    runtime: str
    source: str
    agreement: Agreement
    shipment: Shipment


def export(
    folder: RunFolder,
    form: str,
    *,
    output: Path | None = None,
    batch: int | None = None,
    pixels: bool = False,
    data_dir: Path | None = None,
) -> Exported:
    """Write a run's shipped network in another format, after reading it back and comparing its logits.

    Weights (safetensors, hf) must give the very same logits; graphs (torch-export, onnx) may differ by rounding.

    Args:
        folder: of a finished run.
        form: a name of :data:`~ssfe.lab.export.formats.FORMATS`.
        output: the file or folder to write. Default: in RUN/export/.
        batch: images at a time that a graph is made for; None: any number.
        pixels: the graph takes uint8 pixels and normalises them.
        data_dir: where the run's named data set lies now.

    Raises:
        UserError: if the run has no model, the output is taken, a package is missing, the network cannot be traced, or
            the export computes something else.
    """
    chosen = find_format(form)
    if not chosen.graph and (batch is not None or pixels):
        raise UserError(f"{form} holds weights and no graph: --batch and --input are for torch-export and onnx")
    if batch is not None and batch < 1:
        raise UserError(f"batch={batch} must be at least 1, or dynamic")
    network, card = load_shipped(folder)
    shipment = Shipment(folder, network, card, pixels, batch)
    path = output or folder.path / "export" / chosen.filename
    check_free(path, folder=form == "hf")
    sample = sample_images(shipment, data_dir)
    with staged(path) as made:
        chosen.write(shipment, made)
        agreement = compare(shipment, chosen.load(made), sample.images)
        require(agreement, exact=not chosen.graph)
        size = sum(file.stat().st_size for file in made.parent.rglob("*") if file.is_file())
    return Exported(path, size, chosen.runtime_version, sample.source, agreement, shipment)
