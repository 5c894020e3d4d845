"""What each subcommand does, and how every ending looks on the terminal."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from rich.console import Console

from ssfe.cli.arguments import normalise
from ssfe.cli.compare import compare_parser, run_compare
from ssfe.cli.cost import cost_parser, run_cost
from ssfe.cli.export import export_parser, run_export
from ssfe.cli.parsers import PARSERS, switches
from ssfe.cli.report import report
from ssfe.cli.tables import evaluation_table, print_result, wide_console
from ssfe.cli.taps import run_taps, taps_parser
from ssfe.lab.config import TrainOptions
from ssfe.lab.errors import UserError, said_of_files
from ssfe.lab.report.write import write_report
from ssfe.lab.run.evaluate import evaluate
from ssfe.lab.run.folder import RunFolder, read_yaml
from ssfe.lab.run.options import check_same
from ssfe.lab.run.predict import predict
from ssfe.lab.run.train import resume, train
from ssfe.lab.training.interrupt import Interrupted

_LONGEST = 600
"""Characters of an error message."""


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
    parsers = {**PARSERS, "compare": compare_parser, "export": export_parser, "taps": taps_parser, "cost": cost_parser}
    parser = parsers[name]()
    parsed: dict[str, Any]
    if name == "compare":
        arguments = normalise(rest, switches(parser), positional="data")
        _check_configs(arguments)
        return run_compare(parser.parse_args(arguments).as_dict(), _sayer(Console(highlight=False)))
    if name == "train":
        arguments = normalise(rest, switches(parser), positional="data")
        _check_configs(arguments)
        folders = [RunFolder(Path(path)) for path in _values(arguments, "resume")]
        if folders:
            # First, so that whatever is typed beside --resume stands out against the run's own options.
            folders[-1].read_options()
            arguments = [f"--config={folders[-1].config}", *arguments]
        parsed = parser.parse_args(arguments).as_dict()
        return _train(parsed, folders[-1] if folders else None)
    parsed = parser.parse_args(normalise(rest, switches(parser))).as_dict()
    return _RUN[name](parsed)


def _sayer(console: Console) -> Callable[[str], None]:
    return lambda line: console.print(line, markup=False, soft_wrap=True)


def _check_configs(arguments: list[str]) -> None:
    for path in _values(arguments, "config"):
        read_yaml(Path(path))


def _values(arguments: list[str], name: str) -> list[str]:
    return [argument.partition("=")[2] for argument in arguments if argument.startswith(f"--{name}=")]


def _train(parsed: dict[str, Any], resumed: RunFolder | None) -> int:
    if resumed is None and parsed["resume"] is not None:
        raise UserError("resume has no place in a config file: type --resume RUN")
    if resumed is not None and parsed["output"] is not None:
        raise UserError("--output has no place beside --resume: the run goes on in its own folder")
    options = TrainOptions.from_flat(parsed)
    say = _sayer(Console(highlight=False))
    try:
        if resumed is None:
            folder, result = train(options, parsed["output"], say)
        else:
            check_same(options, resumed.read_options())
            folder, result = resumed, resume(resumed, options, say)
    except Interrupted as stop:
        print(f"ssfe: stopped; continue with: ssfe train --resume {quote(str(stop.folder))}", file=sys.stderr)
        return 128 + stop.number
    print_result(wide_console(), folder, result)
    report(folder.path, say)
    return 0


def _evaluate(parsed: dict[str, Any]) -> int:
    outcome = evaluate(
        RunFolder(parsed["run"]),
        parsed["data"],
        data_dir=parsed["data_dir"],
        limit_test=parsed["limit_test"],
        batch_size=parsed["batch_size"],
        workers=parsed["workers"],
        accelerator=parsed["accelerator"],
    )
    if parsed["json"]:
        print(json.dumps(outcome, indent=2))
    else:
        wide_console().print(evaluation_table(outcome))
        for note in outcome["notes"]:
            print(f"note: {note}")
    return 0


def _predict(parsed: dict[str, Any]) -> int:
    failed = predict(
        RunFolder(parsed["run"]),
        parsed["images"],
        form=parsed["format"],
        top=parsed["top"],
        output=parsed["output"],
        batch_size=parsed["batch_size"],
        workers=parsed["workers"],
        accelerator=parsed["accelerator"],
    )
    for line in failed:
        print(f"ssfe: {line}", file=sys.stderr)
    if failed:
        print(f"ssfe: {len(failed)} image(s) could not be read", file=sys.stderr)
    return 1 if failed else 0


def _report(parsed: dict[str, Any]) -> int:
    print(write_report(parsed["folder"], parsed["output"]))
    return 0


def _export(parsed: dict[str, Any]) -> int:
    return run_export(parsed, _sayer(Console(highlight=False)))


_RUN: dict[str, Callable[[dict[str, Any]], int]] = {
    "evaluate": _evaluate,
    "predict": _predict,
    "report": _report,
    "export": _export,
    "taps": run_taps,
    "cost": run_cost,
}
"""The subcommands that take their options as they are parsed."""


def _fail(message: str) -> int:
    line = " ".join(message.split())
    if len(line) > _LONGEST:
        # What a library said, at length, stands in the middle: what is wrong comes first, how to mend it last.
        line = f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"
    print(f"ssfe: {line}", file=sys.stderr)
    return 2
