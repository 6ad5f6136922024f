"""Tests of compiling the steps before they are called."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tune_mnist.training.steps import compiling

RUN = """
from tune_mnist.spec.training import TrainingConfig
from tune_mnist.training.batches import make_pictures
from tune_mnist.training.loop import PackTraining
from tune_mnist.training.steps import compiling, dormant, kernels
from support.slices import train_slice

def code_made():
    return {name: sum(function.stats.cache_misses.values()) for name, function in (
        ("train", kernels.train), ("outputs", kernels.outputs), ("first_values", kernels.first_values),
        ("decay", dormant.decay),
    )}

compiled_before = compiling.is_compiled()
if not compiled_before:
    compiling.compile_steps()
made = code_made()
pictures = train_slice(300)
for array in (pictures.nonzero.data, pictures.nonzero.indices, pictures.nonzero.indptr):
    array.flags.writeable = False  # as they come from Ray's store
configs = [TrainingConfig(model="MediumNN", lr=lr, batch_size=16) for lr in (1.0, 1e-3)]
training = PackTraining(configs, pictures, pictures, device="cpu")
training.run_epoch(1, [0, 1])
print(compiled_before, compiling.is_compiled(), all(made.values()), code_made() == made)
"""


@pytest.mark.slow
def test_what_was_compiled_is_all_that_a_grid_calls(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    environment = os.environ | {
        "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")])
    }

    def run() -> str:
        done = subprocess.run([sys.executable, "-c", RUN], env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert run() == "False True True True"
    assert run() == "True True False True"


def test_the_end_of_a_run_ends_compiling() -> None:
    over = threading.Event()
    over.set()
    begun = time.monotonic()
    compiling.compile_in_child(over)
    assert time.monotonic() - begun < 5
