"""What feature enhancement costs, measured: classifier, large label spaces, training steps, inference, growth.

python -m benchmarks.cost            # a quarter of an hour; writes benchmarks/results/cost-<machine>.json and the docs
python -m benchmarks.cost large      # only some parts anew, the others as they were
python -m benchmarks.cost --device cuda               # on a GPU, all but growth and profiles; a file of its own
python -m benchmarks.cost --docs     # only docs/cost.md and docs/cost-growth.svg, from the committed results
python -m benchmarks.cost --fast --output /tmp/cost   # everything at toy sizes, in seconds, to see that it runs
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import describe_machine, machine_name
from benchmarks.parts.docs import write_docs
from benchmarks.parts.growth import growth
from benchmarks.parts.heads import classifier, large
from benchmarks.parts.kept_memory import with_memory_kept
from benchmarks.parts.networks import inference, steps
from benchmarks.parts.profiles import profiles

ANYWHERE = {part.__name__: part for part in (steps, inference, classifier, large)}
CPU_ONLY = {part.__name__: part for part in (growth, profiles)}
PARTS = (*ANYWHERE, *CPU_ONLY)
RESULTS = Path(__file__).parent / "results"


def measure(parts: list[str], fast: bool, folder: Path, device: torch.device) -> None:
    """The parts, in one process; the result is written after each, with the machine as it was then."""
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"cost-{machine_name(gpu=device.type == 'cuda')}.json"
    results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"machines": {}}
    for part in parts:
        print(f"{part} ...", flush=True)
        machine = describe_machine(gpu=device.type == "cuda")
        results[part] = ANYWHERE[part](fast, device) if part in ANYWHERE else CPU_ONLY[part](fast)
        if part == "large" and device.type == "cpu":
            results[part] += with_memory_kept(part, fast)
        results["machines"][part] = machine
        path.write_text(json.dumps(results, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="*", choices=[*PARTS, []], help=f"of {', '.join(PARTS)}; all unless told")
    parser.add_argument("--fast", action="store_true", help="toy sizes")
    parser.add_argument("--docs", action="store_true", help="only write the docs, from the committed results")
    parser.add_argument("--device", type=torch.device, default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--output", type=Path, help="the folder for the result, instead of benchmarks/results and docs")
    arguments = parser.parse_args()
    if arguments.fast and arguments.output is None:
        parser.error("--fast needs --output FOLDER: figures of toy sizes do not belong among the results")
    on_cpu = arguments.device.type == "cpu"
    if not on_cpu and not set(arguments.part) <= set(ANYWHERE):
        parser.error(f"{' and '.join(CPU_ONLY)} are measured on the CPU")
    if not arguments.docs:
        measure(
            arguments.part or list(PARTS if on_cpu else ANYWHERE),
            arguments.fast,
            arguments.output or RESULTS,
            arguments.device,
        )
    if arguments.output is None:
        write_docs(RESULTS, Path(__file__).parents[1] / "docs")
    else:
        write_docs(arguments.output, arguments.output)


if __name__ == "__main__":
    main()
