"""The command ``ssfe``."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> int:
    """Run the command on the process's arguments.

    Returns:
        The exit status: 0 done; 1 done in part (some image could not be predicted); 2 a mistake of the user, told in
        one line; 130 or 143 stopped by Ctrl-C or SIGTERM.
    """
    try:
        from ssfe.cli.commands import run
    except ModuleNotFoundError as error:
        print(f'ssfe: {error.name} is not installed; the command needs: pip install "ssfe[lab]"', file=sys.stderr)
        return 2
    return run(sys.argv[1:])
