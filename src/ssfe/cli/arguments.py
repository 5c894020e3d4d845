"""The forms of arguments that people type, rewritten to the one form that the parser takes."""

from __future__ import annotations

from collections.abc import Collection

from ssfe.lab.errors import UserError

_WITHOUT_VALUE = {"help", "print_config"}
_TRUTH = {"true", "false", "null"}


def normalise(arguments: list[str], switches: Collection[str], positional: str | None = None) -> list[str]:
    """Rewrite ``--batch-size 8`` to ``--batch_size=8``, ``--compile`` to ``--compile=true``, ``X`` to ``--data=X``.

    Config files come first and bare arguments last, so that what is typed beside a config file wins over it wherever it
    stands, and options may stand between bare arguments. After ``--`` every argument is a bare one.

    Args:
        arguments: after the subcommand.
        switches: the boolean options, which may stand without a value.
        positional: the option that a bare argument stands for; None: bare arguments stay.

    Raises:
        UserError: if the positional is given twice.
    """
    options: list[str] = []
    bare: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            bare, rest = bare + rest, []
        elif not argument.startswith("-"):
            bare.append(argument)
        elif argument.startswith("--"):
            options.append(_option(argument[2:], rest, switches))
        else:
            options.append(argument)
    options.sort(key=lambda option: not option.startswith("--config="))
    if positional is None:
        return [*options, *(["--"] if any(argument.startswith("-") for argument in bare) else []), *bare]
    given = [option.partition("=")[2] for option in options if option.startswith(f"--{positional}=")] + bare
    if len(given) > 1:
        raise UserError(f"give {positional.upper()} once, not {given[0]!r} and {given[1]!r}")
    return [*options, *(f"--{positional}={argument}" for argument in bare)]


def values(arguments: list[str], name: str) -> list[str]:
    """What is given for the option ``--name`` among normalised arguments, in their order."""
    return [argument.partition("=")[2] for argument in arguments if argument.startswith(f"--{name}=")]


def _option(text: str, rest: list[str], switches: Collection[str]) -> str:
    """The option ``--text`` with its value, which is taken from ``rest`` where it is an argument of its own."""
    name, equals, value = text.partition("=")
    name = name.replace("-", "_")
    if equals or name in _WITHOUT_VALUE:
        return f"--{name}{equals}{value}"
    followed = bool(rest) and not rest[0].startswith("--")
    if name in switches and not (followed and rest[0].lower() in _TRUTH):
        return f"--{name}=true"
    return f"--{name}={rest.pop(0)}" if followed else f"--{name}"
