"""Tests of what is said of a model of one's own before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from support.idx import random_arrays, write_folder
from tune_mnist.spec.errors import UserError
from tune_mnist.spec.study import StudySpec
from tune_mnist.training.dataset import TrainingData, load_dataset, training_data
from tune_mnist.training.trying import try_models

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width: int = 8, classes=10):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Linear(width, classes))

    def forward(self, pictures):
        return self.layers(pictures)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    return training_data(load_dataset(folder=write_folder(tmp_path_factory.mktemp("data"), random_arrays())), "holdout")


def tried(folder: Path, text: str, data: TrainingData, **own: object) -> dict[str, float]:
    (folder / "net.py").write_text(text)
    given = {"Net": own} if own else {}
    spec = StudySpec(models=f"{folder / 'net.py'}:Net", lr=1e-3, batch_size=16, epochs=1, own=given)
    return try_models((plan.config for plan in spec.trainings()), data)


def test_a_model_that_works_is_timed_and_leaves_no_trace(tmp_path: Path, data: TrainingData) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    ((name, seconds),) = tried(tmp_path, NET, data, width=[4, 8]).items()
    assert name.startswith("Net@") and 0 < seconds < 60
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("old", "new", "told"), [
    ("(784, width)", "(700, width)", r"Net fails on a batch of pictures 16x1x28x28: RuntimeError: .* \\(net.py:11\\)"),
    ("(width, classes)", "(width, 9)", r"Net gives logits of shape \\(16, 10\\), pictures and classes` .* \\(16, 9\\)"),
    ("(width, classes)", "(width, classes).nope", r"cannot be made: AttributeError: .* \\(net.py:8\\)"),
    ("return self.layers(pictures)", "return None", "Net gives logits of shape .* got NoneType"),
    ("return self.layers(pictures)", "return self.layers(pictures) / 0", "the first loss of Net is finite` .* nan"),
    ("return self.layers(pictures)", "return self.layers(pictures).detach()", r"Net fails on a batch .*RuntimeError"),
    ("def forward(self, pictures)", "def forward(self)", r"Net fails on a batch of .*TypeError: .*2 were given"),
    ("= nn.Sequential(", "= (lambda *_: nn.Flatten())(", "Net has parameters to train` .* none"),
])
def test_what_is_wrong_is_told_with_its_line(old: str, new: str, told: str, tmp_path: Path, data: TrainingData) -> None:
    assert old in NET
    with pytest.raises(UserError, match=told.replace("\\\\", "\\")) as caught:
        tried(tmp_path, NET.replace(old, new), data)
    assert "\n" not in str(caught.value)


def test_every_settings_model_is_tried(tmp_path: Path, data: TrainingData) -> None:
    broken = NET.replace("nn.Linear(784, width)", "nn.Linear(784 if width < 9 else 7, width)")
    assert tried(tmp_path, broken, data, width=8)
    with pytest.raises(UserError, match="Net fails on a batch"):
        tried(tmp_path, broken, data, width=[8, 9])
