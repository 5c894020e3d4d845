"""The forms of arguments that people type, rewritten to the one form that the parser takes."""

from __future__ import annotations

from collections.abc import Collection

_WITHOUT_VALUE = {"help", "print_config"}
_TRUTH = {"true", "false", "null"}


def normalise(arguments: list[str], switches: Collection[str], positional: str | None = None) -> list[str]:
    """Rewrite ``--batch-size 8`` to ``--batch_size=8``, ``--compile`` to ``--compile=true``, ``X`` to ``--data=X``.

    Args:
        arguments: after the subcommand.
        switches: the boolean options, which may stand without a value.
        positional: the option that a bare argument stands for (so that a config file's value yields to it wherever it
            stands); None: bare arguments stay.
    """
    rewritten: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if not argument.startswith("--"):
            bare = positional is not None and not argument.startswith("-")
            rewritten.append(f"--{positional}={argument}" if bare else argument)
            continue
        name, equals, value = argument[2:].partition("=")
        name = name.replace("-", "_")
        if equals or name in _WITHOUT_VALUE:
            rewritten.append(f"--{name}{equals}{value}")
        elif name in switches and not (rest and rest[0].lower() in _TRUTH):
            rewritten.append(f"--{name}=true")
        else:
            rewritten.append(f"--{name}={rest.pop(0)}" if rest else f"--{name}")
    return rewritten
