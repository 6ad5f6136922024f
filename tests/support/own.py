"""A small model of one's own, written into a file."""

from __future__ import annotations

from pathlib import Path

from tune_mnist.spec.own.files import read_model
from tune_mnist.spec.own.model import OwnModel

NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self, width: int = 8, dropout: float = 0.0, classes=10):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, classes)
        )

    def forward(self, pictures):
        assert pictures.shape[1:] == (1, 28, 28)
        return self.layers(pictures)
"""


def write_net(folder: Path, text: str = NET) -> str:
    """Write the model's file into `folder`, made if need be; what to name it by."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "net.py").write_text(text)
    return f"{folder / 'net.py'}:Net"


def net(folder: Path, text: str = NET) -> OwnModel:
    return read_model(write_net(folder, text))
