"""What result.json says of the machine and the code."""

from __future__ import annotations

import json
import subprocess
from importlib.metadata import distribution
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ssfe.lab.run import machine


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    command = ["git", *identity, "-C", str(folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A file in a repository of one commit, which carries a tag."""
    file = tmp_path / "package" / "module.py"
    file.parent.mkdir()
    file.write_text("one = 1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    git(tmp_path, "tag", "-m", "one", "v1")
    return file


def test_the_commit_of_a_tracked_file(module: Path) -> None:
    assert machine.commit_of(module) == git(module.parent, "rev-parse", "HEAD")


def test_uncommitted_changes_are_told(module: Path) -> None:
    module.write_text("one = 2\n")
    assert machine.commit_of(module) == git(module.parent, "rev-parse", "HEAD") + "-dirty"


def test_a_package_installed_within_a_repository_is_not_part_of_it(module: Path) -> None:
    installed = module.parent / "installed.py"
    installed.touch()
    assert machine.commit_of(installed) is None


def test_without_git_there_is_no_commit(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert machine.commit_of(module) is None


def test_what_pip_took_from_a_repository(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = json.dumps({"url": "https://host/ssfe.git", "vcs_info": {"vcs": "git", "commit_id": "c0ffee"}})
    monkeypatch.setattr(machine, "distribution", lambda name: SimpleNamespace(read_text=lambda file: record))
    monkeypatch.setattr(machine, "ssfe", SimpleNamespace(__file__=str(module.parent / "elsewhere.py")))
    assert machine.machine_record(torch.device("cpu"), "32-true")["commit"] == "c0ffee"
    monkeypatch.setattr(machine, "distribution", lambda name: SimpleNamespace(read_text=lambda file: None))
    assert machine.machine_record(torch.device("cpu"), "32-true")["commit"] is None


def test_the_record() -> None:
    record = machine.machine_record(torch.device("cpu"), "bf16-mixed")
    assert record["device"] == "cpu"
    assert record["precision"] == "bf16-mixed"
    assert record["cpu"] == machine.cpu_name() != ""
    assert record["threads"] == torch.get_num_threads()
    assert record["versions"]["ssfe"] == distribution("ssfe").version
    assert json.loads(json.dumps(record)) == record
