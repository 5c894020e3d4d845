from __future__ import annotations

import pytest

from ssfe.lab.config import AugmentOptions, MethodName, MethodOptions
from ssfe.lab.methods import make_method, used_options


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("plain", {"transforms": 8}),
        ("discard", {"views": "sampled"}),
        ("multitask", {"distill": True}),
        ("sla", {"scheme": "keep_group"}),
        ("ssfe+sla", {"distill": True}),
    ],
)
def test_an_option_that_the_method_ignores_is_an_error(name: MethodName, option: dict[str, object]) -> None:
    options = MethodOptions(**option)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"{next(iter(option))}=.* has no effect"):
        make_method(name, options, AugmentOptions())
    assert make_method(name, used_options(name, options), AugmentOptions()).summary
