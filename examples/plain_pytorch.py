"""A plain PyTorch loop: python examples/plain_pytorch.py"""

from digits import BATCH, EPOCHS, check_stock, network, test_set, train_set
from torch.optim import SGD
from torch.utils.data import DataLoader

import ssfe


def main() -> None:
    model = ssfe.enhance(network())  # changed
    criterion = ssfe.JointLoss()  # changed
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    loader = DataLoader(train_set(), BATCH, shuffle=True, drop_last=True)

    for epoch in range(EPOCHS):
        model.train()
        for images, labels in loader:
            output = model(images)
            loss = criterion(output, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch}: loss {loss:.3f}, pretext accuracy {output.pretext_accuracy():.2f}")

    stock = ssfe.fold(model)
    check_stock(stock, model, test_set())


if __name__ == "__main__":
    main()
