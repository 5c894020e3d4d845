"""Where the time goes, by operation: for the targets of the joint classifier that are hardest to meet."""

from __future__ import annotations

from collections import Counter
from typing import Any

from torch.profiler import ProfilerActivity, profile

import ssfe
from benchmarks.parts.heads import Call, classifier_calls, large_calls

KINDS = {
    "products": {"mm", "addmm_", "addmm", "bmm", "baddbmm"},
    "softmax": {"_softmax"},
    "columns put in order": {"gather", "index_select", "sort"},
}
OTHERS, BETWEEN = "other passes", "between operations"


def profiles(fast: bool) -> list[dict[str, Any]]:
    """Shares of the time of forward and backward of the joint classifier, and its loss where the labels are many."""
    batch, channels, classes = (8, 64, 10) if fast else (256, 2048, 1000)
    overlapping = classifier_calls(ssfe.ChannelDiscard(scheme="drop_fraction"), batch, channels, classes)[1]
    batch, many = (8, 50) if fast else (256, 21_841)
    found = [{"what": "4 random halves (overlapping)", "C": channels, **_shares(overlapping["ours"])}]
    for channels in (16, 32) if fast else (512, 2048):
        calls = large_calls(ssfe.JointClassifier(channels, many, logits="chunked"), batch)
        found.append({"what": f"{many:,} classes, chunked", "C": channels, **_shares(calls["ours"])})
    return found


def _shares(call: Call, repeats: int = 3) -> dict[str, Any]:
    call()
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        for _ in range(repeats):
            call()
    spent: Counter[str] = Counter()
    for event in recorded.key_averages():
        library, _, operation = event.key.rpartition("::")
        kind = next((kind for kind, names in KINDS.items() if operation in names), OTHERS)
        spent[kind if library == "aten" else BETWEEN] += event.self_cpu_time_total
    total = sum(spent.values())
    kinds = (*KINDS, OTHERS, BETWEEN)
    return {"seconds": total / repeats / 1e6, "shares": {kind: spent[kind] / total for kind in kinds}}
