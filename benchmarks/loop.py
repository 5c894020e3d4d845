"""Images per second of `ssfe train` against a bare PyTorch loop, and where the difference goes.

    python -m benchmarks.loop [--model cifar_resnet20] [--method ssfe] [--size 32] [--images 1280] [--rounds 7]
    python -m benchmarks.loop --profile

The bare loop has the same network, loss, optimizer, precision and batch size, and its images lie in memory, augmented
and normalised already. The two take turns, an epoch each; the figure is the median over the rounds of the ratio within
a round. Writes benchmarks/results/loop-MACHINE.json.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import json
import pstats
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import describe_machine, machine_name
from ssfe.lab.config import DataOptions, EngineOptions, MethodOptions, TrainOptions
from ssfe.lab.data import ArrayImages, DataSplits
from ssfe.lab.run.experiment import Experiment, prepare
from ssfe.lab.training.device import find_device, resolve_precision
from ssfe.lab.training.epoch_log import read_metrics
from ssfe.lab.training.fit import fit
from ssfe.lab.training.optimization import make_optimizer

RESULTS = Path(__file__).resolve().parent / "results"
CLASSES = 100
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def noise(images: int, size: int) -> DataSplits:
    """CIFAR-sized images without a meaning."""
    generator = torch.Generator().manual_seed(0)

    def split(count: int) -> ArrayImages:
        pixels = torch.randint(256, (count, 3, size, size), dtype=torch.uint8, generator=generator)
        return ArrayImages(pixels, torch.arange(count) % CLASSES)

    classes = tuple(map(str, range(CLASSES)))
    return DataSplits("noise", classes, split(images), split(CLASSES), split(CLASSES), size, 3, True, ())


def bare_epoch(experiment: Experiment) -> float:
    """Images per second of an epoch of the bare loop."""
    options, method = experiment.options, experiment.method
    device = find_device(options.engine.accelerator)
    dtype = _DTYPES.get(resolve_precision(options.engine, device))
    network = experiment.network.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = make_optimizer(network, options.optimization)
    split = experiment.splits.train
    assert isinstance(split, ArrayImages)
    images = experiment.preprocessing.normalize(split.stack().to(device)).to(memory_format=torch.channels_last)
    labels = split.labels.to(device)
    size = experiment.images_per_step
    began = time.perf_counter()
    for order in torch.randperm(len(images), device=device).split(size):
        if len(order) < size:
            break
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            loss = method.loss(network(images[order]), labels[order])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return len(images) // size * size / (time.perf_counter() - began)


def own_epoch(experiment: Experiment) -> float:
    """Images per second of an epoch of ssfe train, validation left out."""
    with tempfile.TemporaryDirectory() as folder:
        metrics = Path(folder) / "metrics.csv"
        fit(
            experiment.network,
            experiment.method,
            experiment.splits,
            experiment.preprocessing,
            experiment.options,
            metrics=metrics,
            checkpoint=Path(folder) / "checkpoints" / "last.ckpt",
            say=lambda line: None,
        )
        return float(read_metrics(metrics)[0]["images_per_second"])


def profile(experiment: Experiment) -> None:
    """Where the time of an epoch goes, outside the network."""
    profiler = cProfile.Profile()
    profiler.runcall(own_epoch, experiment)
    pstats.Stats(profiler).sort_stats("cumulative").print_stats(r"ssfe|lightning.*(loops|trainer)|optim", 60)


def main(arguments: list[str]) -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="cifar_resnet20")
    parser.add_argument("--method", default="ssfe")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--images", type=int, default=1280)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--output", type=Path, default=RESULTS / f"loop-{machine_name(gpu=True)}.json")
    asked = parser.parse_args(arguments)
    options = TrainOptions(
        model=asked.model,
        method=asked.method,
        epochs=1,
        loading=DataOptions(image_size=asked.size),
        enhancement=MethodOptions(),
        engine=EngineOptions(progress="none"),
    )
    splits = noise(asked.images, asked.size)
    if asked.profile:
        profile(prepare(options, splits))
        return 0
    rounds: list[dict[str, float]] = []
    for number in range(asked.rounds + 1):
        measured = {"bare": bare_epoch(prepare(options, splits)), "ssfe train": own_epoch(prepare(options, splits))}
        if number:  # the first warms up
            rounds.append(measured)
            print("  ".join(f"{name} {rate:,.0f} images/s" for name, rate in measured.items()), flush=True)
    ratios = [measured["ssfe train"] / measured["bare"] for measured in rounds]
    result: dict[str, Any] = {}
    with contextlib.suppress(FileNotFoundError):
        result = json.loads(asked.output.read_text())
    result["machine"] = describe_machine(gpu=True)
    result.setdefault("loops", {})[f"{asked.model} {asked.method} {asked.size} px"] = {
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "images_per_second": {name: statistics.median(m[name] for m in rounds) for name in rounds[0]},
        "command": f"python -m benchmarks.loop {' '.join(arguments)}".strip(),
    }
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    asked.output.write_text(json.dumps(result, indent=2) + "\n")
    print(f"ssfe train reaches {statistics.median(ratios):.1%} of the bare loop ({min(ratios):.1%}-{max(ratios):.1%})")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
