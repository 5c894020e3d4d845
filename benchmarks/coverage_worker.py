"""The worker process of the coverage run: network after network, each in bounded time and memory."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import signal
import time
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from benchmarks.coverage_build import SIZES, Architecture, cheap_initialisation, on_meta, parameters, reduced
from benchmarks.coverage_check import CheckError, keys_and_shapes, there_and_back

# Networks of more parameters are checked with fewer blocks; those that have no option for that, up to the second limit.
LIMIT = 120_000_000
UTMOST = 400_000_000
# The image size that worked last in each family.
Families = dict[str, int]


class OutOfTimeError(BaseException):
    """The network took too long. Not an Exception, which some code would swallow."""


class TooLargeError(Exception):
    """The network has too many parameters, or took too much memory."""


class NoClassifierError(Exception):
    """The network gives features."""


def work(names: list[tuple[str, str]], families: Families, timeout: int, memory: float) -> None:
    """Check the networks and print an outcome each, as a line of JSON."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    limit_memory(memory)
    for library, name in names:
        began = time.monotonic()
        architecture = Architecture(library, name)
        outcome = {"library": library, "name": name, "family": architecture.family}
        outcome |= check(architecture, timeout, families)
        outcome["seconds"] = round(time.monotonic() - began, 1)
        print(json.dumps(outcome), file=answers, flush=True)
        gc.collect()


def check(architecture: Architecture, timeout: int, families: Families) -> dict[str, Any]:
    """The best check that the network's size allows.

    Returns:
        ``outcome``: ``"full"`` (as it is, but for the image size), ``"reduced"`` (fewer blocks; keys and shapes of the
        whole), ``"meta"`` (keys and shapes alone), ``"none"`` (no classifier) or ``"failed"``; ``reason`` for the last
        three; and what was seen on the way.
    """
    try:
        with time_limit(timeout):
            problem = ""
            try:
                return {"outcome": "full"} | smallest_images(architecture, {}, families)
            except TooLargeError as error:
                problem = str(error)
            # Here, where the error no longer holds the network in memory.
            return smaller(architecture, families, problem)
    except NoClassifierError:
        return {"outcome": "none", "reason": "gives features: it has no classifier"}
    except OutOfTimeError as error:
        late = str(error)
    except Exception as error:
        return {"outcome": "failed", "reason": f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]}
    return meta(architecture, late)


def meta(architecture: Architecture, reason: str) -> dict[str, Any]:
    """Keys and shapes of the whole network."""
    whole = on_meta(architecture)
    return {"outcome": "meta", "reason": reason, "parameters": parameters(whole)} | keys_and_shapes(whole)


def smaller(architecture: Architecture, families: Families, reason: str) -> dict[str, Any]:
    """Keys and shapes of the whole network, and the check of one with fewer blocks."""
    found = meta(architecture, reason)
    options = reduced(architecture, LIMIT) or reduced(architecture, UTMOST)
    if options is None and found["parameters"] > UTMOST:
        return found
    try:
        try:
            figures = smallest_images(architecture, options or {}, families, UTMOST)
        except CheckError:
            raise
        except Exception:
            # Some take an option of fewer blocks and are no network then.
            if options is None or found["parameters"] > UTMOST:
                raise
            options = None
            figures = smallest_images(architecture, {}, families, UTMOST)
    except TooLargeError as error:
        return found | {"reason": str(error)}
    done = {"outcome": "reduced", "options": options} if options else {"outcome": "full"}
    return figures | {"parameters": found["parameters"]} | done


def smallest_images(
    architecture: Architecture, options: dict[str, Any], families: Families, limit: int = LIMIT
) -> dict[str, Any]:
    """The check at the smallest image size that the network takes.

    Raises:
        TooLargeError, NoClassifierError: before the check.
        CheckError: from it, at whatever size.
        Exception: the network's error at its own size, if there is none.
    """
    size_option = architecture.size_option()
    # What another network of the family took is a good guess, but not worth large images.
    guess = [size for family, size in families.items() if family == architecture.family and size <= max(SIZES)]
    sizes: dict[int | None, None] = dict.fromkeys((*guess, *SIZES, None))
    for size in sizes:
        try:
            network, own = build(architecture, options, size_option, size, limit)
            figures = {"parameters": parameters(network), "image": size or own}
            figures |= there_and_back(network, size or own)
        except (OutOfTimeError, TooLargeError, NoClassifierError, CheckError):
            raise
        except Exception as error:
            if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
                raise TooLargeError("out of memory") from None
            if size is None:
                raise
            continue
        families[architecture.family] = size or own
        return figures
    raise AssertionError


def build(
    architecture: Architecture, options: dict[str, Any], size_option: str | None, size: int | None, limit: int
) -> tuple[nn.Module, int]:
    """The network, for images of that size where it asks for the size, and its own size.

    Raises:
        TooLargeError, NoClassifierError: rather than fill it with weights.
    """
    network = None
    with cheap_initialisation() as random:
        if size is not None and size_option is not None:
            for value in (size, (size, size)):
                with contextlib.suppress(TypeError):
                    network = architecture.create(**options, **{size_option: value})
                    break
        if network is None:
            network = architecture.create(**options)
    if not has_classifier(architecture, network):
        raise NoClassifierError
    count = parameters(network)
    if count > limit:
        raise TooLargeError(f"{count / 1e6:.0f} M parameters, and no option for fewer blocks")
    random.fill()
    configuration = getattr(network, "pretrained_cfg", None) or {}
    return network, max(configuration.get("input_size", (3, 299 if "inception" in architecture.name else 224))[1:])


def has_classifier(architecture: Architecture, network: nn.Module) -> bool:
    """Whether the network has a classifier, by its own word. timm lists encoders too."""
    if architecture.library != "timm":
        return True
    head = network.get_classifier() if hasattr(network, "get_classifier") else None
    return not (head is None or isinstance(head, nn.Identity) or getattr(network, "num_classes", None) == 0)


@contextlib.contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Within, no more than that many seconds.

    Raises:
        OutOfTimeError: after them.
    """

    def ring(*_: object) -> None:
        raise OutOfTimeError(f"took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def limit_memory(gib: float) -> None:
    """No more private memory than that beyond what the process has now: an allocation above it is an error."""
    with open("/proc/self/status") as status:  # noqa: PTH123
        now = next(int(line.split()[1]) for line in status if line.startswith("VmData"))
    resource.setrlimit(resource.RLIMIT_DATA, (now * 1024 + int(gib * 2**30), resource.RLIM_INFINITY))
