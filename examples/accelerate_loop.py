"""Hugging Face Accelerate: python examples/accelerate_loop.py, or accelerate launch examples/accelerate_loop.py"""

from accelerate import Accelerator
from digits import BATCH, EPOCHS, check_stock, network, test_set, train_set
from torch.optim import SGD
from torch.utils.data import DataLoader

import ssfe


def main() -> None:
    accelerator = Accelerator(gradient_accumulation_steps=2)
    model = ssfe.enhance(network())  # changed; before prepare
    criterion = ssfe.JointLoss()  # changed
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    loader = DataLoader(train_set(), BATCH // 2, shuffle=True, drop_last=True)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)

    for epoch in range(EPOCHS):
        model.train()
        for images, labels in loader:
            with accelerator.accumulate(model):
                loss = criterion(model(images), labels)
                accelerator.backward(loss)
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
        accelerator.print(f"epoch {epoch}: loss {loss:.3f}")

    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        enhanced = accelerator.unwrap_model(model, keep_fp32_wrapper=False).cpu()
        stock = ssfe.fold(enhanced)
        check_stock(stock, enhanced, test_set())
    accelerator.end_training()


if __name__ == "__main__":
    main()
