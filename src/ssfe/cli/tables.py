"""Results as tables for the terminal."""

from __future__ import annotations

import json
from shlex import quote
from typing import Any

from rich.console import Console
from rich.table import Table

from ssfe.lab.config import MethodOptions
from ssfe.lab.run.folder import RunFolder
from ssfe.lab.run.temperature import telling


def with_arguments(model: str, arguments: dict[str, Any]) -> str:
    """A network's name, and what it was built with."""
    return f"{model} {json.dumps(arguments)}" if arguments else model


def say(line: str) -> None:
    """A line of what goes on."""
    Console(highlight=False).print(line, markup=False, soft_wrap=True)


def wide_console() -> Console:
    """For tables: on a terminal narrower than 80 columns lines wrap, and no column is lost."""
    console = Console(highlight=False, markup=False)  # names may have brackets
    console.width = max(console.width, 80)
    return console


_READINGS = {
    "plain": "plain: the network as trained",
    "aggregated": "aggregated: all views, folded",
    "single": "single: the first view alone",
    "marginal": "marginal: missing channels summed out",
    "distilled": "distilled: the taught head",
}


_ROTATIONS = {
    "aggregated": "aggregated: four rotations, four passes",
    "single": "single: the image as it is",
    "marginal": "marginal: rotation summed out",
}
_DEEPER = {
    "aggregated": "aggregated: all views, each by the layers after the tap",
    "marginal": "marginal: the transformation summed out",
}
_QUESTIONS = {
    "channels": "which channels are missing?",
    "regions": "which region is missing?",
    "turns": "how are the features turned?",
}
_OTHERWISE = {
    "sla": _ROTATIONS,
    "ssfe+sla": _ROTATIONS,
    "discard": {"aggregated": "all views, folded"},
    "multitask": {"aggregated": "all views, folded"},
    "dropout": {"plain": "the network without dropout"},
}


def print_result(console: Console, folder: RunFolder, result: dict[str, Any]) -> None:
    """A finished run: what it scored on the test images, what it cost, and where the model is."""
    shipped = result["shipped_inference"]
    images = result["data"]["images"]["test"]
    table = _metrics_table(f"Test: {images:,} images kept out of training")
    enhancement = folder.read_options().enhancement
    for name, explained in reading_names(result["method"], enhancement).items():
        if name in result["test"]:
            ours = name == shipped
            _add(table, explained + (" (shipped)" if ours else ""), result["test"][name], bold=ours)
    console.print()
    console.print(table)
    for line in about_uneven_classes(result["test"]["shipped"]):
        console.print(line)
    scaled = telling(result)
    if scaled is not None:
        console.print(
            f"With logits divided by {scaled['temperature']:.2f} (temperature scaling, from the validation images): "
            f"NLL {scaled['nll']:.3f}, ECE {scaled['ece']:.3f}"
        )
    if "pretext" in result["test"]:
        share = result["test"]["pretext"]["top1"]
        asked = "how is it turned?" if "sla" in result["method"] else _QUESTIONS[enhancement.transformation]
        console.print(f"Pretext task ({asked}): {share:.1%} right")
    throughput, parameters = result["throughput"], result["parameters"]
    views = f" ({throughput['views_per_second']:,.0f} views/s)" if throughput["views_per_image"] > 1 else ""
    console.print(f"Training took {result['seconds']:.0f} s, {throughput['images_per_second']:,.0f} images/s{views}")
    shipped_size = f"{parameters['shipped']:,} parameters (stock: {parameters['stock']:,})"
    console.print(f"Shipped: a stock {result['model']}, {shipped_size}", soft_wrap=True)
    console.print(f"  {folder.weights}", soft_wrap=True)
    console.print(f"Next: ssfe predict {quote(str(folder.path))} IMAGE ...", soft_wrap=True)


def about_uneven_classes(metrics: dict[str, float]) -> list[str]:
    """A line about the shipped model where classes are uneven."""
    if "balanced_accuracy" not in metrics:
        return []
    return [f"Classes are uneven: balanced accuracy, their mean, is {metrics['balanced_accuracy']:.1%}"]


def reading_names(method: str, options: MethodOptions) -> dict[str, str]:
    """The readings of a method by what a table calls them: only missing channels of the classifier's input fold."""
    folds = options.tap is None and options.transformation == "channels"
    if method == "discard" and not folds:
        return {**_READINGS, **_DEEPER}
    return {**_READINGS, **({} if folds else _DEEPER), **_OTHERWISE.get(method, {})}


def evaluation_table(outcome: dict[str, Any]) -> Table:
    """What ``ssfe evaluate`` prints."""
    table = _metrics_table(f"{outcome['data']}: {outcome['images']:,} images")
    _add(table, f"{outcome['model']}, {outcome['inference']}", outcome["metrics"])
    return table


def _metrics_table(title: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("prediction")
    for name in ("top-1", "top-5", "NLL", "ECE"):
        table.add_column(name, justify="right")
    return table


def _add(table: Table, name: str, metrics: dict[str, float], bold: bool = False) -> None:
    top5 = f"{metrics['top5']:.1%}" if "top5" in metrics else "-"
    row = (name, f"{metrics['top1']:.1%}", top5, f"{metrics['nll']:.3f}", f"{metrics['ece']:.3f}")
    table.add_row(*row, style="bold" if bold else None)
