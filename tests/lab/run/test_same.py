"""Which changes of the data matter to a run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ssfe.lab.errors import UserError
from ssfe.lab.run.folder import RunFolder
from ssfe.lab.run.same import check_images, check_test, holds_its_test, write_images


def splits(**given: int) -> Any:
    return SimpleNamespace(name="fruit", given={name: {"images": count} for name, count in given.items()})


def test_a_split_that_appeared_would_draw_others(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    write_images(folder, splits(train=9, val=3))
    check_images(folder, splits(train=9, val=3))
    with pytest.raises(UserError, match=r"\(test: 0 images then, 4 now\)"):
        check_images(folder, splits(train=9, val=3, test=4))


def test_of_two_held_out_splits_the_test_images_are_guarded(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    write_images(folder, splits(train=9, val=3, test=4))
    check_test(folder, splits(train=9, val=2, test=4))
    with pytest.raises(UserError, match=r"\(test: 4 images then, 5 now\)"):
        check_test(folder, splits(train=9, val=3, test=5))


def test_data_of_an_unknown_run_is_not_taken_for_its_own(tmp_path: Path) -> None:
    assert not holds_its_test(RunFolder(tmp_path), splits(train=9))
