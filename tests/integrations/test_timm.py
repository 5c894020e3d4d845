"""timm's task: what its train.py calls, in its order."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import timm
import torch
from timm.optim import create_optimizer_v2
from timm.utils import dispatch_clip_grad
from torch import nn

from ssfe import ChannelDiscard, enhance, fold
from ssfe.core.enhanced import joint_classifier
from tests.reference.networks import TinyNet, images

integration = pytest.importorskip("ssfe.integrations.timm", exc_type=ImportError)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    return images(), torch.randint(5, (4,))


def trained(steps: int = 2) -> tuple[nn.Module, torch.optim.Optimizer]:
    task = integration.JointTask(TinyNet(), nn.CrossEntropyLoss(), verbose=False)
    optimizer = create_optimizer_v2(task.get_trainable_module(), opt="sgd", lr=0.1, momentum=0.9)
    task.setup_ema(decay=0.5)
    for step in range(steps):
        optimizer.zero_grad()
        task.get_trainable_module().train()
        task(*batch())["loss"].backward()
        dispatch_clip_grad(task.get_clip_parameters(exclude_head=True), 0.02, mode="agc")
        optimizer.step()
        task.update_ema(step=step)
    return task, optimizer


@pytest.mark.skipif(not hasattr(integration.JointTask, "create_evaluator"), reason="timm 1.0.31 or newer")
def test_steps_of_train_py() -> None:
    task, _ = trained()
    network = task.get_eval_model()
    x, labels = batch()
    result = task(x, labels)
    assert {key: value.shape for key, value in result.items()} == {
        "loss": (),
        "output": (4, 5),
        "pretext_accuracy": (),
    }
    assert not result["output"].requires_grad, "whatever collects it would keep the graph"
    evaluator = task.create_evaluator()
    network.eval()
    evaluator.update(network(x), labels)
    assert evaluator.summary()["loss"] == pytest.approx(task(x, labels)["loss"].item())
    # The average of the weights is a network of its own, and folds by itself.
    averaged = task.get_trainable_module(ema=True).module.eval()
    assert not torch.allclose(averaged(x), network(x))
    torch.testing.assert_close(fold(averaged)(x), averaged(x))
    assert timm.utils.get_state_dict(fold(network)).keys() == TinyNet().state_dict().keys()


def test_clips_all_but_the_joint_classifier() -> None:
    network = enhance(TinyNet(), distill=True)
    task = integration.JointTask(network, verbose=False)
    head = {id(parameter) for parameter in joint_classifier(network).parameters()}
    assert len(head) == 4
    clipped = {id(parameter) for parameter in task.get_clip_parameters(exclude_head=True)}
    everything = {id(parameter) for parameter in task.get_clip_parameters()}
    assert everything == clipped | head
    assert not clipped & head


def test_resumes(tmp_path: Path) -> None:
    from timm.task import resume_task_checkpoint

    task, optimizer = trained()
    state = {"epoch": 0, "args": argparse.Namespace(), "optimizer": optimizer.state_dict()}
    torch.save(state | task.get_checkpoint_state(), tmp_path / "last.pth.tar")
    resumed = integration.JointTask(TinyNet(), verbose=False)
    again = create_optimizer_v2(resumed.get_trainable_module(), opt="sgd", lr=0.1, momentum=0.9)
    resume_task_checkpoint(resumed, tmp_path / "last.pth.tar", again, log_info=False)
    x, labels = batch()
    for own, its_optimizer in ((task, optimizer), (resumed, again)):
        its_optimizer.zero_grad()
        own.train()
        own(x, labels)["loss"].backward()
        its_optimizer.step()
    torch.testing.assert_close(
        resumed.get_trainable_module().state_dict(), task.get_trainable_module().state_dict(), rtol=0, atol=0
    )


def test_takes_options_of_enhance_once() -> None:
    task = integration.JointTask(TinyNet(), verbose=False, transform=ChannelDiscard(3), device=torch.device("cpu"))
    assert joint_classifier(task.get_trainable_module()).transforms == 3
    with pytest.raises(ValueError, match="enhanced already: views would change nothing"):
        integration.JointTask(enhance(TinyNet()), views="sampled")
    with pytest.raises(TypeError, match="cannot make a JointLoss of BCEWithLogitsLoss"):
        integration.JointTask(TinyNet(), nn.BCEWithLogitsLoss())
