"""The command ``ssfe``."""

from __future__ import annotations

import os
import signal
import sys

__all__ = ["main"]


def main() -> int:
    """Run the command on the process's arguments.

    Returns:
        The exit status: 0 done; 1 done in part (some image could not be predicted); 2 a mistake of the user, told in
        one line; 130 or 143 stopped by Ctrl-C or SIGTERM; 141 nobody reads the output any more.
    """
    try:
        from ssfe.cli.commands import run
    except ModuleNotFoundError as error:
        print(f'ssfe: {error.name} is not installed; the command needs: pip install "ssfe[lab]"', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    try:
        status = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # As when piped into head. What is still in the buffer goes nowhere, instead of failing again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + getattr(signal, "SIGPIPE", 13)
    return status
