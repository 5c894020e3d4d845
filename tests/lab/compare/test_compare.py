"""A real comparison on a few digits: run, interrupted, continued, and with a cell that fails."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from command import photographs
from torch import nn

from ssfe.lab.alone import alone
from ssfe.lab.compare.budget import _step, equal_time_epochs, step_ratios
from ssfe.lab.compare.cells import plan_cells
from ssfe.lab.compare.compare import Comparison, compare
from ssfe.lab.compare.entries import as_before, read_entries
from ssfe.lab.compare.results import _with_earlier
from ssfe.lab.compare.runner import ComparisonStopped
from ssfe.lab.config import AugmentOptions, DataOptions, EngineOptions, MethodOptions, OptimizerOptions, TrainOptions
from ssfe.lab.errors import UserError
from ssfe.lab.run.experiment import prepare
from ssfe.lab.run.folder import RunFolder
from ssfe.lab.training.module import Classification

COMMON = TrainOptions(epochs=1, loading=DataOptions(limit_train=64, limit_test=50, batch_size=32))


def run(output: Path, said: list[str] | None = None, common: TrainOptions = COMMON, **changed: Any) -> Comparison:
    arguments: dict[str, Any] = {"methods": ["plain", "sla"], "models": None, "seeds": 1, "budget": "epochs", "jobs": 2}
    say = [].append if said is None else said.append
    return compare(common, **{**arguments, **changed}, output=output, say=say)


def test_failures_are_reported_and_a_second_run_only_does_what_is_left(tmp_path: Path) -> None:
    first = run(tmp_path / "c", models=["cifar_resnet20", "inception_v3"], methods=["plain"])
    assert [failure.cell.model for failure in first.failures] == ["inception_v3"]
    assert "inception_v3" in first.failures[0].reason
    assert [(row.model, row.method) for row in first.rows] == [("cifar_resnet20", "plain")]
    said: list[str] = []
    second = run(tmp_path / "c", said, methods=["ssfe:transforms=2"])
    assert [line.split("(")[0].strip() for line in said if line.startswith("start")] == [
        "start   cifar_resnet20 ssfe:transforms=2 seed 0"
    ]
    assert [row.method for row in second.rows if row.shipped] == ["plain", "ssfe:transforms=2"]
    content = json.loads((tmp_path / "c" / "results.json").read_text())
    assert [cell["label"] for cell in content["cells"]] == ["plain", "ssfe:transforms=2"]
    assert set(content["step_ratios"]["cifar_resnet20"]) == {"plain", "ssfe:transforms=2"}
    assert [failure["cell"] for failure in content["failures"]] == ["inception_v3 plain seed 0"], "of the first call"
    assert "inception_v3 plain seed 0" in (tmp_path / "c" / "results.md").read_text()
    for cell in content["cells"]:
        folder = RunFolder(tmp_path / "c" / cell["folder"])
        assert folder.read_result()["test"] == cell["test"]
    assert "| plain |" in (tmp_path / "c" / "results.md").read_text()
    with pytest.raises(UserError, match="was started with epochs=1, not 2"):
        run(tmp_path / "c", common=replace(COMMON, epochs=2), methods=["plain"])


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("of a run")
    with pytest.raises(UserError, match=r"is not empty and holds no comparison: choose another --output"):
        run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_ctrl_c_stops_the_cells_and_the_same_call_continues(tmp_path: Path) -> None:
    said: list[str] = []

    def interrupt() -> None:
        while not any(line.startswith("start") for line in said):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(ComparisonStopped):
        run(tmp_path, said, methods=["plain"])
    assert [row.method for row in run(tmp_path, methods=["plain"]).rows] == ["plain"]


def test_equal_time_gives_dearer_methods_fewer_epochs() -> None:
    said: list[str] = []
    ratios = step_ratios(COMMON, "cifar_resnet20", read_entries(["plain", "sla", "ssfe:tap=nosuch"]), said.append)
    assert ratios["plain"] == 1
    assert set(ratios) == {"plain", "sla"}
    assert len(said) == 1
    assert "ssfe:tap=nosuch failed" in said[0]
    assert step_ratios(COMMON, "no_such_model", read_entries(["plain"]), said.append) == {}
    assert [equal_time_epochs(100, ratio) for ratio in (1, 1.6, 4, 1000)] == [100, 62, 25, 1]


@pytest.mark.usefixtures("cells_run_here")
def test_equal_time_is_never_assumed(tmp_path: Path) -> None:
    """A method whose step cannot be timed fails, and costs the others nothing."""
    methods = ["plain", "sla", "ssfe:tap=nosuch"]
    found = run(tmp_path, common=replace(COMMON, epochs=4), methods=methods, budget="time", jobs=1)
    assert [(failure.cell.label, "could not be timed" in failure.reason) for failure in found.failures] == [
        ("ssfe:tap=nosuch", True)
    ]
    epochs = {row.method: row.epochs for row in found.rows if row.shipped}
    ratios = json.loads((tmp_path / "step_ratios.json").read_text())["cifar_resnet20"]
    assert epochs == {"plain": 4, "sla": equal_time_epochs(4, ratios["sla"])}
    assert list(epochs) == ["plain", "sla"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"methods": []}, "methods is empty"),
        ({"methods": ["plain", "magic"]}, "unknown method 'magic': choose among ssfe, plain"),
        ({"methods": ["plain", "plain"]}, "methods names plain more than once"),
        ({"methods": ["ssfe:transforms=8", "ssfe:transforms=8:identity=false", "ssfe:transforms=8"]}, "more than once"),
        (
            {"methods": ["sla:transforms=2"]},
            "method sla has no option 'transforms'; its options are distill",
        ),
        ({"methods": ["plain:identity"]}, "no option 'identity'; its options are gradient_scale, augment, clip_grad"),
        ({"methods": ["plain", "plain:lr=-1"]}, r"plain:lr=-1: lr=-1\.0 must be positive"),
        ({"methods": ["plain", "ssfe:optimizer=adamw"]}, "has no option 'optimizer'"),
        ({"methods": ["ssfe:transforms=many"]}, "ssfe:transforms=many: 'many' will not do for transforms"),
        ({"methods": ["plain", "ssfe:inference=distilled"]}, "ssfe:inference=distilled: .* add distill=true"),
        (
            {"methods": ["plain", "ssfe:fraction=0.3"]},
            "ssfe:fraction=0.3: fraction has no effect with scheme=drop_group",
        ),
        (
            {"methods": ["plain", "ssfe:mixup=0.2"], "budget": "time"},
            "ssfe:mixup=0.2: what mixup costs is no part of the step that is timed: give it to all methods",
        ),
        ({"common": replace(COMMON, epochs=0)}, "^epochs=0 must be at least 1"),
        ({"models": ["a", "a"]}, "models names a more than once"),
        ({"models": ["cifar_resnet20", "resnet81"]}, "no model 'resnet81'"),
        ({"seeds": 0}, "seeds=0"),
        ({"jobs": 0}, "jobs=0"),
    ],
)
def test_mistakes(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(tmp_path, **changed)
    assert not list(tmp_path.iterdir())


def test_pretrained_networks_of_several_sizes_need_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timm.models._builder.load_pretrained", lambda *args, **options: None)
    common = TrainOptions(data=str(photographs(tmp_path / "photos", 4)), pretrained=True)
    told = r"several sizes, those of test_vit on 160 px and those of resnet18 on 224 px: choose one, --image-size"
    with pytest.raises(UserError, match=told):
        run(tmp_path / "c", common=common, models=["test_vit", "resnet18"])
    assert not (tmp_path / "c").exists()


def test_options_that_serve_no_method_are_refused(tmp_path: Path) -> None:
    common = replace(COMMON, enhancement=MethodOptions(transforms=7))
    with pytest.raises(UserError, match="transforms=7 has no effect on any of these methods: leave it out"):
        run(tmp_path, common=common)
    common = replace(COMMON, enhancement=MethodOptions(fraction=0.3))
    with pytest.raises(UserError, match=r"fraction=0\.3 has no effect on any of these methods: leave it out"):
        run(tmp_path, common=common, methods=["plain", "ssfe"])
    common = replace(COMMON, optimization=OptimizerOptions(optimizer="adamw", momentum=0.5))
    with pytest.raises(UserError, match=r"momentum=0\.5 has no effect with adamw: leave it out"):
        run(tmp_path, common=common)


@pytest.mark.usefixtures("cells_run_here")
def test_an_option_may_serve_some_of_the_methods(tmp_path: Path) -> None:
    common = replace(COMMON, enhancement=MethodOptions(fraction=0.3))
    found = run(tmp_path / "c", common=common, methods=["ssfe", "ssfe:scheme=drop_fraction"], jobs=1)
    assert not found.failures
    assert len({row.method for row in found.rows}) == 2


@pytest.mark.usefixtures("cells_run_here")
def test_the_common_options_need_not_suit_ssfe(tmp_path: Path) -> None:
    """They are those of the entries that have use for them. A data_dir, a damaged summary and a switch spelt out are
    no hindrance either.
    """
    common = replace(
        COMMON,
        enhancement=MethodOptions(inference="distilled"),
        loading=replace(COMMON.loading, data_dir=tmp_path / "none"),
    )
    first = run(tmp_path / "c", common=common, methods=["ssfe:distill=true", "plain"], jobs=1)
    assert not first.failures
    assert [row.method for row in first.rows if row.shipped] == ["plain", "ssfe:distill"]
    for name in ("results.json", "step_ratios.json"):
        (tmp_path / "c" / name).write_text("{")
    said: list[str] = []
    second = run(tmp_path / "c", said, common, methods=["ssfe:distill", "plain"], jobs=1)
    assert [row.method for row in second.rows if row.shipped] == ["plain", "ssfe:distill"]
    assert not [line for line in said if line.startswith("start")]


def test_cells_of_a_seed_share_all_but_model_and_method(tmp_path: Path) -> None:
    cells = plan_cells(
        COMMON,
        ["a", "b"],
        read_entries(["plain", "ssfe"]),
        2,
        tmp_path,
        {("a", "ssfe"): 3, ("b", "ssfe"): 4} | {(model, "plain"): 9 for model in "ab"},
    )
    assert [(cell.seed, cell.model, cell.label, cell.options.epochs) for cell in cells[:4]] == [
        (0, "a", "plain", 9),
        (0, "a", "ssfe", 3),
        (0, "b", "plain", 9),
        (0, "b", "ssfe", 4),
    ]
    assert len({cell.folder.path for cell in cells}) == 8


def test_options_of_one_method_are_left_out_for_the_others(tmp_path: Path) -> None:
    common = replace(COMMON, enhancement=MethodOptions(transforms=8, distill=True))
    entries = read_entries(["plain", "ssfe", "discard", "ssfe:transforms=2:views=sampled:identity"])
    cells = plan_cells(common, ["a"], entries, 1, tmp_path)
    assert [cell.options.enhancement for cell in cells] == [
        MethodOptions(),
        common.enhancement,
        MethodOptions(transforms=8),
        MethodOptions(transforms=2, views="sampled", identity=True, distill=True),
    ]
    assert cells[3].folder.path == tmp_path / "cells" / "a-ssfe-transforms-2-views-sampled-identity-seed0"


def test_every_cell_trains_its_model_with_its_seed(tmp_path: Path) -> None:
    cells = plan_cells(replace(COMMON, seed=7), ["a", "b"], read_entries(["plain"]), 2, tmp_path)
    own = [("a", 7), ("b", 7), ("a", 8), ("b", 8)]
    assert [(cell.model, cell.seed) for cell in cells] == own
    assert [(cell.options.model, cell.options.seed) for cell in cells] == own


def test_a_method_may_be_trained_in_its_own_way(tmp_path: Path) -> None:
    common = replace(COMMON, augmentation=AugmentOptions(mixup=0.2))
    labels = ["plain", "plain:lr=0.3:weight-decay=0.001", "ssfe:mixup=0.0:label_smoothing=0.1:transforms=2"]
    entries = read_entries(labels)
    cells = plan_cells(common, ["a"], entries, 1, tmp_path)
    assert [cell.options.optimization for cell in cells] == [
        OptimizerOptions(),
        OptimizerOptions(lr=0.3, weight_decay=0.001),
        OptimizerOptions(),
    ]
    assert [cell.options.augmentation for cell in cells] == [
        AugmentOptions(mixup=0.2),
        AugmentOptions(mixup=0.2),
        AugmentOptions(label_smoothing=0.1),
    ]
    assert [cell.options.enhancement.transforms for cell in cells] == [None, None, 2]
    assert cells[1].name == "a plain:lr=0.3:weight_decay=0.001 seed 0"


@pytest.mark.usefixtures("cells_run_here")
def test_what_the_first_method_has_for_itself_is_not_passed_to_the_others(tmp_path: Path) -> None:
    found = run(tmp_path / "c", methods=["plain:lr=0.01", "plain"], jobs=1)
    assert not found.failures
    rates = {}
    for cell in json.loads((tmp_path / "c" / "results.json").read_text())["cells"]:
        rates[cell["label"]] = RunFolder(tmp_path / "c" / cell["folder"]).read_options().optimization.lr
    assert rates == {"plain": 0.1 * 32 / 128, "plain:lr=0.01": 0.01}


@pytest.mark.usefixtures("cells_run_here")
def test_the_default_learning_rate_in_other_words_is_no_other_method(tmp_path: Path) -> None:
    default = f"plain:lr={0.1 * 32 / 128}"
    with pytest.raises(UserError, match=rf"names plain more than once, once as {default}: leave one out"):
        run(tmp_path / "c", methods=["plain", default], jobs=1)
    assert not (tmp_path / "c").exists()
    run(tmp_path / "c", methods=["plain"], jobs=1)
    again = run(tmp_path / "c", methods=[default], jobs=1)
    assert [row.method for row in again.rows] == ["plain"]
    with pytest.raises(UserError, match=rf"names plain more than once, once as {default}: leave one out"):
        run(tmp_path / "c", methods=["plain", default], jobs=1)
    run(tmp_path / "d", methods=[default, "ssfe:transforms=2"], jobs=1)
    later = run(tmp_path / "d", methods=["plain"], jobs=1)
    assert [row.method for row in later.rows if row.shipped] == ["plain", default, "ssfe:transforms=2"]
    assert all(row.difference is not None for row in later.rows if row.method != "plain"), "the baseline is there"


def test_sigterm_stops_a_comparison_like_ctrl_c(tmp_path: Path) -> None:
    said: list[str] = []

    def terminate() -> None:
        while not any(line.startswith("start") for line in said):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    threading.Thread(target=terminate).start()
    with pytest.raises(ComparisonStopped) as stopped:
        run(tmp_path, said, methods=["plain"])
    assert stopped.value.number == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.usefixtures("cells_run_here")
def test_a_comparison_keeps_to_its_images_and_follows_where_they_go(tmp_path: Path) -> None:
    images = photographs(tmp_path / "fruit", 8)
    common = replace(COMMON, data=str(images), loading=DataOptions(image_size=32, batch_size=8))
    arguments: dict[str, Any] = {"models": ["cifar_resnet20"], "jobs": 1}
    run(tmp_path / "c", common=common, methods=["plain"], **arguments)
    moved = tmp_path / "elsewhere" / "fruit"
    moved.parent.mkdir()
    images.rename(moved)
    common = replace(common, data=str(moved), loading=replace(common.loading, workers=0))
    plan = plan_cells(
        RunFolder(tmp_path / "c" / "cells" / "cifar_resnet20-plain-seed0").read_options(),
        ["cifar_resnet20"],
        read_entries(["ssfe"]),
        1,
        tmp_path / "c",
    )
    plan[0].folder.path.mkdir()
    plan[0].folder.write_options(plan[0].options)  # as an interrupted call leaves it
    second = run(tmp_path / "c", common=common, methods=["plain", "ssfe"], **arguments)
    assert not second.failures
    assert plan[0].folder.read_options().data == str(moved)
    assert plan[0].folder.read_options().loading.workers == 0
    (moved / "lime" / "new.jpg").write_bytes(next((moved / "lime").glob("*.jpg")).read_bytes())
    with pytest.raises(UserError, match=r"has other images than those that .* was started with: put them back"):
        run(tmp_path / "c", common=common, methods=["plain", "ssfe"], **arguments)


@pytest.mark.usefixtures("cells_run_here")
def test_a_method_in_other_words_is_the_same(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"names ssfe:transforms=2:identity more than once"):
        read_entries(["ssfe:transforms=2:identity", "ssfe:identity=True:transforms=2"])
    with pytest.raises(UserError, match="names ssfe more than once"):
        read_entries(["ssfe", "ssfe:views=all"])
    sampled = replace(COMMON, enhancement=MethodOptions(views="sampled"))
    assert len(read_entries(["ssfe", "ssfe:views=all"], sampled)) == 2
    for words in ("ssfe:transforms=4", "ssfe:identity=false", "ssfe:inference=aggregated"):
        with pytest.raises(UserError, match=f"names ssfe more than once, once as {words}: leave one out"):
            read_entries(["ssfe", words])
    with pytest.raises(UserError, match="names ssfe:distill more than once"):
        read_entries(["ssfe:distill", "ssfe:distill:inference=distilled"])
    others = ["ssfe", "ssfe:inference=single", "ssfe:identity", "ssfe:distill", "ssfe:distill:inference=aggregated"]
    assert len(read_entries(others)) == 5
    random = replace(COMMON, enhancement=MethodOptions(groups="random"))
    with pytest.raises(UserError, match="names ssfe:scheme=drop_fraction more than once"):
        read_entries(["ssfe:scheme=drop_fraction", "ssfe:scheme=drop_fraction:groups=contiguous"], random)
    third = replace(COMMON, optimization=OptimizerOptions(lr=0.1 * 96 / 128))  # 0.07500000000000001
    with pytest.raises(UserError, match=r"names plain more than once, once as plain:lr=0\.075"):
        read_entries(["plain", "plain:lr=0.075"], third)
    # What contradicts itself is told apart here, and refused elsewhere.
    assert len(read_entries(["ssfe:tap=layer3:identity=false", "ssfe:tap=layer3:identity=false:transforms=4"])) == 2
    for words in ("discard", "multitask", "dropout"):
        with pytest.raises(UserError, match=f"names {words} more than once, once as {words}:transforms=4"):
            read_entries([words, f"{words}:transforms=4"])
    assert len(read_entries(["sla", "sla:distill", "ssfe+sla", "ssfe+sla:identity", "discard:identity"])) == 5
    old = as_before(read_entries(["plain", "ssfe:tap=layer3:identity"]), ["ssfe:identity:tap=layer3", "gone:x=1"])
    assert [entry.label for entry in old] == ["plain", "ssfe:identity:tap=layer3"]
    longer = ["ssfe:distill:inference=distilled"]
    assert [entry.options for entry in as_before(read_entries(["ssfe:distill"]), longer)] == [
        {"distill": True, "inference": "distilled"}  # the cells' own, or they could not be continued
    ]
    both = ["ssfe:distill", *longer]  # of a version to which they were not the same
    assert [entry.label for entry in as_before(read_entries(longer), both)] == longer
    first = run(tmp_path / "c", methods=["ssfe:groups=interleaved:transforms=2"], jobs=1)
    second = run(tmp_path / "c", methods=["ssfe:transforms=2:groups=interleaved"], jobs=1)
    assert [row.method for row in second.rows] == [row.method for row in first.rows]


@pytest.mark.usefixtures("cells_run_here")
def test_a_mended_mistake_is_forgotten(tmp_path: Path) -> None:
    said: list[str] = []
    first = run(tmp_path / "c", said, methods=["plain", "ssfe:transforms=500"], jobs=1)
    assert f"log     of each run: {tmp_path}/c/cells/*/log.txt" in said
    assert [failure.cell.label for failure in first.failures] == ["ssfe:transforms=500"]
    run(tmp_path / "c", methods=["plain", "ssfe:transforms=2"], jobs=1)
    assert "Failed" not in (tmp_path / "c" / "results.md").read_text()


def test_a_method_whose_step_takes_too_much_memory_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def step_of(experiment: Any) -> Any:
        def step() -> None:
            if experiment.options.method == "sla":
                raise torch.OutOfMemoryError

        return step

    monkeypatch.setattr("ssfe.lab.compare.budget._step", step_of)
    said: list[str] = []
    assert set(step_ratios(COMMON, "cifar_resnet20", read_entries(["plain", "ssfe", "sla"]), said.append)) == {
        "plain",
        "ssfe",
    }
    assert said == ["timing  cifar_resnet20 sla failed: out of memory; lower batch_size for all"]


def test_what_is_timed_trains_the_network() -> None:
    experiment = prepare(replace(COMMON, method="plain", model="cifar_resnet20"))
    before = {name: parameter.clone() for name, parameter in experiment.network.named_parameters()}
    _step(experiment)()
    assert not any(parameter.equal(before[name]) for name, parameter in experiment.network.named_parameters())


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp32", None)])
def test_what_is_timed_is_a_step_of_the_run(
    monkeypatch: pytest.MonkeyPatch, precision: Any, dtype: torch.dtype | None
) -> None:
    taken: list[str] = []
    step = Classification.training_step

    def recorded(self: Classification, batch: Any, batch_idx: int) -> torch.Tensor:
        taken.append(type(self.method).__name__)
        assert (torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None) == dtype
        assert batch[0].dtype == torch.uint8
        assert self.network.training
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Classification, "training_step", recorded)
    monkeypatch.setattr("ssfe.lab.compare.budget._ROUNDS", 2)
    common = replace(COMMON, engine=EngineOptions(accelerator="cpu", precision=precision))
    step_ratios(common, "cifar_resnet20", read_entries(["ssfe"]), print)
    assert taken == ["Plain", "FeatureEnhancement", *["Plain", "FeatureEnhancement"] * 4]


def test_compiled_networks_are_timed_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda network: compiled.append(network))
    step_ratios(
        replace(COMMON, engine=EngineOptions(compile=True)), "cifar_resnet20", read_entries(["plain", "ssfe"]), print
    )
    assert len(compiled) == 2


def test_a_cell_that_was_taken_out_is_not_in_the_results(tmp_path: Path) -> None:
    cells = [{"folder": f"cells/{label}", "label": label} for label in ("ssfe", "plain")]
    for cell in cells:
        (tmp_path / cell["folder"]).mkdir(parents=True)
        (tmp_path / cell["folder"] / "result.json").touch()
    assert _with_earlier([], tmp_path, cells) == cells[::-1]
    (tmp_path / "cells" / "ssfe" / "result.json").unlink()
    assert _with_earlier([], tmp_path, cells) == cells[1:]


def test_two_comparisons_do_not_work_in_one_folder(tmp_path: Path) -> None:
    with (
        alone(tmp_path / "c", "is elsewhere"),
        pytest.raises(
            UserError, match=r"another process is at work on this comparison \(.*\): wait for it, or stop it"
        ),
        alone(tmp_path / "c", "is at work on this comparison"),
    ):
        pass
    with alone(tmp_path / "c", "comes after"):
        pass
