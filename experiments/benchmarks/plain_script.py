"""The study as a plain Ray Tune script: one trial per cell, DataLoader, no actor reuse.

The baseline of grid.py, in the manner of Ray's own MNIST examples: torchvision's data set and
transforms, autograd, torch's default Adam, one report per epoch.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from as_scripts_do import torchvision_mnist
from ray import tune
from torch.nn import functional as F
from torch.utils.data import DataLoader, random_split

from tune_mnist.spec.training import FULLY_CONNECTED, TrainingConfig
from tune_mnist.training.models import build_model


def train(config: dict[str, Any]) -> None:
    """Train one cell on MNIST under `config["root"]`, evaluating after each epoch."""
    split = random_split(torchvision_mnist(Path(config["root"])), [50_000, 10_000])
    loader, held_out = DataLoader(split[0], config["batch_size"], shuffle=True), DataLoader(split[1], 1000)
    model = build_model(TrainingConfig(model=config["model"], lr=config["lr"], batch_size=config["batch_size"]))
    optimiser = torch.optim.Adam(model.parameters(), config["lr"])
    for _ in range(config["epochs"]):
        start = time.perf_counter()
        model.train()
        for pictures, labels in loader:
            optimiser.zero_grad()
            F.cross_entropy(model(pictures), labels).backward()
            optimiser.step()
        model.eval()
        with torch.no_grad():
            right = sum(int((model(pictures).argmax(1) == labels).sum()) for pictures, labels in held_out)
        tune.report({"accuracy": right / len(split[1]), "epoch_seconds": time.perf_counter() - start})


def run(root: Path, lr: list[float], epochs: list[int]) -> tune.ResultGrid:
    """Run the cells, one trial each on one CPU, MNIST's files under `root`."""
    space = {
        "model": tune.grid_search(list(FULLY_CONNECTED)), "lr": tune.grid_search(lr),
        "batch_size": tune.grid_search([16, 32, 64, 128]), "epochs": tune.grid_search(epochs), "root": str(root),
    }
    return tune.Tuner(tune.with_resources(train, {"cpu": 1}), param_space=space).fit()
