"""transformers' Trainer and a ResNet of its own, randomly initialised: python examples/transformers_trainer.py"""

import tempfile

import torch
from digits import BATCH, EPOCHS, test_set, train_set
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import TensorDataset
from transformers import AutoModelForImageClassification, PreTrainedModel, ResNetConfig, Trainer, TrainingArguments

import ssfe
from ssfe.integrations.transformers import TrainerLoss


def stock_network() -> PreTrainedModel:
    """A small network; for fine-tuning it would be AutoModelForImageClassification.from_pretrained(...)."""
    config = ResNetConfig(
        num_channels=1, embedding_size=32, hidden_sizes=[32, 64], depths=[1, 1], layer_type="basic", num_labels=10
    )
    return AutoModelForImageClassification.from_config(config)


def rows(data: TensorDataset) -> list[dict[str, Tensor]]:
    """Images enlarged to 16 pixels, because the stem of this ResNet halves them twice."""
    images, labels = data.tensors
    images = torch.nn.functional.interpolate(images, scale_factor=2)
    return [{"pixel_values": image, "labels": label} for image, label in zip(images, labels, strict=True)]


def main() -> None:
    folder = tempfile.mkdtemp()
    arguments = TrainingArguments(
        folder, num_train_epochs=EPOCHS, per_device_train_batch_size=BATCH, learning_rate=3e-3, report_to="none",
        save_strategy="no", eval_strategy="epoch", use_cpu=True, disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = Trainer(
        ssfe.enhance(stock_network()),  # changed
        arguments,
        compute_loss_func=TrainerLoss(),  # changed
        train_dataset=rows(train_set()),
        eval_dataset=rows(test_set()),
        compute_metrics=lambda p: {"accuracy": (p.predictions.argmax(-1) == p.label_ids).mean()},
    )
    trainer.train()
    accuracy = trainer.evaluate()["eval_accuracy"]

    ssfe.fold(trainer.model).save_pretrained(folder)

    stock_network().save_pretrained(f"{folder}/fresh")
    assert load_file(f"{folder}/model.safetensors").keys() == load_file(f"{folder}/fresh/model.safetensors").keys()
    loaded = AutoModelForImageClassification.from_pretrained(folder).eval()
    batch = torch.utils.data.default_collate(rows(test_set()))
    with torch.no_grad():
        shipped = (loaded(batch["pixel_values"]).logits.argmax(-1) == batch["labels"]).double().mean().item()
    print(f"folded into a stock {type(loaded).__name__}: {shipped:.1%} of {len(batch['labels'])} test images")
    assert abs(shipped - accuracy) < 0.005
    assert shipped > 0.8


if __name__ == "__main__":
    main()
