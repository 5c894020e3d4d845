from __future__ import annotations

from typing import Any

import pytest
import torch

from ssfe.lab.config import EngineOptions
from ssfe.lab.training import device as subject
from ssfe.lab.training.device import about_device, about_precision, resolve_precision


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("precision", ["auto", "fp32", "bf16"])
def test_emulated_bfloat16_is_said(precision: Any, native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "_multiplies_bfloat16", lambda _: native)
    notes = about_precision(EngineOptions(precision=precision), torch.device("cpu"))
    assert notes == (
        ("bfloat16 is only emulated on this CPU: --precision fp32 is most likely faster",)
        if precision == "bf16" and not native
        else ()
    )


@pytest.mark.parametrize(("capability", "precision"), [((7, 5), "fp32"), ((8, 0), "bf16"), ((9, 0), "bf16")])
def test_a_gpu_multiplies_bfloat16_from_capability_8_on(
    capability: tuple[int, int], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert resolve_precision(EngineOptions(), torch.device("cuda")) == precision
    assert bool(about_precision(EngineOptions(precision="bf16"), torch.device("cuda"))) == (precision == "fp32")


def test_a_cpu_multiplies_bfloat16_where_onednn_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, asked = torch.device("cpu"), EngineOptions(precision="bf16")
    supported = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert bool(about_precision(asked, cpu)) != supported
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert about_precision(asked, cpu)


def test_the_device_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 0)
    for threads, said in ((1, "cpu, 1 thread"), (6, "cpu, 6 threads")):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert about_device(cpu) == said
    assert about_device(torch.device("mps")) == "mps"
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H100")
    for count, said in ((1, "NVIDIA H100"), (8, "NVIDIA H100 (one of 8: a run takes one)")):
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        assert about_device(gpu) == said
