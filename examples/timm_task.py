"""timm's training task, in the order of timm's own train.py (of timm 1.0.31): python examples/timm_task.py"""

import torch
from digits import BATCH, EPOCHS, check_stock, network, test_set, train_set
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.utils import dispatch_clip_grad
from torch.utils.data import DataLoader

import ssfe
from ssfe.integrations.timm import JointTask  # was: from timm.task import ClassificationTask


def main() -> None:
    device = torch.device("cpu")
    model = network().to(device)  # in train.py: timm.create_model(...)
    train_loss_fn = LabelSmoothingCrossEntropy(smoothing=0.1)

    task = JointTask(model=model, criterion=train_loss_fn, device=device)  # was: ClassificationTask(...)
    optimizer = create_optimizer_v2(task.get_trainable_module(), opt="sgd", lr=0.1, momentum=0.9)
    task.setup_ema(decay=0.9)

    loader, updates = DataLoader(train_set(), BATCH, shuffle=True, drop_last=True), 0
    for epoch in range(EPOCHS):
        task.get_trainable_module().train()
        for images, labels in loader:
            result = task(images, labels)
            optimizer.zero_grad()
            result["loss"].backward()
            dispatch_clip_grad(task.get_clip_parameters(), 1.0)
            optimizer.step()
            updates += 1
            task.update_ema(step=updates)

        evaluator, model = task.create_evaluator(), task.get_eval_model().eval()
        with torch.no_grad():
            for images, labels in DataLoader(test_set(), BATCH):
                evaluator.update(model(images), labels)
        print(f"epoch {epoch}: loss {result['loss']:.3f}, test top-1 {evaluator.summary()['top1']:.1f} %")

    averaged = task.get_trainable_module(ema=True).module
    check_stock(ssfe.fold(averaged), averaged, test_set())


if __name__ == "__main__":
    main()
