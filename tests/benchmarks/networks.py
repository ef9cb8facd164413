"""Small networks for benchmarks on FashionMNIST: [B, 1, 28, 28] → [B, 10]."""

from torch import nn


def small_conv() -> nn.Module:
    """Return two convolutions on halved images, 2,698 parameters: runs differ much by the seed."""
    return nn.Sequential(
        nn.AvgPool2d(2),
        nn.Conv2d(1, 8, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 3 * 3, 10),
    )


def perceptron() -> nn.Module:
    """Return a perceptron 784-128-10: runs differ little by the seed."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
