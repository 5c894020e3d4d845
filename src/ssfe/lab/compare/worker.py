"""One cell in a process of its own: ``python -m ssfe.lab.compare.worker FOLDER``.

The folder holds config.yaml; the run starts, continues or is finished already. Exit status: 0 done, 2 a mistake of the
user (one line on standard error), 130 or 143 stopped by a signal.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ssfe.lab.errors import UserError
from ssfe.lab.run.folder import RunFolder
from ssfe.lab.run.train import resume
from ssfe.lab.training.interrupt import Interrupted


def main(folder: Path) -> int:
    """Run the cell."""
    run = RunFolder(folder)
    try:
        resume(run, run.read_options(), lambda line: print(line, flush=True))
    except UserError as error:
        print(error.line, file=sys.stderr)
        return 2
    except Interrupted as stop:
        return 128 + stop.number
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
