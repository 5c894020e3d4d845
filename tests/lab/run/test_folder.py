from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ssfe.lab.config import DataOptions, EngineOptions, TrainOptions
from ssfe.lab.errors import UserError
from ssfe.lab.run.folder import RunFolder, check_outside, new_run_folder


def test_options_go_to_the_file_and_back(tmp_path: Path) -> None:
    options = TrainOptions(
        data="/fotos/küche",
        model="resnet18",
        model_args={"drop_rate": 0.1, "layers": [1, 2]},
        loading=DataOptions(data_dir=Path("/somewhere"), image_size=32),
        engine=EngineOptions(compile=True),
    )
    RunFolder(tmp_path).write_options(options)
    read = RunFolder(tmp_path).read_options()
    assert read.to_flat() == options.to_flat()
    assert "küche" in (tmp_path / "config.yaml").read_text(encoding="utf-8")


def test_a_new_folder_takes_the_next_free_name(tmp_path: Path) -> None:
    options = TrainOptions(model="resnet18", seed=3, data="hf:org/name")
    first = new_run_folder(options, tmp_path)
    assert first.path == tmp_path / "hf-org-name-resnet18-ssfe-seed3"
    second = new_run_folder(options, tmp_path)
    assert second.path == tmp_path / "hf-org-name-resnet18-ssfe-seed3-2"
    (tmp_path / "cats").mkdir()
    named = new_run_folder(TrainOptions(model="m", data=str(tmp_path / "cats")), tmp_path)
    assert named.path.name == "cats-m-ssfe-seed0"
    named.create()
    with ThreadPoolExecutor(8) as together:
        made = list(together.map(lambda _: new_run_folder(options, tmp_path / "race").path, range(16)))
    assert len(set(made)) == 16


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    RunFolder(tmp_path / "a" / "b").create()
    RunFolder(tmp_path / "a" / "b").create()
    with pytest.raises(UserError, match="is not empty"):
        RunFolder(tmp_path / "a").create()


def test_results_may_lie_beside_split_folders_and_not_in_them(tmp_path: Path) -> None:
    (tmp_path / "train" / "cats").mkdir(parents=True)
    for place in (tmp_path / "runs", tmp_path.parent / "runs", tmp_path):
        check_outside(place, str(tmp_path))
    check_outside(tmp_path / "train" / "runs", "digits")
    with pytest.raises(UserError, match="would lie among the classes of"):
        check_outside(tmp_path / "train" / "runs", str(tmp_path))
