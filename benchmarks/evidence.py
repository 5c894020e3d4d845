"""The evidence: every study by its commands, and the tables made from what they leave.

    python -m benchmarks.evidence list              what there is, and what has been run
    python -m benchmarks.evidence run NAME          run or continue a study; Ctrl-C and the same command continue it;
                                                    --jobs J: runs at a time, instead of the study's own number
    python -m benchmarks.evidence tables            write the tables of README.md, docs/evidence.md and docs/studies/,
                                                    and docs/evidence.svg (for which matplotlib is needed, extra dev)

Run from the repository's root, with `ssfe[lab]` installed. A study is one or more calls of `ssfe compare` into a folder
under benchmarks/evidence/, whose results.json, configs and metrics are committed; weights and checkpoints are not.
CIFAR-100 is read from benchmarks/data/cifar100, a folder per class under train/ and test/, for example
https://github.com/cyizhuo/CIFAR-100-dataset; Fashion-MNIST comes by its name.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys

from benchmarks.parts.evidence_pages import pages
from benchmarks.parts.forest import PICTURE, draw
from benchmarks.parts.study_results import ROOT, results
from benchmarks.studies import STUDIES, Study


def run(study: Study, jobs: int | None = None) -> int:
    """What comes before, where it is not there, and ssfe compare for each part, with ``jobs`` runs at a time where that
    is given.
    """
    own = [] if jobs is None else ["--jobs", str(jobs)]
    missing = [list(command) for command, path in study.before if not (ROOT / path).exists()]
    for command in [*missing, *(part + own for part in study.commands())]:
        print("$", shlex.join(command), flush=True)
        words = ["-m", "ssfe.cli", *command[1:]] if command[0] == "ssfe" else command[1:]
        status = subprocess.run([sys.executable, *words], cwd=ROOT).returncode
        if status:
            return status
    return 0


def main(arguments: list[str]) -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["list", "run", "tables"])
    parser.add_argument("study", nargs="?", choices=list(STUDIES))
    parser.add_argument("--jobs", type=int)
    asked = parser.parse_args(arguments)
    if asked.what == "run":
        if asked.study is None:
            parser.error("run needs the name of a study")
        return run(STUDIES[asked.study], asked.jobs)
    if asked.what == "tables":
        for path, text in pages().items():
            path.write_text(text)
        draw(PICTURE)
        return 0
    for name, study in STUDIES.items():
        content = results(study)
        state = f"{len(content['cells'])} cells" if content else "not run"
        print(f"{name:24} {state:10} {study.title}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
