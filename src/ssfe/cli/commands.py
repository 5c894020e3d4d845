"""The subcommands, and how every ending looks on the terminal."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser
from lightning.fabric.utilities.exceptions import MisconfigurationException

from ssfe.cli.arguments import normalise, values
from ssfe.cli.compare import compare_parser, run_compare
from ssfe.cli.cost import cost_parser, run_cost
from ssfe.cli.evaluate import evaluate_parser, run_evaluate
from ssfe.cli.export import export_parser, run_export
from ssfe.cli.parsers import switches
from ssfe.cli.predict import predict_parser, run_predict
from ssfe.cli.report import report_parser, run_report
from ssfe.cli.taps import run_taps, taps_parser
from ssfe.cli.train import run_train, train_parser, with_own_config
from ssfe.lab.errors import UserError, said_of_files
from ssfe.lab.files import read_yaml

_LONGEST = 600
"""Characters of an error message."""

SUBCOMMANDS: dict[str, tuple[Callable[[], ArgumentParser], Callable[[dict[str, Any]], int]]] = {
    "train": (train_parser, run_train),
    "compare": (compare_parser, run_compare),
    "evaluate": (evaluate_parser, run_evaluate),
    "predict": (predict_parser, run_predict),
    "export": (export_parser, run_export),
    "report": (report_parser, run_report),
    "taps": (taps_parser, run_taps),
    "cost": (cost_parser, run_cost),
}
"""Of each its parser, and what to do with the parsed options, which gives the exit status."""


def run(arguments: list[str]) -> int:
    """Run a subcommand of :data:`~ssfe.cli.help.COMMANDS`; see :func:`ssfe.cli.main` for the exit status."""
    try:
        return _subcommand(arguments[0], arguments[1:])
    except UserError as error:
        return _fail(error.line)
    except MisconfigurationException as error:  # Lightning's word for options that this machine cannot follow
        return _fail(str(error))
    except torch.OutOfMemoryError:
        return _fail("out of device memory: lower --batch-size, or choose a smaller model")
    except BrokenPipeError:
        raise
    except OSError as error:
        return _fail(said_of_files(error))
    except KeyboardInterrupt:
        print("ssfe: stopped", file=sys.stderr)
        return 128 + signal.SIGINT


def _subcommand(name: str, rest: list[str]) -> int:
    make_parser, execute = SUBCOMMANDS[name]
    parser = make_parser()
    arguments = normalise(rest, switches(parser), positional="data" if name in ("train", "compare") else None)
    for path in values(arguments, "config"):
        _check_config(Path(path))
    if name == "train":
        arguments = with_own_config(arguments)
    return execute(parser.parse_args(arguments).as_dict())


def _check_config(path: Path) -> None:
    if read_yaml(path).get("resume") is not None:
        raise UserError("resume has no place in a config file: type --resume RUN")


def _fail(message: str) -> int:
    line = " ".join(message.split())
    if len(line) > _LONGEST:
        # What a library said, at length, stands in the middle: what is wrong comes first, how to mend it last.
        line = f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"
    print(f"ssfe: {line}", file=sys.stderr)
    return 2
