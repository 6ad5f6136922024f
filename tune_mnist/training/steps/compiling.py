"""The steps compiled before they are first called, once for all workers, beside whatever is waited for meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import cast

import numpy as np

from tune_mnist.spec.training import TrainingConfig
from tune_mnist.training.batches import make_pictures
from tune_mnist.training.dataset import CLASSES, PIXELS
from tune_mnist.training.models import FullyConnected, build_model
from tune_mnist.training.steps import kernels
from tune_mnist.training.steps.linear import LinearSteps, layers_of

PACKAGES = Path(__file__).parents[3]
"""The folder that the package lies in."""
LOOK_SECONDS = 0.05


def is_compiled() -> bool:
    """Whether the steps' code is kept from an earlier run; so it is said to be where none can be kept."""
    folder = kernels.train.stats.cache_path  # type: ignore[attr-defined]
    return folder is None or any(Path(folder).glob("kernels.train-*.nbi"))


def compile_in_child(over: threading.Event) -> None:
    """Compile the steps in a process of its own, which the end of the run, if it is `over` meanwhile, ends."""
    program = f"from {__name__} import compile_steps; compile_steps()"
    paths = os.pathsep.join(filter(None, [str(PACKAGES), os.environ.get("PYTHONPATH")]))
    with subprocess.Popen(
        [sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": paths},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as child:
        while child.poll() is None:
            if over.wait(LOOK_SECONDS):
                child.kill()


def compile_steps() -> None:
    """Compile what a grid of fully connected models calls, by training a small one; the code is kept."""
    pixels = np.zeros((20, PIXELS), np.uint8)
    pixels[:, :100] = 255
    pictures = make_pictures(pixels, np.arange(len(pixels)) % CLASSES)
    config = TrainingConfig(model="SimpleNN", lr=1e-3, batch_size=16)
    model = cast(FullyConnected, build_model(config))
    steps = LinearSteps(config, model, pictures)
    layers_of(steps.flat, model.sizes)[0].bias.fill_(-1000)  # dormant units, which have compiled code of their own
    steps.train_epoch(1)
    steps.outputs(pictures)
