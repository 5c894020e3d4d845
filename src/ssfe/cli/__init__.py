"""The command ``ssfe``."""

from __future__ import annotations

import os
import signal
import sys

from ssfe import __version__
from ssfe.cli.help import COMMANDS, HELP

__all__ = ["main"]


def main() -> int:
    """Run the command on the process's arguments.

    Returns:
        The exit status: 0 done; 1 done in part (some image could not be predicted); 2 a mistake of the user, told in
        one line; 130 or 143 stopped by Ctrl-C or SIGTERM; 141 nobody reads the output any more.
    """
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "--version"):
        print(f"ssfe {__version__}\n" if arguments == ["--version"] else HELP, end="")
        return 0
    if arguments[0] not in COMMANDS:
        print(f"ssfe: unknown command {arguments[0]!r}: use one of {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    try:
        from ssfe.cli.commands import run  # here, for it takes seconds
    except ModuleNotFoundError as error:
        needed = 'the command needs: pip install ".[lab]" in the clone of ssfe'
        print(f"ssfe: {error.name} is not installed; {needed}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ssfe: stopped", file=sys.stderr)
        return 128 + signal.SIGINT
    try:
        status = run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # As when piped into head. What is still in the buffer goes nowhere, instead of failing again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + getattr(signal, "SIGPIPE", 13)
    return status
