"""A LightningModule written without ssfe in mind, with the callback."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint, StochasticWeightAveraging
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from ssfe import ChannelDiscard, JointLoss, enhance, fold
from ssfe.core.enhanced import joint_classifier
from ssfe.integrations.lightning import Enhance
from tests.reference.networks import TinyNet, images

pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
]


class Classifier(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model: nn.Module = TinyNet()
        self.criterion: nn.Module = nn.CrossEntropyLoss(label_smoothing=0.1)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.criterion(self.model(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.criterion(self.model(batch[0]), batch[1]))

    test_step = validation_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.model.parameters(), 0.1, momentum=0.9)


@pytest.fixture
def loader() -> DataLoader[Any]:
    return DataLoader(TensorDataset(images(8), torch.randint(5, (8,))), 4)


def trainer(folder: Path, epochs: int, *callbacks: pl.Callback) -> pl.Trainer:
    return pl.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[*callbacks, ModelCheckpoint(folder, save_last=True, monitor="val_loss")],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def test_resumes_tests_the_best_checkpoint_and_folds(tmp_path: Path, loader: DataLoader[Any]) -> None:
    callback = Enhance(transform=ChannelDiscard(3), distill=True)
    whole = Classifier()
    trainer(tmp_path / "whole", 4, callback).fit(whole, loader, loader)
    assert joint_classifier(whole.model).transforms == 3
    assert whole.criterion.label_smoothing == 0.1

    trainer(tmp_path / "parts", 2, callback).fit(Classifier(), loader, loader)
    second, resumed = trainer(tmp_path / "parts", 4, callback), Classifier()
    second.fit(resumed, loader, loader, ckpt_path=str(tmp_path / "parts" / "last.ckpt"))
    torch.testing.assert_close(resumed.model.state_dict(), whole.model.state_dict(), rtol=0, atol=0)

    shipped = Classifier()
    [metrics] = trainer(tmp_path / "parts", 1, callback).test(
        shipped, loader, ckpt_path=str(tmp_path / "parts" / "last.ckpt"), verbose=False
    )
    stock = fold(shipped.model).eval()
    assert stock.state_dict().keys() == TinyNet().state_dict().keys()
    losses = [F.cross_entropy(stock(x), labels, label_smoothing=0.1).item() for x, labels in loader]
    assert metrics["val_loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_leaves_an_enhanced_module_alone(tmp_path: Path, loader: DataLoader[Any]) -> None:
    module = Classifier()
    module.model = enhance(TinyNet(), ChannelDiscard(2))
    module.criterion = own = JointLoss()
    trainer(tmp_path, 1, Enhance()).fit(module, loader, loader)
    assert joint_classifier(module.model).transforms == 2
    assert module.criterion is own


def test_options_that_an_enhanced_network_would_ignore_are_refused(tmp_path: Path, loader: DataLoader[Any]) -> None:
    module = Classifier()
    module.model = enhance(TinyNet())
    with pytest.raises(ValueError, match="enhanced already: views would change nothing"):
        trainer(tmp_path, 1, Enhance(views="sampled")).fit(module, loader, loader)
    module = Classifier()
    trainer(tmp_path, 1, Enhance(views="sampled")).fit(module, loader, loader)
    trainer(tmp_path, 1, Enhance(views="sampled")).test(module, loader)
    with pytest.raises(ValueError, match="enhanced already: tap would change nothing"):
        trainer(tmp_path, 1, Enhance(views="sampled", tap="stem")).fit(module, loader, loader)


class EarlyParameters(Classifier):
    def __init__(self) -> None:
        super().__init__()
        self.early = list(self.model.parameters())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.early, 0.1)


class LateNetwork(Classifier):
    def __init__(self) -> None:
        super().__init__()
        del self.model

    def configure_model(self) -> None:
        self.model = TinyNet()


class OwnCriterion(Classifier):
    def __init__(self) -> None:
        super().__init__()
        self.criterion = nn.NLLLoss()


@pytest.mark.parametrize(
    ("module", "callback", "error", "message"),
    [
        (EarlyParameters, Enhance(), ValueError, r"lacks the joint classifier's .*, in configure_optimizers$"),
        (LateNetwork, Enhance(), AttributeError, "LateNetwork has no attribute 'model' when training is set up"),
        (Classifier, Enhance(criterion="loss"), AttributeError, "has no attribute 'loss'.*needs criterion=None"),
        (OwnCriterion, Enhance(), TypeError, "cannot make a JointLoss of NLLLoss"),
        (Classifier, Enhance(model="forward"), TypeError, "Classifier.forward is method, not a network"),
    ],
)
def test_says_what_is_wrong(
    module: type[Classifier], callback: Enhance, error: type[Exception], message: str, tmp_path: Path, loader: Any
) -> None:
    with pytest.raises(error, match=message):
        trainer(tmp_path, 1, callback).fit(module(), loader, loader)


@pytest.mark.parametrize("average", [EMAWeightAveraging(), StochasticWeightAveraging(swa_lrs=0.05)])
def test_averages_are_made_of_the_enhanced_network(average: pl.Callback, tmp_path: Path, loader: Any) -> None:
    options: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    options |= {"max_epochs": 1, "accelerator": "cpu", "default_root_dir": tmp_path, "enable_checkpointing": False}
    with pytest.raises(ValueError, match=r"would average the stock network: callbacks=\[Enhance\(...\)"):
        pl.Trainer(callbacks=[average, Enhance()], **options).fit(Classifier(), loader, loader)
    pl.Trainer(callbacks=[Enhance(), copy.deepcopy(average)], **options).fit(Classifier(), loader, loader)


def test_a_network_in_the_place_of_its_name() -> None:
    with pytest.raises(
        TypeError, match="model is the name of the module's attribute that holds the network, not Linear"
    ):
        Enhance(nn.Linear(2, 2))  # type: ignore[arg-type]


class Itself(Classifier):
    """A module that is the network, as the error of the callback says."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.head = self.model.stem, nn.Linear(13, 5)
        del self.model
        enhance(self)
        self.criterion = JointLoss()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x).mean((2, 3)))  # type: ignore[no-any-return]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss: Tensor = self.criterion(self(batch[0]), batch[1])
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        assert self(batch[0]).shape[1] == 5
        self.log("val_loss", self.criterion(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def test_a_module_that_is_the_network_itself(tmp_path: Path, loader: DataLoader[Any]) -> None:
    module = Itself()
    trainer(tmp_path, 1).fit(module, loader, loader)
    folded = fold(module).eval()
    assert type(folded.head) is nn.Linear
    x = images(3)
    torch.testing.assert_close(folded(x), module.eval()(x))


def test_a_strategy_that_flattens_parameters_is_no_false_alarm() -> None:
    """DeepSpeed's optimizer, for one, holds none of the module's own parameters."""
    module = Classifier()
    enhance(module.model)
    flat = torch.optim.SGD([nn.Parameter(torch.zeros(100))], 0.1)
    Enhance().on_fit_start(SimpleNamespace(optimizers=[flat]), module)  # type: ignore[arg-type]
    early = torch.optim.SGD(module.model.stem.parameters(), 0.1)  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="lacks the joint classifier's"):
        Enhance().on_fit_start(SimpleNamespace(optimizers=[early]), module)  # type: ignore[arg-type]


def test_an_example_is_no_option_of_the_network(tmp_path: Path, loader: DataLoader[Any]) -> None:
    module = Classifier()
    callback = Enhance(tap="stem", example=images())
    trainer(tmp_path, 1, callback).fit(module, loader, loader)
    trainer(tmp_path, 1, callback).test(module, loader, verbose=False)
