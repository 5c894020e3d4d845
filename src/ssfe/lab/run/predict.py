"""``ssfe predict``: class names and probabilities for image files, from the run folder alone."""

from __future__ import annotations

import csv
import errno
import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets.folder import IMG_EXTENSIONS

from ssfe.lab.data import FileImages, Preprocessing
from ssfe.lab.data.folder import other_formats, pictures
from ssfe.lab.errors import UserError
from ssfe.lab.run.folder import RunFolder
from ssfe.lab.run.model_file import load_shipped
from ssfe.lab.run.options import check_loading
from ssfe.lab.training.device import find_device
from ssfe.lab.training.loader import leave_signals, worker_count


class ReadableImages(Dataset[tuple[Tensor | None, str]]):
    """Network inputs from files: (image, path), or (None, what is wrong) for a file that cannot be read."""

    def __init__(self, paths: list[Path], preprocessing: Preprocessing) -> None:
        files = FileImages([str(path) for path in paths], torch.zeros(len(paths), dtype=torch.int64))
        # As in training: PIL's grey is not torchvision's.
        self.files = files.decoded_as("L" if preprocessing.channels == 1 else "RGB")
        self.paths = files.paths
        self.transform = preprocessing.eval_transform()

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor | None, str]:
        try:
            return self.transform(self.files[index][0]), self.paths[index]
        except (UserError, OSError) as error:
            return None, str(error)


def predict(
    folder: RunFolder,
    images: list[Path],
    *,
    form: str = "csv",
    top: int | None = None,
    output: Path | None = None,
    batch_size: int = 128,
    workers: int | None = None,
    accelerator: str = "auto",
) -> list[str]:
    """Classify images, and go on past those that cannot be read.

    Args:
        folder: of a finished run.
        images: files; :func:`find_images` has those of a folder.
        form: ``"csv"`` (columns file, prediction, probability, then one per class) or ``"jsonl"``.
        top: give the probabilities of this many classes only (CSV: columns class1, class1_probability, ...).
        output: file to write; None: standard output.

    Returns:
        One line for each image that could not be read.

    Raises:
        UserError: if the run has no model.
    """
    check_loading(batch_size, workers)
    network, card = load_shipped(folder)
    if top is not None and not 1 <= top <= len(card.classes):
        raise UserError(f"top={top} must lie between 1 and the {len(card.classes)} classes of the run")
    device = find_device(accelerator)
    network = network.to(device)
    loader = DataLoader(
        ReadableImages(images, card.preprocessing),
        batch_size=batch_size,
        num_workers=worker_count(workers, in_memory=len(images) <= batch_size),
        collate_fn=_gathered,
        worker_init_fn=leave_signals,
    )
    failed: list[str] = []
    with _opened(output) as file:
        write = _csv_writer(file, card.classes, top) if form == "csv" else _jsonl_writer(file, card.classes, top)
        for inputs, readable, reasons in loader:
            failed += reasons
            if inputs is None:
                continue
            with torch.inference_mode():
                logits = network(card.preprocessing.normalize(inputs.to(device)))
            for path, probabilities in zip(readable, logits.float().softmax(-1).cpu(), strict=True):
                write(path, probabilities)
    return failed


def _gathered(batch: list[tuple[Tensor | None, str]]) -> tuple[Tensor | None, list[str], list[str]]:
    """The images (B, C, S, S) that can be read, their paths, and what is wrong with the others.

    One tensor, for each that a worker hands over takes an open file.
    """
    images = [image for image, _ in batch if image is not None]
    paths = [path for image, path in batch if image is not None]
    return torch.stack(images) if images else None, paths, [reason for image, reason in batch if image is None]


def find_images(given: list[Path]) -> tuple[list[Path], tuple[str, ...]]:
    """The files among ``given``, and the images in its folders, sorted within each folder; hidden ones passed over.
    Then notes on what is passed over, and looks as if it were meant.

    Raises:
        UserError: for a path that does not exist or a folder without images.
    """
    found: list[Path] = []
    skipped = 0
    for path in given:
        if path.is_dir():
            inside, others = pictures(path)
            if not inside:
                raise UserError(f"{path} holds no image ({', '.join(IMG_EXTENSIONS)})")
            found += [Path(file) for file in inside]
            skipped += others
        elif path.exists():
            found.append(path)
        else:
            raise UserError(f"no such file or folder: {path}")
    return found, other_formats(skipped)


def _csv_writer(file: TextIO, classes: tuple[str, ...], top: int | None) -> Any:
    writer = csv.writer(file, lineterminator="\n")
    shown = [f"class{rank}" for rank in range(1, top + 1)] if top else list(classes)
    ranked = [name for rank in shown for name in (rank, f"{rank}_probability")] if top else shown
    writer.writerow(["file", "prediction", "probability", *ranked])

    def write(path: str, probabilities: Tensor) -> None:
        best = int(probabilities.argmax())
        if top:
            values, order = probabilities.topk(top)
            cells = [
                cell for p, i in zip(values.tolist(), order.tolist(), strict=True) for cell in (classes[i], f"{p:.6f}")
            ]
        else:
            cells = [f"{p:.6f}" for p in probabilities.tolist()]
        writer.writerow([path, classes[best], f"{float(probabilities[best]):.6f}", *cells])

    return write


def _jsonl_writer(file: TextIO, classes: tuple[str, ...], top: int | None) -> Any:
    def write(path: str, probabilities: Tensor) -> None:
        values, order = probabilities.topk(top or len(classes))
        ranked = {classes[i]: round(p, 6) for p, i in zip(values.tolist(), order.tolist(), strict=True)}
        best = next(iter(ranked))
        row = {"file": path, "prediction": best, "probability": ranked[best], "probabilities": ranked}
        file.write(json.dumps(row, ensure_ascii=False) + "\n")

    return write


@contextmanager
def _opened(output: Path | None) -> Iterator[TextIO]:
    # Names of files need not be UTF-8: they are written as they are.
    as_it_is = "surrogateescape"
    if output is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors=as_it_is)
        yield sys.stdout
        return
    opened = False
    try:
        with output.open("w", newline="", encoding="utf-8", errors=as_it_is) as file:
            opened = True
            yield file
    except OSError as error:
        if opened and error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise  # of reading images, not of this file
        raise UserError(f"cannot write {output}: {error.strerror or error}; choose another --output") from error
