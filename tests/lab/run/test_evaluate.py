from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from command import photographs, read_json, succeed

from ssfe.lab.data import FileImages, load_data
from ssfe.lab.errors import UserError
from ssfe.lab.run.evaluate import evaluate
from ssfe.lab.run.folder import RunFolder


@pytest.mark.parametrize("data", [None, "digits"])
def test_the_runs_own_test_images_give_its_result_to_the_last_bit(data: str | None, finished: Path) -> None:
    outcome = evaluate(RunFolder(finished), data)
    assert outcome["metrics"] == read_json(finished / "result.json")["test"]["shipped"]
    assert (outcome["data"], outcome["images"]) == ("digits", 100)
    assert (outcome["model"], outcome["inference"]) == ("cifar_resnet20", "aggregated")


@pytest.mark.parametrize("named", [False, True])
def test_a_folder_is_split_as_in_training(named: bool, photo_run: Any) -> None:
    """Asked for by its name, it is not measured with the images that were trained on."""
    outcome = evaluate(RunFolder(photo_run.folder), str(photo_run.images) if named else None, workers=0)
    assert outcome["images"] == 6
    assert outcome["metrics"] == read_json(photo_run.folder / "result.json")["test"]["shipped"]


def test_other_images_are_all_measured(photo_run: Any, tmp_path: Path) -> None:
    more = photographs(tmp_path / "more", 5)
    outcome = evaluate(RunFolder(photo_run.folder), str(more), workers=0)
    assert outcome["images"] == 15
    assert outcome["notes"] == ["no splits: every image is used, and those that a run was trained on say nothing of it"]
    assert f"note: {outcome['notes'][0]}" in succeed("evaluate", photo_run.folder, more, "--workers", "0").out
    assert 0 <= outcome["metrics"]["top1"] <= 1


def test_uneven_classes_are_told_of(photo_run: Any, tmp_path: Path) -> None:
    more = photographs(tmp_path / "more", 4)
    for number in (0, 1):
        next((more / "lime").glob(f"{number}.*")).unlink()
    typed = ("evaluate", photo_run.folder, more, "--workers", "0")
    balanced = json.loads(succeed(*typed, "--json").out)["metrics"]["balanced_accuracy"]
    assert f"Classes are uneven: balanced accuracy, their mean, is {balanced:.1%}\n" in succeed(*typed).out


def test_the_folder_moves_and_its_classes_are_matched_by_name(photo_run: Any, tmp_path: Path) -> None:
    moved = shutil.copytree(photo_run.images, tmp_path / "moved")
    (moved / "lime").rename(moved / "aaa")
    shutil.copytree(photo_run.images / "lime", moved / "lime")
    shutil.rmtree(moved / "aaa")
    assert evaluate(RunFolder(photo_run.folder), str(moved), workers=0)["images"] == 24


def test_fewer_images_and_other_batches(finished: Path) -> None:
    result = read_json(finished / "result.json")["test"]["shipped"]
    assert evaluate(RunFolder(finished), None, limit_test=20)["images"] == 20
    for batch_size, workers in ((7, 0), (50, 1)):
        metrics = evaluate(RunFolder(finished), None, batch_size=batch_size, workers=workers)["metrics"]
        assert metrics == pytest.approx(result, abs=1e-5)


def test_the_command_gives_the_same(finished: Path) -> None:
    shown = json.loads(succeed("evaluate", finished, "--limit-test", "30", "--json").out)
    assert shown == evaluate(RunFolder(finished), None, limit_test=30)


def test_no_test_image_was_trained_on(photo_run: Any) -> None:
    options = RunFolder(photo_run.folder).read_options()
    splits = load_data(options.data, options.loading, seed=options.seed)
    parts = [split for split in (splits.train, splits.val, splits.test) if isinstance(split, FileImages)]
    assert len({path for split in parts for path in split.paths}) == sum(map(len, parts)) == 24


@pytest.fixture
def own_data(photo_run: Any, tmp_path: Path) -> Any:
    """A run whose data may be changed."""
    run, images = tmp_path / "run", tmp_path / "fruit"
    shutil.copytree(photo_run.folder, run)
    shutil.copytree(photo_run.images, images)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace(str(photo_run.images), str(images)))
    return RunFolder(run), images


@pytest.mark.parametrize("change", ["added", "renamed"])
def test_test_images_that_may_have_been_trained_on_are_refused(change: str, own_data: Any) -> None:
    folder, images = own_data
    first = sorted((images / "lime").iterdir())[0]
    if change == "added":
        shutil.copy(first, images / "lime" / f"zz{first.suffix}")
        message = r"\(train: 24 images then, 25 now\), so that its test images are others"
    else:
        first.rename(images / "lime" / f"zz{first.suffix}")
        message = r"\(train: files of other names, or other labels\)"
    with pytest.raises(UserError, match=message):
        evaluate(folder, None, workers=0)
    with pytest.raises(UserError, match="give a folder of images that are new to it"):
        evaluate(folder, None, limit_test=3, workers=0)


def test_the_runs_data_in_another_place_is_split_as_before(own_data: Any, tmp_path: Path) -> None:
    folder, images = own_data
    moved = tmp_path / "elsewhere" / "fruit"
    moved.parent.mkdir()
    shutil.move(images, moved)
    outcome = evaluate(folder, str(moved), workers=0)
    assert outcome["metrics"] == folder.read_result()["test"]["shipped"]
    assert outcome["notes"] == ["taken for the run's own data, which has moved: its test images are used"]
    shutil.copytree(moved, images)
    assert evaluate(folder, str(moved), workers=0)["images"] == 24, "beside the run's own, it is other data"
    shutil.rmtree(images)
    assert evaluate(folder, str(moved), limit_test=3, workers=0)["images"] == 3
    next((moved / "lime").iterdir()).unlink()
    outcome = evaluate(folder, str(moved), workers=0)
    assert outcome["images"] == 23, "other images of that name are all measured, and said to be"
    assert outcome["notes"][0].startswith("no splits: every image is used")
