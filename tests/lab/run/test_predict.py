from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from command import ssfe, succeed

from ssfe.lab.data import FileImages, Preprocessing
from ssfe.lab.errors import UserError
from ssfe.lab.run.folder import RunFolder
from ssfe.lab.run.model_file import load_shipped
from ssfe.lab.run.predict import ReadableImages, _opened, find_images, predict

CLASSES = ("apple", "lime", "plum")


@pytest.fixture(scope="module")
def expected(photo_run: Any) -> dict[str, list[float]]:
    """The network's own probabilities, one image at a time."""
    network, card = load_shipped(RunFolder(photo_run.folder))
    paths = [str(path) for path in find_images([photo_run.images])[0]]
    files, transform = FileImages(paths, torch.zeros(len(paths))), card.preprocessing.eval_transform()
    with torch.no_grad():
        logits = [network(card.preprocessing.normalize(transform(image)[None])) for image, _ in files]
    return dict(zip(paths, torch.cat(logits).softmax(-1).tolist(), strict=True))


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def test_csv_holds_the_networks_probabilities(photo_run: Any, expected: dict[str, list[float]]) -> None:
    ended = succeed("predict", photo_run.folder, photo_run.images, "--workers", "0", "--batch_size", "5")
    assert "\r" not in ended.out
    assert ended.out.splitlines()[0] == "file,prediction,probability,apple,lime,plum"
    rows = rows_of(ended.out)
    assert [row["file"] for row in rows] == list(expected)
    for row in rows:
        probabilities = [float(row[name]) for name in CLASSES]
        assert probabilities == pytest.approx(expected[row["file"]], abs=1e-5)
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        assert row["prediction"] == CLASSES[max(range(3), key=expected[row["file"]].__getitem__)]
        assert float(row["probability"]) == max(probabilities)


def test_json_lines_hold_the_same(photo_run: Any, expected: dict[str, list[float]]) -> None:
    ended = succeed("predict", photo_run.folder, photo_run.images, "--format", "jsonl", "--workers", "1")
    rows = [json.loads(line) for line in ended.out.splitlines()]
    assert [row["file"] for row in rows] == list(expected)
    for row in rows:
        assert row["probabilities"] == pytest.approx(dict(zip(CLASSES, expected[row["file"]], strict=True)), abs=1e-5)
        ranked = list(row["probabilities"].values())
        assert ranked == sorted(ranked, reverse=True)
        assert (row["prediction"], row["probability"]) == next(iter(row["probabilities"].items()))


def test_the_top_classes_only(photo_run: Any, expected: dict[str, list[float]]) -> None:
    path = next(iter(expected))
    ranked = sorted(zip(expected[path], CLASSES, strict=True), reverse=True)[:2]
    (row,) = rows_of(succeed("predict", photo_run.folder, path, "--top", "2").out)
    assert [row["class1"], row["class2"]] == [name for _, name in ranked]
    assert [float(row[f"class{n}_probability"]) for n in (1, 2)] == pytest.approx([p for p, _ in ranked], abs=1e-5)
    line = json.loads(succeed("predict", photo_run.folder, path, "--top", "2", "--format=jsonl").out)
    assert list(line["probabilities"]) == [name for _, name in ranked]


@pytest.mark.parametrize("workers", ["0", "1"])
def test_it_goes_on_past_what_it_cannot_read(workers: str, photo_run: Any, tmp_path: Path) -> None:
    good = photo_run.images / "plum" / "0.jpg"
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "cut.jpg").write_bytes(good.read_bytes()[:200])
    (tmp_path / "empty.jpg").touch()
    bad = [tmp_path / name for name in ("cut.jpg", "empty.jpg", "text.png")]
    given = [bad[0], good, bad[1], bad[2], good]
    ended = ssfe("predict", photo_run.folder, *given, "--workers", workers, "--batch_size", "2")
    assert ended.code == 1
    assert [row["file"] for row in rows_of(ended.out)] == [str(good)] * 2
    lines = ended.err.splitlines()
    assert len(lines) == 4
    assert all(str(path) in line for path, line in zip(bad, lines, strict=False))
    assert lines[-1] == "ssfe: 3 image(s) could not be read"


def test_the_output_goes_to_a_file(photo_run: Any, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    shown = succeed("predict", photo_run.folder, photo_run.images).out
    assert succeed("predict", photo_run.folder, photo_run.images, "--output", target).out == ""
    assert target.read_text() == shown


def test_an_image_of_any_shape_and_mode(photo_run: Any, tmp_path: Path) -> None:
    for mode, size in (("1", (9, 500)), ("I;16", (70, 70)), ("CMYK", (300, 20)), ("LA", (1, 1))):
        suffix = "tif" if mode in ("CMYK", "1") else "png"
        PIL.Image.new(mode, size).save(tmp_path / f"{mode.replace(';', '')}.{suffix}")
    assert predict(RunFolder(photo_run.folder), find_images([tmp_path])[0], output=tmp_path / "out.csv") == []
    assert len(rows_of((tmp_path / "out.csv").read_text())) == 4


def test_folders_are_searched_through(tmp_path: Path) -> None:
    for name in ("b/2.jpg", "b/deep/1.PNG", "a/9.webp", ".hidden/1.jpg", "__MACOSX/1.jpg", "b/._2.jpg", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found, notes = find_images([tmp_path / "b" / "notes.txt", tmp_path])
    assert notes == ()
    names = [str(path.relative_to(tmp_path)) for path in found]
    assert names == ["b/notes.txt", "a/9.webp", "b/2.jpg", "b/deep/1.PNG"]
    with pytest.raises(UserError, match="no such file or folder"):
        find_images([tmp_path / "absent"])


def test_a_hidden_folder_may_be_asked_for(tmp_path: Path) -> None:
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "1.jpg").touch()
    assert find_images([tmp_path / ".cache"])[0] == [tmp_path / ".cache" / "1.jpg"]


def test_pictures_of_other_formats_are_told(photo_run: Any, tmp_path: Path) -> None:
    PIL.Image.new("RGB", (9, 9)).save(tmp_path / "1.png")
    (tmp_path / "2.heic").touch()
    ended = ssfe("predict", photo_run.folder, tmp_path)
    assert ended.code == 0
    assert [row["file"] for row in rows_of(ended.out)] == [str(tmp_path / "1.png")]
    assert ended.err.startswith("ssfe: 1 picture(s) of other formats not used: jpg")


def test_grey_images_reach_the_network_as_in_training(tmp_path: Path) -> None:
    pixels = torch.arange(64, dtype=torch.uint8).view(8, 8) * 4
    PIL.Image.fromarray(pixels.numpy()).save(tmp_path / "grey.png")
    preprocessing = Preprocessing(8, 1, None, "bilinear", (0.5,), (0.5,))
    image, _ = ReadableImages([tmp_path / "grey.png"], preprocessing)[0]
    assert image is not None
    assert image.equal(pixels[None])


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted in /proc")
def test_many_images_take_few_open_files(photo_run: Any, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    for number in range(150):
        PIL.Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.png")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len([*Path("/proc/self/fd").iterdir()]) + 60, before[1]))
    try:
        succeed("predict", photo_run.folder, tmp_path, "--workers", "1", "--batch_size", "75")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_file_name_that_is_not_utf8_is_printed_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="utf-8", errors="strict"))
    with _opened(None) as file:
        file.write("caf\udce9.png")
        file.flush()
    assert written.getvalue() == b"caf\xe9.png"


def test_a_mistake_while_reading_is_not_blamed_on_the_output(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too many"), _opened(tmp_path / "out.csv"):
        raise OSError(24, "too many open files")
    with pytest.raises(UserError, match=r"cannot write .*: No space left"), _opened(tmp_path / "out.csv"):
        raise OSError(28, "No space left on device")
