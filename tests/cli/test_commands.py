from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import command
import pytest
from command import SMALL, read_json, succeed

import ssfe
import ssfe.cli


def at_once(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["ssfe", *arguments])
    return ssfe.cli.main()


def test_help_and_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("train", "evaluate", "predict", "report", "compare", "export", "taps", "cost")
    for arguments in ([], ["-h"], ["--help"]):
        assert at_once(monkeypatch, *arguments) == 0
        shown = capsys.readouterr().out
        assert all(f"ssfe {name}" in shown for name in names)
    assert at_once(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"ssfe {ssfe.__version__}\n"


def test_an_unknown_command_names_the_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert at_once(monkeypatch, "trian") == 2
    known = "train, compare, evaluate, predict, export, report, taps, cost"
    assert capsys.readouterr().err == f"ssfe: unknown command 'trian': use one of {known}\n"


def test_train_says_what_it_does_and_what_came_out(elsewhere: Path) -> None:
    shown = succeed("train", *SMALL, "--epochs", "2", "digits").out
    folder = elsewhere / "runs" / "digits-cifar_resnet20-ssfe-seed0"
    result = read_json(folder / "result.json")
    assert "200 training, 143 validation and 100 test images, 1x8x8, 10 classes" in shown
    assert "64 images = 256 views" in shown
    assert [line[:9] for line in shown.splitlines() if line.startswith("epoch")] == ["epoch 1/2", "epoch 2/2"]
    for reading in ("aggregated", "single", "marginal"):
        row = next(line for line in shown.splitlines() if line.startswith(f"│ {reading}"))
        assert f"{result['test'][reading]['top1']:.1%}" in row
        assert f"{result['test'][reading]['ece']:.3f}" in row
    assert f"Pretext task (which channels are missing?): {result['test']['pretext']['top1']:.1%} right" in shown
    assert "Next: ssfe predict runs/digits-cifar_resnet20-ssfe-seed0 IMAGE ..." in shown
    assert shown.endswith("Report: runs/digits-cifar_resnet20-ssfe-seed0/report.html\n")
    assert (folder / "report.html").exists()
    succeed("train", *SMALL, "--epochs", "1", "--progress", "none")
    assert (elsewhere / "runs" / "digits-cifar_resnet20-ssfe-seed0-2" / "result.json").exists()


def test_a_report_that_fails_costs_a_line_and_not_the_run(elsewhere: Path) -> None:
    succeed("train", *SMALL, "--epochs", "1", "--output", "run")
    (elsewhere / "run" / "report.html").unlink()
    (elsewhere / "run" / "report.html").mkdir()
    ended = command.ssfe("train", "--resume", "run")
    assert ended.code == 0
    assert "run is finished already" in ended.out
    assert ended.err.startswith("ssfe: no report (cannot write run/report.html: ")
    assert ended.err.endswith("all results are there, and ssfe report run makes it\n")
    assert not list((elsewhere / "run").glob("*.unfinished"))


def test_progress_none_prints_no_epochs(elsewhere: Path) -> None:
    assert "epoch" not in succeed("train", *SMALL, "--epochs", "1", "--progress", "none", "--method", "plain").out


@pytest.mark.parametrize("columns", ["80", "40"])
def test_evaluate_prints_a_table_or_json(finished: Path, columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    metrics = read_json(finished / "result.json")["test"]["shipped"]
    table = succeed("evaluate", finished).out
    assert "digits: 100 images" in table
    assert all(f"{metrics[name]:.1%}" in table for name in ("top1", "top5"))
    assert "…" not in table
    assert json.loads(succeed("evaluate", finished, "--json").out)["metrics"] == metrics


def test_predict_tells_of_what_it_could_not_read(finished: Path, photos: Path, elsewhere: Path) -> None:
    (elsewhere / "text.png").write_text("no image")
    readable = succeed("predict", finished, photos / "plum" / "0.jpg")
    assert readable.out.count("\n") == 2
    ended = command.ssfe("predict", finished, photos / "plum" / "0.jpg", "text.png")
    assert ended.code == 1
    assert ended.out == readable.out
    assert "text.png" in ended.err.splitlines()[0]
    assert ended.err.endswith("ssfe: 1 image(s) could not be read\n")


def test_train_at_a_deeper_tap(elsewhere: Path) -> None:
    shown = succeed("train", *SMALL, "--epochs", "1", "--tap", "layer2", "--transformation", "turns").out
    result = read_json(elsewhere / "runs" / "digits-cifar_resnet20-ssfe-seed0" / "result.json")
    price = "each computed from there on (ssfe taps MODEL lists the cost)"
    assert f"ssfe: 4 views of layer2, turns, {price}; a step takes 64 images = 256 views" in shown
    assert "Pretext task (how are the features turned?)" in shown
    assert result["shipped_inference"] == "single"
    assert result["test"]["shipped"] == pytest.approx(result["test"]["single"], abs=1e-5)
    assert result["parameters"]["shipped"] == result["parameters"]["stock"]


def test_without_the_labs_packages_it_says_what_to_install() -> None:
    script = """
        import sys

        class Missing:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in {"jsonargparse", "lightning", "timm", "torchvision", "rich", "yaml"}:
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        sys.meta_path.insert(0, Missing())
        sys.argv = ["ssfe", "train"]
        from ssfe.cli import main

        sys.exit(main())
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr.startswith("ssfe: ")
    assert ended.stderr.endswith('is not installed; the command needs: pip install ".[lab]" in the clone of ssfe\n')
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("buffering", [-1, 1], ids=["at the end", "line by line"])
def test_a_reader_that_has_seen_enough_is_no_error(
    buffering: int, finished: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, write = os.pipe()
    os.close(read)
    monkeypatch.setattr(sys, "argv", ["ssfe", "predict", str(finished), str(photos)])
    with os.fdopen(write, "w", buffering) as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        assert ssfe.cli.main() == 141


def test_ctrl_c_while_the_packages_load_shows_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    class Loading(ModuleType):
        def __getattr__(self, name: str) -> object:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "ssfe.cli.commands", Loading("ssfe.cli.commands"))
    assert at_once(monkeypatch, "train") == 130


def test_ctrl_c_while_the_data_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ssfe.lab.run.experiment.load_data", interrupted)
    ended = command.ssfe("train")
    assert (ended.code, ended.err) == (130, "ssfe: stopped\n")


@pytest.mark.parametrize("arguments", [["--help"], [], ["--version"], ["trane"]])
def test_what_needs_no_library_waits_for_none(arguments: list[str]) -> None:
    script = f"""
        import sys
        from ssfe.cli import main
        sys.argv = ["ssfe", *{arguments}]
        status = main()
        assert not {{"lightning", "timm", "torchvision"}} & set(sys.modules)
        sys.exit(status)
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True)
    assert ended.returncode == (2 if arguments == ["trane"] else 0), ended.stderr
    assert "unknown command 'trane'" in ended.stderr if arguments == ["trane"] else ended.stdout.startswith("ssfe 0.")
