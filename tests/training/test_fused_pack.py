"""Tests of the GPU's own step on the CPU, in Triton's interpreter: it computes what the vectorised step computes."""

from __future__ import annotations

import importlib.util
import os
import shutil
from typing import Any

import pytest
import torch

from support.slices import dense, evaluation_slice, train_slice
from tune_mnist.spec.training import TrainingConfig
from tune_mnist.training.steps.choose import make_slots
from tune_mnist.training.steps.fused_pack import FusedPackSteps, can_fuse
from tune_mnist.training.steps.pack import PackSteps

CONFIG = TrainingConfig(model="SimpleNN", lr=1e-3, batch_size=4)


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out where Triton's kernels cannot be interpreted; a few large programs take less time than many small."""
    pytest.importorskip("triton", reason="Triton comes with torch for CUDA")
    if not os.environ.get("TRITON_INTERPRET"):
        pytest.skip("there is a GPU, which Triton compiles for")
    from tune_mnist.training.steps import gpu_kernels

    monkeypatch.setattr(gpu_kernels, "BLOCK", 2**17)


def members(model: str, **recipe: Any) -> list[TrainingConfig]:
    """Four members, the last of which diverges at once."""
    pairs = ((1e-4, 0), (1e-3, 0), (1e-2, 1), (1e30, 2))
    return [TrainingConfig(model=model, lr=lr, batch_size=4, seed=seed, **recipe) for lr, seed in pairs]


@pytest.mark.filterwarnings("ignore::RuntimeWarning:triton")
@pytest.mark.parametrize(
    ("model", "recipe"),
    [
        ("SimpleNN", {}),
        ("MediumNN", {"head": "softmax", "label_smoothing": 0.1}),
        ("SimpleNN", {"weight_decay": 0.1, "ema_decay": 0.5, "schedule": "cosine", "warmup_epochs": 0.5, "budget": 2}),
    ],
    ids=["plain", "softmax", "recipe"],
)
def test_it_computes_what_the_vectorised_step_computes(
    interpreted: None, model: str, recipe: dict[str, Any]
) -> None:
    configs, train = members(model, **recipe), dense(train_slice(6))  # a batch of 4 and one of 2
    own, reference = FusedPackSteps(configs, train, "cpu"), PackSteps(configs, train, "cpu")
    for epoch in (1, 2):
        assert own.train_epoch(epoch)[:3] == pytest.approx(reference.train_epoch(epoch)[:3], rel=1e-4)
    outputs = own.outputs(evaluation_slice(20))
    torch.testing.assert_close(outputs[:3], reference.outputs(evaluation_slice(20))[:3], rtol=1e-3, atol=1e-4)
    assert not torch.isfinite(outputs[3]).all()
    assert own.counts.tolist() == reference.counts.tolist() == [4.0] * 4
    assert own.state(1).keys() == reference.state(1).keys()


@pytest.mark.filterwarnings("ignore::RuntimeWarning:triton")
def test_neighbours_and_their_divergence_change_nothing(interpreted: None) -> None:
    wild, calm = members("SimpleNN"), [*members("SimpleNN")[:3], CONFIG]
    train = dense(train_slice(6))
    first, second = (FusedPackSteps(configs, train, "cpu") for configs in (wild, calm))
    assert first.train_epoch(1)[:3] == second.train_epoch(1)[:3]
    for k in range(3):
        assert all(torch.equal(first.state(k)[name], value) for name, value in second.state(k).items())


@pytest.mark.parametrize("change", [
    {"dropout": 0.1}, {"rotation": 5.0}, {"precision": "bf16"}, {"model": "CNN"},
], ids=str)
def test_it_is_taken_for_plain_fully_connected_models_on_a_gpu_alone(
    change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    other = TrainingConfig(**{"model": "SimpleNN", "lr": 1e-3, "batch_size": 4, **change})
    assert can_fuse(CONFIG, "cuda") and not can_fuse(CONFIG, "cpu") and not can_fuse(other, "cuda")
    assert type(make_slots([CONFIG], train_slice(6))) is PackSteps


@pytest.mark.parametrize("lacking", ["Triton", "a C compiler"])
def test_without_triton_or_a_compiler_for_its_launchers_it_is_not(
    lacking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if lacking == "Triton" else name)
    monkeypatch.setattr(shutil, "which", lambda name: None if lacking == "a C compiler" else f"/usr/bin/{name}")
    assert not can_fuse(CONFIG, "cuda")


@pytest.mark.gpu
class TestOnCuda:
    """The same with compiled kernels and CUDA graphs."""

    @pytest.mark.parametrize("model", ["SimpleNN", "ComplexNN"])
    def test_it_is_near_the_vectorised_step(self, model: str) -> None:
        configs, train = members(model)[:2], train_slice(1000)  # a learning rate of 0.01 makes much of rounding
        own, reference = FusedPackSteps(configs, train), PackSteps(configs, train, "cuda")
        for epoch in (1, 2):
            assert own.train_epoch(epoch) == pytest.approx(reference.train_epoch(epoch), rel=1e-2)

    @pytest.mark.parametrize("recipe", [{}, {"head": "softmax", "ema_decay": 0.9, "weight_decay": 0.1}], ids=str)
    def test_a_member_alone_resumed_or_beside_a_diverging_one_has_the_same_bits(self, recipe: dict[str, Any]) -> None:
        configs, train = members("MediumNN", **recipe), train_slice(1003)
        together, alone = (make_slots(own, train, "cuda") for own in (configs, [configs[1]] * 4))
        first = [(together.train_epoch(epoch)[1], alone.train_epoch(epoch)[1]) for epoch in (1, 2)]
        resumed = make_slots([*configs[1:], configs[0]], train, "cuda")
        resumed.load(0, together.state(1))
        assert together.train_epoch(3)[1] == alone.train_epoch(3)[1] == resumed.train_epoch(3)[0]
        assert all(mine == theirs for mine, theirs in first)
        for name, value in together.state(1).items():
            assert torch.equal(alone.state(3)[name], value) and torch.equal(resumed.state(0)[name], value)
