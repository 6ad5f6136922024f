"""LeNet-5, nearly as LeCun, Bottou, Bengio and Haffner had it (Proc. IEEE 86(11), 1998): a model of one's own.

Its keyword arguments are its settings; `classes` gets the number of classes, `dropout` what --dropout says.

Run:  python -m tune_mnist.grid --models experiments/models/lenet.py:LeNet --LeNet.channels 6-16 12-32 --lr 1e-3 \\
          --batch-size 64 --epochs 1 2 --name lenet
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn


class LeNet(nn.Module):
    """Maps pictures (batch, 1, 28, 28) to logits (batch, classes)."""

    def __init__(
        self, channels: tuple[int, int] = (6, 16), width: int = 120, pooling: Literal["average", "max"] = "average",
        dropout: float = 0.0, classes: int = 10,
    ) -> None:
        super().__init__()
        first, second = channels
        pool = nn.AvgPool2d(2) if pooling == "average" else nn.MaxPool2d(2)
        self.features = nn.Sequential(
            nn.Conv2d(1, first, 5, padding=2), nn.Tanh(), pool, nn.Conv2d(first, second, 5), nn.Tanh(), pool,
            nn.Flatten(),
        )
        self.classifier = nn.Sequential(
            nn.Linear(second * 25, width), nn.Tanh(), nn.Dropout(dropout), nn.Linear(width, 84), nn.Tanh(),
            nn.Linear(84, classes),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        return self.classifier(self.features(pictures))
