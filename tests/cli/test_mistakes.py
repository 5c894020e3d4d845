"""Each mistake of a user ends in one line that names it and the way out."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from command import SMALL, complaint, photograph, photographs, read_json, ssfe, succeed

from ssfe.lab.config import TrainOptions
from ssfe.lab.training.interrupt import Checkpoints


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        # Data
        ("digit", "no data set or folder 'digit'. Did you mean digits"),
        ("cifar101", "Did you mean cifar10"),
        ("./nowhere", "no folder ./nowhere"),
        ("bare", "bare has no class folders"),
        ("one", "one has one class folder only ('a')"),
        ("empty", "The class folder empty/b has no images"),
        ("few", "Class 'a' of few has 1 training image(s)"),
        ("damaged", "Cannot read the image damaged/b/1.png"),
        ("text.yaml", "text.yaml is a file"),
        ("digits bare", "give DATA once"),
        # Network
        ("--model resnet81", "no model 'resnet81': did you mean resnet18"),
        ("--model resnet18.nonsense", "has no weights tagged 'nonsense'"),
        ('--model resnet18 --model_args {"drop_pth_rate":0.1}', "did you mean 'drop_path_rate'?"),
        ('--model_args {"num_classes":3}', "may not set 'num_classes'"),
        (
            'photos --model vit_tiny_patch16_224 --model_args {"img_size":224} --image_size 100',
            "image_size 224 works",
        ),
        ("--pretrained", "no pretrained weights for 'cifar_resnet20'"),
        # Numbers
        ("--epochs 0", "epochs=0 must be at least 1"),
        ("--batch_size 0", "batch_size=0 must be at least 1"),
        ("--workers -1", "workers=-1 must not be negative"),
        ("--lr 0", "lr=0.0 must be positive"),
        ("--lr .nan", "lr=nan must be a finite number"),
        ("--warmup_epochs .inf", "warmup_epochs=inf must be a finite number"),
        ("--momentum 1", "momentum=1.0 must be in [0, 1)"),
        ("--weight_decay -1", "weight_decay=-1.0 must be not negative"),
        ("--clip_grad 0", "clip_grad=0.0 must be positive"),
        ("--ema 1", "ema=1.0 must be in [0, 1)"),
        ("--label_smoothing 1", "label_smoothing=1.0 must be in [0, 1)"),
        ("--image_size 0", "image_size is 0"),
        ("--limit_train 5", "5 images is too few for 10 classes"),
        ("--limit_test 0", "limit_test is 0"),
        ("--val_fraction 1", "val_fraction is 1.0"),
        ("--mixup -1", "mixup=-1.0 must be positive, or 0 for off"),
        ("--cutmix -1", "cutmix=-1.0 must be positive, or 0 for off"),
        ("--random_erasing 2", "random_erasing=2.0 must be in [0, 1]"),
        ("--random_erasing -1", "random_erasing=-1.0 must be in [0, 1]"),
        # Options that contradict each other
        ("--inference distilled", "add distill=true"),
        ("--identity --transforms 2", "use transforms=3 or more"),
        ("--transforms 65", "more than the 64 channels"),
        ("--transforms 1", "at least 2 transformations"),
        ("--scheme drop_fraction --fraction 1", "fraction=1.0"),
        ("--fraction 0.3", "fraction=0.3 has no effect with scheme=drop_group: leave it out"),
        ("--scheme drop_fraction --groups random", "groups=random has no effect with scheme=drop_fraction"),
        ("--pretrained --model resnet18.nosuch", "has no weights tagged 'nosuch'"),
        ('--pretrained --model-args {"base":5}', "base=5 is not the name of a network"),
        ("--optimizer adamw --momentum 0.8", "momentum=0.8 has no effect with adamw: leave it out"),
        # Machine
        ("--accelerator gpuu", "gpuu"),
        ("--accelerator cpu --precision fp16", "precision=fp16 needs an accelerator: on a CPU use bf16 or fp32"),
        # Config files
        ("--config absent.yaml", "cannot read the config file absent.yaml: No such file"),
        ("--config bare", "cannot read the config file bare: Is a directory"),
        ("--config broken.yaml", "broken.yaml is not a config file: it is not YAML (line 2"),
        ("--config text.yaml", "text.yaml is not a config file"),
        ("--config binary.yaml", "binary.yaml is not a config file: it is no text"),
        ("--config unknown.yaml", "unknown option epoch, did you mean epochs?"),
        ("--config value.yaml", "many"),
        ("--config resume.yaml", "type --resume RUN"),
        # Run folders
        ("--output full", "full is not empty: choose another --output"),
        ("--output text.yaml", "text.yaml is a file"),
        ("--output text.yaml/run", "cannot make the run folder text.yaml/run: Not a directory"),
        ("--resume absent", "absent is not a run folder"),
        ("--resume full", "full is not a run folder"),
    ],
)
def test_what_cannot_be_trained_leaves_nothing_behind(typed: str, said: str, mistakes: Path) -> None:
    before = sorted(mistakes.rglob("*"))
    line = complaint("train", *typed.split(), *([] if "--output" in typed or "--resume" in typed else ["--output=new"]))
    assert said in line
    assert sorted(mistakes.rglob("*")) == before


@pytest.fixture
def mistakes(elsewhere: Path) -> Path:
    """A working folder with one of each unusable thing."""
    for path in (
        "one/a/1",
        "empty/a/1",
        "few/a/1",
        "few/b/1",
        *(f"damaged/{name}/{n}" for name in "ab" for n in "0123"),
    ):
        photograph(elsewhere / path, (200, 0, 0), 2, (8, 8))
    photographs(elsewhere / "photos", 3)
    (elsewhere / "damaged/b/1.png").write_bytes(b"no image")
    (elsewhere / "empty/b").mkdir()
    (elsewhere / "bare").mkdir()
    (elsewhere / "full").mkdir()
    (elsewhere / "full/thesis.txt").write_text("four years of work")
    texts = {
        "text": "just words",
        "broken": "epochs: [1\nlr: {",
        "unknown": "epoch: 3",
        "value": "epochs: many",
        "resume": "resume: somewhere",
    }
    for name, text in texts.items():
        (elsewhere / f"{name}.yaml").write_text(text)
    (elsewhere / "binary.yaml").write_bytes(bytes(range(256)))
    return elsewhere


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is an accelerator cuda here")
@pytest.mark.parametrize("command", [("train", "--output", "new"), ("evaluate", "RUN"), ("predict", "RUN", "IMAGE")])
def test_an_accelerator_that_is_not_there(
    command: tuple[str, ...], finished: Path, photos: Path, elsewhere: Path
) -> None:
    places = {"RUN": finished, "IMAGE": photos / "plum" / "0.jpg"}
    line = complaint(*(places.get(word, word) for word in command), "--accelerator", "cuda")
    assert "cpu" in line
    assert not (elsewhere / "new").exists()


def test_a_folder_that_cannot_be_written(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *arguments: object, **options: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "write_text", refuse)
    line = complaint("train", *SMALL, "--output", "new")
    assert line == "ssfe: cannot write new/config.yaml: Permission denied; choose another --output"


def test_a_diverging_run_is_not_to_be_continued() -> None:
    line = complaint("train", *SMALL, "--epochs", "9", "--lr", "1e7", "--output", "run")
    assert line.startswith("ssfe: training diverged: the loss of epoch")
    assert "start a new run with a lower lr than 1e+07" in line
    assert "--resume" not in line


def test_a_network_that_diverged_in_its_last_step_is_not_shipped(elsewhere: Path) -> None:
    """The loss of the one step is that of the initial weights."""
    one_step = ("--limit_train", "64", "--batch_size", "64", "--epochs", "1", "--warmup_epochs", "0")
    line = complaint("train", *one_step, "--lr", "1e30", "--output", "run")
    assert line.startswith("ssfe: training diverged: the validation loss of epoch 1 is nan")
    assert not (elsewhere / "run" / "model.safetensors").exists()


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied", "/some/file"), OSError("strange")])
def test_what_the_system_refuses_is_one_line(error: OSError, monkeypatch: pytest.MonkeyPatch, elsewhere: Path) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr("ssfe.cli.evaluate.evaluate", refuse)
    said = "Permission denied: /some/file" if error.filename else "strange"
    assert complaint("evaluate", "run") == f"ssfe: {said}"
    monkeypatch.setattr("ssfe.lab.run.train.fit", refuse)
    line = complaint("train", *SMALL, "--output", "run")
    assert line == f"ssfe: {said}; the run is kept: mend this, then continue with ssfe train --resume run"


def test_a_class_whose_name_is_not_utf8(elsewhere: Path) -> None:
    try:
        (elsewhere / "latin" / os.fsdecode(b"caf\xe9")).mkdir(parents=True)
    except OSError:
        pytest.skip("this file system has no such names")
    (elsewhere / "latin" / "b").mkdir()
    assert r"The name of the folder 'latin/caf\udce9' is not UTF-8: rename it" in complaint("train", "latin")


def test_single_values_in_batch_norm(photos: Path, elsewhere: Path) -> None:
    typed = ("--model", "resnet18", "--model_args", '{"channels": [8, 8, 8, 8]}', "--image_size", "8")
    line = complaint("train", photos, *typed, "--batch_size", "1", "--epochs", "1", "--workers", "0", "--output", "run")
    assert "batch norm cannot train on single values: raise batch_size or image_size" in line


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("--model resnet18", "started with model=cifar_resnet20, not resnet18: leave model out"),
        ("--epochs 5", "started with epochs=1, not 5"),
        ("photos", "started with data=digits, not "),
        ("--output other", "--output has no place beside --resume"),
    ],
)
def test_a_run_is_resumed_as_it_was_started(typed: str, said: str, finished: Path, photos: Path) -> None:
    assert said in complaint("train", "--resume", finished, *typed.replace("photos", str(photos)).split())


@pytest.fixture
def copied(finished: Path, elsewhere: Path) -> Path:
    """A run that may be spoilt."""
    return Path(shutil.copytree(finished, elsewhere / "copied"))


def spoil_text(path: Path) -> None:
    path.write_text("{" + path.read_text())


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def scribble(path: Path) -> None:
    path.write_bytes(b"\xff" * 5000)


@pytest.mark.parametrize("spoil", [spoil_text, scribble])
@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_a_damaged_card(spoil: Callable[[Path], None], command: str, copied: Path, photos: Path) -> None:
    spoil(copied / "model.json")
    line = complaint(command, copied, photos)
    assert str(copied) in line
    assert "model.json or model.safetensors is damaged" in line


@pytest.mark.parametrize(
    "changed",
    [
        {"create_model": {"model_name": "no_such_net"}},
        {"create_model": 3},
        {"classes": None},
        {"preprocessing": {}},
        {"create_model": {"model_name": "cifar_resnet20", "num_classes": 10, "in_chans": 1, "nonsense": 1}},
    ],
)
def test_a_card_that_makes_no_sense(changed: dict[str, object], copied: Path) -> None:
    card = read_json(copied / "model.json")
    (copied / "model.json").write_text(json.dumps(card | changed))
    assert "model.json or model.safetensors is damaged" in complaint("evaluate", copied)


@pytest.mark.parametrize("spoil", [cut, scribble])
def test_damaged_weights(spoil: Callable[[Path], None], copied: Path) -> None:
    spoil(copied / "model.safetensors")
    assert "model.json or model.safetensors is damaged" in complaint("evaluate", copied)


def test_weights_of_another_network(copied: Path) -> None:
    safetensors.torch.save_file({"weight": torch.zeros(3)}, copied / "model.safetensors")
    assert "model.json or model.safetensors is damaged" in complaint("evaluate", copied)


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_a_run_without_a_finished_model(command: str, copied: Path, photos: Path, elsewhere: Path) -> None:
    (copied / "model.json").unlink()
    line = complaint(command, copied, photos)
    assert f"{copied} holds no finished model" in line
    assert f"ssfe train --resume {copied}" in line
    assert "no such run folder: absent" in complaint(command, "absent", photos)
    (elsewhere / "bare").mkdir()
    assert "give the --output folder of ssfe train" in complaint(command, "bare", photos)


@pytest.mark.parametrize(
    ("text", "said"), [("epochs: [", "not YAML"), ("nonsense", "is not a config file"), ("epoch: 1", "'epoch'")]
)
@pytest.mark.parametrize("command", [("evaluate",), ("train", "--resume")])
def test_a_damaged_config(text: str, said: str, command: tuple[str, ...], copied: Path) -> None:
    (copied / "config.yaml").write_text(text)
    line = complaint(*command, copied)
    assert "config.yaml" in line
    assert said in line


def test_a_damaged_result_is_made_anew(copied: Path) -> None:
    before = read_json(copied / "result.json")
    cut(copied / "result.json")
    assert f"remove it, and ssfe train --resume {copied} writes it anew" in complaint("train", "--resume", copied)
    (copied / "result.json").unlink()
    succeed("train", "--resume", copied)
    after = read_json(copied / "result.json")
    assert (after["test"], after["seconds"]) == (before["test"], before["seconds"])


@pytest.mark.parametrize("spoil", [cut, scribble])
def test_a_damaged_checkpoint(spoil: Callable[[Path], None], copied: Path) -> None:
    (copied / "result.json").unlink()
    spoil(copied / "checkpoints" / "last.ckpt")
    line = complaint("train", "--resume", copied)
    assert f"the checkpoint {copied}/checkpoints/last.ckpt is damaged" in line
    assert "remove it to start the run anew with --resume" in line
    (copied / "checkpoints" / "last.ckpt").unlink()
    assert "starting" in succeed("train", "--resume", copied).out


def test_a_checkpoint_of_another_network(copied: Path) -> None:
    (copied / "result.json").unlink()
    (copied / "config.yaml").write_text((copied / "config.yaml").read_text().replace("resnet20", "resnet32"))
    assert "is of another network than config.yaml says" in complaint("train", "--resume", copied)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("evaluate RUN photos", "has the unknown class 'apple' (3 in all) and lacks the class '0' (10 in all)"),
        ("evaluate RUN nowhere", "no data set or folder 'nowhere'"),
        ("evaluate RUN --limit_test 0", "limit_test is 0"),
        ("evaluate RUN --batch_size 0", "batch_size=0 must be at least 1"),
        ("evaluate RUN --workers -1", "workers=-1 must not be negative"),
        ("evaluate RUN --top 3", "unknown option --top"),
        ("evaluate", "ssfe evaluate --help"),
        ("evaluate RUN photos photos", "nrecognized arguments: photos"),
        ("predict RUN", "ssfe predict --help"),
        ("predict RUN bare", "bare holds no image"),
        ("predict RUN absent.png", "no such file or folder: absent.png"),
        ("predict RUN photos --top 11", "top=11 must lie between 1 and the 10 classes"),
        ("predict RUN photos --top 0", "top=0 must lie between 1 and the 10 classes"),
        ("predict RUN photos --format xml", "one of csv, jsonl"),
        ("predict RUN photos --output bare", "cannot write bare: Is a directory"),
        ("predict RUN photos --output absent/x.csv", "cannot write absent/x.csv: No such file"),
        ("predict RUN photos --batch_size 0", "batch_size=0 must be at least 1"),
        ("predict RUN photos --workers -1", "workers=-1 must not be negative"),
    ],
)
def test_what_cannot_be_evaluated_or_predicted(
    typed: str, said: str, finished: Path, photos: Path, elsewhere: Path
) -> None:
    (elsewhere / "bare").mkdir()
    (elsewhere / "photos").symlink_to(photos)
    assert said in complaint(*(str(finished) if word == "RUN" else word for word in typed.split()))


def full_disk(*arguments: object, **options: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_full_disk_at_a_checkpoint(epoch: int, monkeypatch: pytest.MonkeyPatch, elsewhere: Path) -> None:
    saved = Checkpoints._save

    def save(self: Checkpoints, trainer: object) -> None:
        if trainer.current_epoch == epoch:  # type: ignore[attr-defined]
            full_disk()
        saved(self, trainer)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "_save", save)
        line = complaint("train", *SMALL, "--epochs", "2", "--output", "run")
    assert line.startswith("ssfe: the disk of run is full")
    assert line.endswith("ssfe train --resume run")
    assert Path("run/checkpoints/last.ckpt").exists() == (epoch == 1)
    assert ("continuing" if epoch else "anew") in succeed("train", "--resume", "run").out
    succeed("train", "--config", "run/config.yaml", "--output", "whole")
    assert Path("run/model.safetensors").read_bytes() == Path("whole/model.safetensors").read_bytes()


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        safetensors.SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_at_the_weights(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(network: object, path: str, *arguments: object) -> None:
        Path(path).write_bytes(b"half of the wei")
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("ssfe.lab.run.model_file.save_model", fail)
        line = complaint("train", *SMALL, "--epochs", "1", "--output", "run")
    assert line.startswith("ssfe: the disk of run is full")
    assert line.endswith("ssfe train --resume run")
    assert not list(Path("run").glob("model*"))
    assert "epoch" not in succeed("train", "--resume", "run").out.partition("Test:")[0].replace("epochs", "")
    assert read_json(Path("run/result.json"))["epochs"] == 1


def test_a_process_that_loads_images_and_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*arguments: object, **options: object) -> None:
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")

    with monkeypatch.context() as patch:
        patch.setattr("ssfe.lab.run.train.fit", killed)
        line = complaint("train", *SMALL, "--epochs", "1", "--output", "run")
    assert "a process that loads images was killed" in line
    assert "ssfe train --resume run and fewer --workers" in line


def test_a_full_disk_while_predicting(finished: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssfe.lab.run.predict.json.dumps", full_disk)
    line = complaint("predict", finished, photos, "--format", "jsonl", "--output", "out.jsonl")
    assert line == "ssfe: cannot write out.jsonl: No space left on device; choose another --output"


def test_what_a_library_says_at_length_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    from ssfe.lab.errors import UserError

    def load(*arguments: object, **options: object) -> None:
        raise UserError("the beginning: " + "line\n" * 1000 + "and the way out")

    monkeypatch.setattr("ssfe.lab.run.experiment.load_data", load)
    line = complaint("train")
    assert line.startswith("ssfe: the beginning: line line")
    assert line.endswith("and the way out")


def test_out_of_device_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*arguments: object, **options: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB ...")

    monkeypatch.setattr("ssfe.lab.run.experiment.load_data", load)
    assert "lower --batch-size" in complaint("train")


def test_a_mistake_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*arguments: object, **options: object) -> TrainOptions:
        raise AttributeError("a bug")

    monkeypatch.setattr("ssfe.lab.run.experiment.load_data", load)
    with pytest.raises(AttributeError, match="a bug"):
        ssfe("train")


@pytest.mark.parametrize("typed", [("train", "."), ("compare", "--data=."), ("train", "../photos", "--output", "r")])
def test_a_run_among_the_classes_of_its_data(
    typed: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be read as a class by the next run, and by its own --resume."""
    monkeypatch.chdir(photographs(tmp_path / "photos", 4))
    line = complaint(*typed)
    assert "would lie among the classes of" in line
    assert line.endswith("choose a folder outside the data, --output")
    assert len(list(Path.cwd().iterdir())) == 3


def test_a_comparison_stopped_while_steps_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ssfe.lab.compare.compare.step_ratios", stopped)
    ended = ssfe("compare", "digits", "--epochs", "1", "--seeds", "1")
    assert ended.code == 130
    assert ended.err == "ssfe: stopped, nothing is lost; the same command continues the comparison\n"
