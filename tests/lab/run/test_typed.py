from __future__ import annotations

import pytest

from ssfe.lab.run.typed import public_name, typed_options, written


def test_what_differs_from_the_defaults_and_changes_the_result() -> None:
    options = {
        "data": "my cats",
        "model": "resnet18",
        "model_args": {"drop_rate": 0.1, "name": "größer"},
        "lr": 0.1,
        "epochs": 30,
        "flip": False,
        "workers": 3,
        "progress": "none",
    }
    assert typed_options(options, ["--seeds 2"], without={"lr"}) == [
        "'my cats'",
        "--seeds 2",
        "--model resnet18",
        """--model-args '{"drop_rate": 0.1, "name": "größer"}'""",
        "--flip false",
    ]
    assert written(None) == "null"


@pytest.mark.parametrize(
    ("data", "public"),
    [
        ("digits", "digits"),
        ("hf:uoft-cs/cifar10", "hf:uoft-cs/cifar10"),
        ("/home/me/cats", "cats"),
        ("hf:/home/me/x.parquet", "hf:x.parquet"),
    ],
)
def test_no_folder_of_the_author_is_told(data: str, public: str) -> None:
    assert public_name(data) == public
