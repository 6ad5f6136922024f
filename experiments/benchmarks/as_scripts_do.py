"""MNIST as scripts load it: torchvision's data set and transforms, one picture at a time."""

from __future__ import annotations

import gzip
from importlib import resources
from pathlib import Path

from torchvision import datasets, transforms


def torchvision_mnist(root: Path) -> datasets.MNIST:
    """torchvision's training set, on the package's own files unpacked under `root`, normalised by 0.5/0.5."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for packed in (resources.files("tune_mnist") / "mnist").iterdir():
        target = raw / packed.name.removesuffix(".gz")
        if packed.name.endswith(".gz") and not target.exists():
            target.write_bytes(gzip.decompress(packed.read_bytes()))
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])
    return datasets.MNIST(str(root), train=True, transform=transform)
