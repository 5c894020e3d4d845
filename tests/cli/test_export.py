"""``ssfe export`` on the terminal."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from command import complaint, succeed


def test_it_says_what_was_written_and_how_it_was_checked(finished: Path, elsewhere: Path) -> None:
    run = Path(shutil.copytree(finished, elsewhere / "run"))
    for _ in range(2):  # an earlier export is replaced
        lines = succeed("export", "run", "--format", "safetensors").out.splitlines()
        size = (run / "export" / "model.safetensors").stat().st_size
        assert lines[0] == f"wrote   run/export/model.safetensors, {size / 1e6:.1f} MB"
        assert lines[1].startswith("input   float32 (batch, 1, 8, 8), normalised: ")
        assert lines[1].endswith("; output: logits (batch, 10)")
        assert lines[2].startswith("check   timm ")
        assert lines[2].endswith(" against the run, on 64 test images of digits")
        assert lines[3].strip().startswith("largest difference of a logit: 0 (logits up to ")
        assert lines[3].endswith("; same class: 64 of 64")
    assert [path.name for path in (run / "export").iterdir()] == ["model.safetensors"]


def test_images_that_are_gone_are_named(finished: Path, elsewhere: Path) -> None:
    run = Path(shutil.copytree(finished, elsewhere / "run"))
    (run / "config.yaml").write_text((run / "config.yaml").read_text().replace("data: digits", "data: ./gone"))
    shown = succeed("export", "run", "--format", "hf").out
    assert "on 64 images of noise, because the run's own cannot be had: There is no folder ./gone" in shown


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("RUN", "the following arguments are required: --format;"),
        ("", "the following arguments are required: RUN"),
        ("RUN --format tflite", "not one of safetensors, torch-export, onnx, hf"),
        ("RUN --format onnx --batch 0", "batch=0 must be at least 1, or dynamic"),
        ("RUN --format onnx --batch many", "batch"),
        ("RUN --format hf --batch 1", "hf holds weights and no graph"),
        ("RUN --format safetensors --input uint8", "safetensors holds weights and no graph"),
        ("RUN --format safetensors --output RUN/model.safetensors", "no export of ssfe: choose another --output"),
        ("RUN --format hf --output RUN", "is not empty: choose another --output"),
        ("absent --format onnx", "no such run folder: absent"),
        ("bare --format onnx", "bare holds no finished model"),
    ],
)
def test_mistakes(typed: str, said: str, finished: Path, elsewhere: Path) -> None:
    (elsewhere / "bare").mkdir()
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    assert said in complaint("export", *(word.replace("RUN", str(finished)) for word in typed.split()))
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def test_an_unfinished_run_says_how_to_finish_it(finished: Path, elsewhere: Path) -> None:
    run = Path(shutil.copytree(finished, elsewhere / "run"))
    (run / "model.safetensors").unlink()
    assert "ssfe train --resume run" in complaint("export", "run", "--format", "hf")
    assert not (run / "export").exists()
