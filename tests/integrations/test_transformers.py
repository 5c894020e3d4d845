"""transformers' own image classifiers, randomly initialised, in its Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    AutoModelForImageClassification,
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
    Trainer,
    TrainingArguments,
    ViTConfig,
)

from ssfe import JointLogits, enhance, fold
from ssfe.integrations.transformers import TrainerLoss
from tests.reference.networks import images

CONFIGS: dict[str, Any] = {
    "resnet": lambda: ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 13], depths=[1, 1], layer_type="basic", num_labels=5
    ),
    "vit": lambda: ViTConfig(
        image_size=8,
        patch_size=4,
        hidden_size=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        num_labels=5,
    ),
}


def stock_network(name: str) -> PreTrainedModel:
    torch.manual_seed(0)
    network: PreTrainedModel = AutoModelForImageClassification.from_config(CONFIGS[name]())
    return network


def data() -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(5, (12,), generator=generator)
    return [{"pixel_values": torch.randn(3, 8, 8, generator=generator), "labels": label} for label in labels]


def trainer(folder: Path, model: PreTrainedModel, epochs: int = 2, **options: Any) -> Trainer:
    arguments = TrainingArguments(
        str(folder),
        num_train_epochs=epochs,
        per_device_train_batch_size=4,
        learning_rate=1e-2,
        lr_scheduler_type="constant",
        eval_strategy="epoch",
        save_strategy="epoch",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    options = {"compute_loss_func": TrainerLoss()} | options
    return Trainer(model, arguments, train_dataset=data(), eval_dataset=data(), **options)


@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true but no accelerator is found")
@pytest.mark.parametrize("name", CONFIGS)
def test_trains_resumes_folds_and_loads_as_stock(name: str, tmp_path: Path) -> None:
    whole = trainer(
        tmp_path / "run",
        enhance(stock_network(name)),
        compute_metrics=lambda prediction: {
            "accuracy": (prediction.predictions.argmax(-1) == prediction.label_ids).mean()
        },
    )
    whole.train()
    evaluations = [entry for entry in whole.state.log_history if "eval_accuracy" in entry]
    assert len(evaluations) == 2
    assert evaluations[1]["eval_loss"] < evaluations[0]["eval_loss"]

    if name == "resnet":  # stock or not, a ViT does not resume in transformers 5: it is stored under older keys
        resumed = trainer(tmp_path / "resumed", enhance(stock_network(name)))
        resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-3"))
        torch.testing.assert_close(resumed.model.state_dict(), whole.model.state_dict(), rtol=0, atol=0)

    stock = fold(whole.model).eval()
    assert type(stock) is type(stock_network(name))
    stock.save_pretrained(tmp_path / "shipped")
    fresh = stock_network(name)
    fresh.save_pretrained(tmp_path / "fresh")
    shapes = [
        {key: value.shape for key, value in load_file(tmp_path / folder / "model.safetensors").items()}
        for folder in ("shipped", "fresh")
    ]
    assert shapes[0] == shapes[1]
    loaded = AutoModelForImageClassification.from_pretrained(tmp_path / "shipped").eval()
    x = images()
    torch.testing.assert_close(loaded(x).logits, whole.model.eval()(x).logits, rtol=1e-5, atol=1e-6)


def test_output_is_the_networks_own_class_with_joint_logits() -> None:
    stock = stock_network("resnet").eval()
    x = images()
    expected = stock(x).logits
    model = enhance(stock).train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    output = model(pixel_values=x, output_hidden_states=True)
    assert type(output).__name__ == "ImageClassifierOutputWithNoAttention"
    assert isinstance(output.logits, JointLogits)
    assert output["logits"] is output.logits
    assert len(output.hidden_states) == 3
    torch.testing.assert_close(output.logits.class_logits(), expected, rtol=1e-5, atol=1e-6)


def test_says_what_is_wrong(tmp_path: Path) -> None:
    model = enhance(ResNetForImageClassification(CONFIGS["resnet"]()))
    with pytest.raises(TypeError, match=r"given labels and would compute its own loss.*compute_loss_func="):
        trainer(tmp_path, model, compute_loss_func=None).train()
    with pytest.raises(ValueError, match="the batch has no 'labels'"):
        TrainerLoss()(model(images()), None)
    model.config.problem_type = None
    assert model.eval()(images(), labels=torch.zeros(4, dtype=torch.long)).loss > 0, "evaluation mode is the stock one"
