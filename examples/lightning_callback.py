"""An existing LightningModule, left as it is: python examples/lightning_callback.py"""

import lightning.pytorch as pl
import torch
from digits import BATCH, EPOCHS, check_stock, network, test_set, train_set
from torch import Tensor, nn
from torch.utils.data import DataLoader

import ssfe
from ssfe.integrations.lightning import Enhance


class Classifier(pl.LightningModule):
    """Knows nothing of ssfe."""

    def __init__(self) -> None:
        super().__init__()
        self.model = network()
        self.criterion = nn.CrossEntropyLoss(label_smoothing=0.1)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        return self.criterion(self.model(images), labels)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch
        self.log("val_loss", self.criterion(self.model(images), labels), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def main() -> None:
    train_loader = DataLoader(train_set(), BATCH, shuffle=True, drop_last=True)
    val_loader = DataLoader(test_set(), BATCH)

    module = Classifier()
    trainer = pl.Trainer(
        max_epochs=EPOCHS,
        callbacks=[Enhance()],  # changed
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, train_loader, val_loader)
    print(f"val_loss {trainer.callback_metrics['val_loss']:.3f}")

    stock = ssfe.fold(module.model)
    check_stock(stock, module.model, test_set())


if __name__ == "__main__":
    main()
