"""Every front trains an enhanced network exactly as the plain PyTorch loop does: same losses, same gradients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import (
    AutoModelForImageClassification,
    PreTrainedModel,
    Trainer,
    TrainingArguments,
    ViTConfig,
)
from transformers.modeling_outputs import ImageClassifierOutputWithNoAttention, ModelOutput

from ssfe import ChannelDiscard, JointLoss, enhance
from ssfe.integrations.lightning import Enhance
from ssfe.integrations.transformers import TrainerLoss
from tests.reference.networks import TinyNet

BATCH, STEPS, RATE = 4, 3, 0.1


class Digits(Dataset[dict[str, Tensor]]):
    def __init__(self, batch: int = BATCH) -> None:
        generator = torch.Generator().manual_seed(1)
        self.images = torch.randn(STEPS * batch, 3, 8, 8, generator=generator)
        self.labels = torch.randint(5, (STEPS * batch,), generator=generator)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {"pixel_values": self.images[i], "labels": self.labels[i]}

    def pairs(self) -> list[tuple[Tensor, Tensor]]:
        return list(zip(self.images.split(BATCH), self.labels.split(BATCH), strict=True))


class Recorder(torch.optim.SGD):
    """Keeps the gradients of every step."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, RATE)
        self.gradients: list[list[Tensor]] = []

    def step(self, closure: Any = None) -> None:
        if closure is not None:  # Lightning's forward and backward
            with torch.enable_grad():
                closure()
        self.gradients.append([p.grad.clone() for group in self.param_groups for p in group["params"]])
        super().step()


Result = tuple[list[float], list[list[Tensor]]]


class HuggingFaceNet(nn.Module):
    """A network of the kind transformers has: keyword pixel_values, logits in a ModelOutput, the loss if asked."""

    def __init__(self) -> None:
        super().__init__()
        self.net = TinyNet()

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> ImageClassifierOutputWithNoAttention:
        logits = self.net(pixel_values)
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return ImageClassifierOutputWithNoAttention(loss=loss, logits=logits)


def plain(model: nn.Module, **options: Any) -> Result:
    """The reference: the loop of the README."""
    criterion, optimizer = JointLoss(0.1), Recorder(enhance(model, **options).parameters())
    losses = []
    for images, labels in Digits().pairs():
        optimizer.zero_grad()
        output = model(images)
        loss = criterion(output.logits if isinstance(output, ModelOutput) else output, labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, optimizer.gradients


def timm_task(model: nn.Module, **options: Any) -> Result:
    integration = pytest.importorskip("ssfe.integrations.timm", exc_type=ImportError)
    from timm.loss import LabelSmoothingCrossEntropy

    task = integration.JointTask(model, LabelSmoothingCrossEntropy(0.1), verbose=False, **options)
    optimizer = Recorder(task.get_trainable_module().parameters())
    losses = []
    for images, labels in Digits().pairs():
        result = task(images, labels)
        assert result["output"].shape == (BATCH, 5)
        optimizer.zero_grad()
        result["loss"].backward()
        optimizer.step()
        losses.append(result["loss"].item())
    return losses, optimizer.gradients


class Classifier(pl.LightningModule):
    """Written without ssfe in mind."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
        self.losses: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.criterion(self.model(batch["pixel_values"]), batch["labels"])
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self) -> Recorder:
        return Recorder(self.model.parameters())


def lightning(model: nn.Module, **options: Any) -> Result:
    module = Classifier(model)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=[Enhance(**options)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(Digits(), BATCH))
    return module.losses, trainer.optimizers[0].gradients


def accelerate(model: nn.Module, **options: Any) -> Result:
    """Two halves of a batch, whose gradients are accumulated."""
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    optimizer = Recorder(enhance(model, **options).parameters())
    wrapped, prepared, loader = accelerator.prepare(model, optimizer, DataLoader(Digits(), BATCH // 2))
    criterion, losses = JointLoss(0.1), []
    for batch in loader:
        with accelerator.accumulate(wrapped):
            loss = criterion(wrapped(batch["pixel_values"]), batch["labels"])
            accelerator.backward(loss)
            prepared.step()
            prepared.zero_grad()
        losses.append(loss.item())
    means = [(losses[i] + losses[i + 1]) / 2 for i in range(0, len(losses), 2)]
    return means, optimizer.gradients


def trainer_arguments(folder: Path, **options: Any) -> TrainingArguments:
    return TrainingArguments(
        str(folder), report_to="none", use_cpu=True, disable_tqdm=True, max_grad_norm=0, logging_steps=1, **options
    )


class UnshuffledTrainer(Trainer):
    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> None:
        return None


def transformers_trainer(model: nn.Module, tmp_path: Path, **options: Any) -> Result:
    """With two accumulated halves of a batch, as above: the Trainer leaves the scaling to the loss function."""
    outer = model
    if not isinstance(model, PreTrainedModel):
        outer = HuggingFaceNet()
        outer.net = model
        options = options | ({"tap": f"net.{options['tap']}"} if "tap" in options else {})
    optimizer = Recorder(enhance(outer, **options).parameters())
    arguments = trainer_arguments(
        tmp_path,
        num_train_epochs=1,
        per_device_train_batch_size=BATCH // 2,
        gradient_accumulation_steps=2,
        lr_scheduler_type="constant",
        save_strategy="no",
    )
    trainer = UnshuffledTrainer(
        outer, arguments, train_dataset=Digits(), compute_loss_func=TrainerLoss(0.1), optimizers=(optimizer, None)
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return losses, optimizer.gradients


def network() -> nn.Module:
    """Without batch norm, which would tell halves of a batch from the whole."""
    torch.manual_seed(0)
    model = TinyNet()
    model.stem[1] = nn.GroupNorm(1, 13)
    return model


@pytest.fixture
def front(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Result]:
    if request.param is transformers_trainer:
        return lambda model, **options: transformers_trainer(model, tmp_path, **options)
    chosen: Callable[..., Result] = request.param
    return chosen


@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")
@pytest.mark.parametrize(
    "front", [timm_task, lightning, accelerate, transformers_trainer], indirect=True, ids=lambda front: front.__name__
)
@pytest.mark.parametrize(
    "options",
    [{}, {"tap": "stem"}, {"distill": True, "transform": ChannelDiscard(3)}, {"logits": "chunked"}],
    ids=lambda options: ", ".join(options) or "defaults",
)
def test_same_losses_and_gradients_as_the_plain_loop(front: Callable[..., Result], options: dict[str, Any]) -> None:
    compare(front, network, options)


@pytest.mark.parametrize("front", [transformers_trainer], indirect=True, ids=["transformers_trainer"])
@pytest.mark.parametrize("options", [{}, {"tap": "vit.embeddings"}], ids=["defaults", "tap"])
def test_a_network_of_transformers(front: Callable[..., Result], options: dict[str, Any]) -> None:
    compare(front, vit, options)


def vit() -> nn.Module:
    torch.manual_seed(0)
    sizes = {"image_size": 8, "patch_size": 4, "hidden_size": 12, "intermediate_size": 24, "num_labels": 5}
    config = ViTConfig(**sizes, num_hidden_layers=1, num_attention_heads=2, hidden_dropout_prob=0.0)
    network: PreTrainedModel = AutoModelForImageClassification.from_config(config)
    return network


def compare(front: Callable[..., Result], network: Callable[[], nn.Module], options: dict[str, Any]) -> None:
    expected_losses, expected_gradients = plain(network().train(), **options)
    losses, gradients = front(network(), **options)
    assert len(losses) == STEPS
    torch.testing.assert_close(losses, expected_losses, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-4, atol=1e-6)
