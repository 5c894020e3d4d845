from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import ssfe

PUBLIC = [
    "ChannelDiscard",
    "Cost",
    "FeatureShape",
    "JointClassifier",
    "JointLogits",
    "JointLoss",
    "LazyJointLogits",
    "MethodCost",
    "QuarterTurns",
    "RegionDiscard",
    "Transformation",
    "check_optimizer",
    "class_logits",
    "cost",
    "enhance",
    "fold",
    "joint_cross_entropy",
    "joint_evaluation",
    "joint_targets",
]


def test_public_names() -> None:
    assert ssfe.__all__ == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_documented(name: str) -> None:
    thing = getattr(ssfe, name)
    assert len(inspect.getdoc(thing) or "") > 80
    # Not the docstring that a dataclass or a named tuple makes of its fields.
    assert not (thing.__doc__ or "").startswith(f"{name}(")
    for attribute, member in vars(thing).items() if inspect.isclass(thing) else ():
        if not attribute.startswith("_") and (inspect.isfunction(member) or isinstance(member, property | classmethod)):
            if attribute == "extra_repr":  # nn.Module's own
                continue
            assert inspect.getdoc(getattr(thing, attribute)), f"{name}.{attribute} has no docstring"


def test_torch_is_all_it_imports() -> None:
    heavy = ["timm", "torchvision", "lightning", "pytorch_lightning", "sklearn", "datasets", "PIL", "scipy", "ssfe.lab"]
    code = f"import sys, ssfe; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"
