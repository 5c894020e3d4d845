"""Every classification network of timm and torchvision: enhance, train a step, fold, compare.

    python -m benchmarks.coverage                  # all that are not in the results file yet
    python -m benchmarks.coverage --only 'resnet*' # some of them, again
    python -m benchmarks.coverage --summary        # docs/coverage.md from the results file

Networks run in worker processes, many in each. Every outcome is in the results file as soon as it is known, so that the
run may be stopped and started at will.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from itertools import zip_longest
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import IO, Any

import timm
import torch
import torchvision

from benchmarks.coverage_build import Architecture, architectures
from benchmarks.coverage_table import write_page
from benchmarks.coverage_worker import work

HERE = Path(__file__).parent
Outcome = dict[str, Any]


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="PATTERN", action="append", help="names to run, done or not; repeatable")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "coverage.json")
    parser.add_argument("--page", type=Path, default=HERE.parent / "docs" / "coverage.md")
    parser.add_argument("--summary", action="store_true", help="write the page from the results file, and run nothing")
    parser.add_argument("--again", action="store_true", help="run anew what failed, or was checked on meta alone")
    parser.add_argument("--timeout", type=int, default=120, metavar="SECONDS", help="for each network")
    parser.add_argument("--memory", type=float, default=5.0, metavar="GIB", help="for each network")
    parser.add_argument("--chunk", type=int, default=150, help="networks for each process")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        work(*json.load(sys.stdin), options.timeout, options.memory)
        return
    results, versions = load(options.results)
    if not options.summary:
        versions = {module.__name__: module.__version__ for module in (timm, torch, torchvision)}
        run(wanted(results, options.only, options.again), results, versions, options)
    write_page(list(results.values()), len(architectures()), versions, options.page)


def load(path: Path) -> tuple[dict[str, Outcome], dict[str, str]]:
    """The outcomes there are, by ``library/name``, and the versions they are of."""
    if not path.exists():
        return {}, {}
    content = json.loads(path.read_text())
    return {f"{o['library']}/{o['name']}": o for o in content["networks"]}, content["versions"]


def save(results: dict[str, Outcome], versions: dict[str, str], path: Path) -> None:
    """All outcomes, one a line, in order of their names; never a half-written file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    lines = ",\n".join(json.dumps(results[key]) for key in sorted(results))
    part.write_text(f'{{"versions": {json.dumps(versions)}, "networks": [\n{lines}\n]}}\n')
    part.replace(path)


def wanted(results: dict[str, Outcome], only: list[str] | None, again: bool) -> list[Architecture]:
    """What is to be run."""
    if only:
        patterns = [pattern if "/" in pattern else f"*/{pattern}" for pattern in only]
        return [a for a in architectures() if any(fnmatch(f"{a.library}/{a.name}", p) for p in patterns)]
    done = {key for key, outcome in results.items() if not (again and outcome["outcome"] in ("failed", "meta"))}
    return [a for a in in_turn(architectures()) if f"{a.library}/{a.name}" not in done]


def in_turn(todo: list[Architecture]) -> list[Architecture]:
    """One of each family, then the second of each, and so on: what fails shows early."""
    families: dict[str, list[Architecture]] = {}
    for architecture in todo:
        families.setdefault(f"{architecture.library} {architecture.family}", []).append(architecture)
    return [a for turn in zip_longest(*families.values()) for a in turn if a is not None]


def run(
    todo: list[Architecture], results: dict[str, Outcome], versions: dict[str, str], options: argparse.Namespace
) -> None:
    """Run the networks chunk by chunk; one that takes its process down is a failure, and the rest goes on."""
    count = len(todo)
    while todo:
        chunk = todo[: options.chunk]
        families = {o["family"]: o["image"] for o in results.values() if "image" in o}
        for outcome in outcomes(chunk, families, options):
            results[f"{outcome['library']}/{outcome['name']}"] = outcome
            save(results, versions, options.results)
            todo = todo[1:]
            print(f"{count - len(todo)}/{count} {line(outcome)}", flush=True)


def line(outcome: Outcome) -> str:
    """An outcome for the terminal."""
    return f"{outcome['name']}: {outcome['outcome']}, {outcome['seconds']} s {outcome.get('reason', '')}"


def outcomes(chunk: list[Architecture], families: dict[str, int], options: argparse.Namespace) -> Iterator[Outcome]:
    """The outcomes of a worker process, in order; fewer than there are networks if it ended early."""
    limits = ["--timeout", str(options.timeout), "--memory", str(options.memory)]
    worker = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.coverage", "--worker", *limits],
        cwd=HERE.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(json.dumps([[[a.library, a.name] for a in chunk], families]))
    worker.stdin.close()
    lines: Queue[str | None] = Queue()
    reader = Thread(target=read, args=(worker.stdout, lines), daemon=True)
    reader.start()
    try:
        for architecture in chunk:
            # The worker stops itself in time, unless a single operation takes longer.
            try:
                text = lines.get(timeout=3 * options.timeout)
                problem = "the process ended: out of memory, or a crash"
            except Empty:
                text, problem = None, f"no answer within {3 * options.timeout} s"
            if text is None:
                own = {"library": architecture.library, "name": architecture.name, "family": architecture.family}
                yield own | {"outcome": "failed", "reason": problem, "seconds": 0.0}
                return
            yield json.loads(text)
    finally:
        worker.kill()
        worker.wait()
        reader.join()
        worker.stdout.close()


def read(stream: IO[str], lines: Queue[str | None]) -> None:
    """The stream's lines, and None at its end."""
    for text in stream:
        lines.put(text)
    lines.put(None)


if __name__ == "__main__":
    main()
