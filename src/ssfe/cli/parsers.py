"""Parsers whose complaints are one line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from typing import Any, Literal, NoReturn, get_args, get_origin

from jsonargparse import ArgumentParser, set_parsing_settings

from ssfe.lab.config import GROUPS, TrainOptions
from ssfe.lab.errors import UserError

set_parsing_settings(docstring_parse_attribute_docstrings=True)

_OTHER_WORDS = {"device": "accelerator", "learning_rate": "lr", "arch": "model", "dataset": "data", "amp": "precision"}
"""What options are called elsewhere, and here."""


class OneLineParser(ArgumentParser):
    """A parser whose complaints are one line, as a UserError."""

    def __init__(self, **options: Any) -> None:
        # Abbreviations would pass by what looks for an option by its name, such as --resume.
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise UserError, with near matches for an unknown option."""
        line = _plain(message)
        unknown = re.match(
            r"[Uu]nrecognized arguments: (--\w+)|(?:Validation failed: )?(?:Option|Key) '(\w+)' is not", line
        )
        if unknown:
            option = unknown[1] or unknown[2]
            known = [option[2:] for action in self._actions for option in action.option_strings if option[:2] == "--"]
            near = difflib.get_close_matches(_OTHER_WORDS.get(option.lstrip("-"), option.lstrip("-")), known, 1)
            dashes = "--" if unknown[1] else ""
            line = f"unknown option {option}" + (f", did you mean {dashes}{near[0]}?" if near else "")
        line = self._with_usage(self._with_choices(line))
        if len(line) > 300:
            line = line[:300] + " ..."
        raise UserError(f"{line}; {self.prog} --help lists the options")

    def _with_choices(self, line: str) -> str:
        """What may be chosen, where that is what the complaint is about: not every version of the parser says it."""
        named = re.match(r'option "(\w+)": ', line)
        kinds = [getattr(action, "_typehint", None) for action in self._actions if named and action.dest == named[1]]
        literals = [kind for kind in (*kinds, *get_args(kinds[0] if kinds else None)) if get_origin(kind) is Literal]
        choices = get_args(literals[0]) if literals else ()
        if not choices:
            return line
        given = re.search(r"Got value: (.*)", line)
        return f"{line[: line.index(':')]}: {f'{given[1]} is not' if given else 'not'} one of {', '.join(choices)}"

    def _with_usage(self, line: str) -> str:
        """Missing arguments by the names that the usage line gives them."""
        told = re.search(r"the following arguments are required: (.*)|Key \"(\w+)\" is required", line)
        if not told:
            return line
        shown = {action.dest: [*action.option_strings, action.metavar][0] for action in self._actions}
        names = (told[1] or told[2]).split(", ")
        return f"the following arguments are required: {', '.join(str(shown.get(name) or name) for name in names)}"


def _plain(message: str) -> str:
    """A complaint of the parser without Python's names for types."""
    line = re.sub(r"^Parser key (\S+?):", r"option \1:", " ".join(message.split())).rstrip(".")
    line = line.replace("<class 'NoneType'>", "null")
    line = re.sub(r"(?:a )?<class '([\w.]+)'>", r"\1", line)
    union = re.match(r"(.*?)Does not validate against .*?Subtypes: \[(.*?)\] Errors: .* Given value: (.*)", line)
    return f"{union[1]}Expected one of {union[2]}. Got value: {union[3]}" if union else line


def add_machine_arguments(parser: ArgumentParser) -> None:
    """``--workers`` and ``--accelerator``."""
    parser.add_argument(
        "--workers",
        type=int | None,
        help="Processes that load images. Default: none for images held in memory, else one per core, up to 8.",
    )
    parser.add_argument("--accelerator", type=str, default="auto", help="auto, cpu, cuda, mps, ...")


def switches(parser: ArgumentParser) -> set[str]:
    """The names of the boolean options."""
    kinds: list[tuple[Any, Any]] = [(action.dest, getattr(action, "_typehint", None)) for action in parser._actions]
    return {name for name, kind in kinds if kind in (bool, bool | None)}


def add_training_options(parser: ArgumentParser, without: Collection[str] = ()) -> None:
    """Every option of a training run, in groups."""
    parser.add_class_arguments(TrainOptions, skip={*GROUPS, *without})
    for group in GROUPS.values():
        parser.add_class_arguments(group)
