"""CIFAR-100 in two halves of 50 classes: to pretrain on one and to fine-tune on the other.

    python -m benchmarks.halves

Makes benchmarks/data/cifar100-first and benchmarks/data/cifar100-second of links into benchmarks/data/cifar100: the
first 50 classes by name, and the others.
"""

from __future__ import annotations

from pathlib import Path

DATA = Path(__file__).resolve().parent / "data"


def split(whole: Path, halves: tuple[Path, Path]) -> None:
    """Link the class folders of ``whole``/train and ``whole``/test, in order of name, into two folders alike."""
    for part in ("train", "test"):
        classes = sorted(folder for folder in (whole / part).iterdir() if folder.is_dir())
        middle = len(classes) // 2
        for half, own in zip(halves, (classes[:middle], classes[middle:]), strict=True):
            (half / part).mkdir(parents=True, exist_ok=True)
            for folder in own:
                link = half / part / folder.name
                if not link.is_symlink():
                    link.symlink_to(folder, target_is_directory=True)


if __name__ == "__main__":
    split(DATA / "cifar100", (DATA / "cifar100-first", DATA / "cifar100-second"))
