"""Tests that hold the compiled steps and the autograd steps together."""

from __future__ import annotations

import dataclasses
import math
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from support.slices import dense, evaluation_slice, exact, train_slice
from tune_mnist.spec.training import FULLY_CONNECTED, TrainingConfig
from tune_mnist.training.batches import Pictures, make_pictures, normalise
from tune_mnist.training.models import FullyConnected, build_model
from tune_mnist.training.steps.autograd import AutogradSteps
from tune_mnist.training.steps.base import BETA1, Steps, learning_rate
from tune_mnist.training.steps.choose import make_steps
from tune_mnist.training.steps.linear import LinearSteps, layers_of
from tune_mnist.training.steps.sgd import Sgd

TRAIN = train_slice(300)
DOUBLE = torch.float64


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def config(model: str = "SimpleNN", **values: Any) -> TrainingConfig:
    return dataclasses.replace(TrainingConfig(model=model, lr=1e-3, batch_size=32), **values)


def both(
    wanted: TrainingConfig, train: Pictures = TRAIN, dtype: torch.dtype = DOUBLE
) -> tuple[LinearSteps, AutogradSteps]:
    linear, reference = build_model(wanted), build_model(wanted)
    assert isinstance(linear, FullyConnected)
    pictures = exact(train) if dtype == DOUBLE and train.nonzero is not None else train
    return LinearSteps(wanted, linear, pictures, dtype), AutogradSteps(wanted, reference, pictures, dtype=dtype)


def flattened(tensors: Iterable[Tensor]) -> Tensor:
    """A module's weights and biases, weights as (n_in, n_out)."""
    return torch.cat([(t.t() if t.ndim == 2 else t).detach().flatten() for t in tensors])


def unpadded(linear: LinearSteps, flat: Tensor) -> Tensor:
    """A flat buffer's numbers in the same order, without what fills up the vectors, which must be 0."""
    found = torch.cat([part.flatten() for layer in layers_of(flat, linear.model.sizes) for part in layer])
    assert found.count_nonzero() == flat.count_nonzero()
    return found


def gradients(linear: LinearSteps, reference: AutogradSteps) -> tuple[Tensor, Tensor]:
    """The gradients of an epoch of one batch by both: after one step, Adam's first moments are a tenth of them."""
    assert len(linear.labels) <= linear.config.batch_size
    linear.train_epoch(1)
    reference.train_epoch(1)
    moments = flattened(reference.optimiser.state[p]["exp_avg"] for p in reference.model.parameters())
    return unpadded(linear, linear.means) / (1 - BETA1), moments / (1 - BETA1)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("sparse", [True, False], ids=["sparse", "dense"])
@pytest.mark.parametrize("head", ["logits", "softmax"])
@pytest.mark.parametrize("model", FULLY_CONNECTED)
def test_gradients_equal_autograds(
    model: str, head: str, sparse: bool, dropout: float, label_smoothing: float
) -> None:
    wanted = config(model, head=head, dropout=dropout, label_smoothing=label_smoothing, batch_size=64)
    for n in (1, 33):
        linear, reference = both(wanted, train_slice(n) if sparse else dense(train_slice(n)))
        ours, theirs = gradients(linear, reference)
        sizes = [p.numel() for p in reference.model.parameters()]
        for a, b in zip(ours.split(sizes), theirs.split(sizes), strict=True):
            assert (a - b).norm() <= 1e-10 * b.norm()


@pytest.mark.parametrize("hidden", [(), (3, 5, 1)])
@pytest.mark.parametrize("sparse", [True, False], ids=["sparse", "dense"])
def test_any_stack_of_linear_layers_works(hidden: tuple[int, ...], sparse: bool) -> None:
    wanted = config(dropout=0.2, batch_size=64)
    torch.manual_seed(0)
    model = FullyConnected(hidden, 0.2, "logits")
    reference = FullyConnected(hidden, 0.2, "logits")
    reference.load_state_dict(model.state_dict())
    pictures = exact(train_slice(33)) if sparse else dense(train_slice(33))
    pair = LinearSteps(wanted, model, pictures, DOUBLE), AutogradSteps(wanted, reference, pictures, dtype=DOUBLE)
    ours, theirs = gradients(*pair)
    assert (ours - theirs).norm() <= 1e-10 * theirs.norm()
    assert pair[0].train_epoch(2) == pytest.approx(pair[1].train_epoch(2), rel=1e-9)
    assert torch.allclose(pair[0].outputs(pictures), pair[1].outputs(pictures), atol=1e-6)


FULL = {
    "dropout": 0.2, "weight_decay": 0.1, "label_smoothing": 0.1, "ema_decay": 0.9, "schedule": "cosine",
    "warmup_epochs": 0.75, "budget": 4,
}
RECIPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "softmax": {"head": "softmax"},
    "softmax, fast": {"head": "softmax", "lr": 1e-2},
    "weight decay": {"weight_decay": 0.5, "lr": 1e-2},
    "ema": {"ema_decay": 0.97},
    "warm-up": {"warmup_epochs": 1.5},
    "everything": FULL,
    "everything, augmented": FULL | {"rotation": 10, "translation": 2, "scaling": 0.1, "shear": 5},
    "softmax, everything": FULL | {"head": "softmax"},
}


@pytest.mark.parametrize("sparse", [True, False], ids=["sparse", "dense"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_both_stay_together_over_epochs(recipe: str, sparse: bool) -> None:
    """300 pictures in batches of 32: every epoch ends in a smaller batch."""
    linear, reference = both(config("MediumNN", **RECIPES[recipe]), TRAIN if sparse else dense(TRAIN))
    for epoch in (1, 2, 3):
        assert linear.train_epoch(epoch) == pytest.approx(reference.train_epoch(epoch), rel=1e-8)
        theirs = flattened(reference.model.parameters())
        assert (unpadded(linear, linear.flat) - theirs).norm() <= 1e-8 * theirs.norm()
        if linear.average is not None:
            assert reference.average is not None
            averaged = flattened(reference.average.parameters())
            assert (unpadded(linear, linear.average) - averaged).norm() <= 1e-8 * averaged.norm()
            assert (averaged - theirs).norm() > 1e-3 * theirs.norm()
        assert torch.allclose(linear.outputs(evaluation_slice(70)), reference.outputs(evaluation_slice(70)), atol=1e-6)


@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
@pytest.mark.parametrize("sgd", [Sgd(), Sgd(0.9), Sgd(0.9, nesterov=True)], ids=str)
@pytest.mark.parametrize("sparse", [True, False], ids=["sparse", "dense"])
def test_sgd_stays_together_with_torchs(sgd: Sgd, weight_decay: float, sparse: bool) -> None:
    wanted = config("MediumNN", lr=0.05, weight_decay=weight_decay, schedule="cosine", budget=4)
    pictures = exact(TRAIN) if sparse else dense(TRAIN)
    ours = LinearSteps(wanted, cast(FullyConnected, build_model(wanted)), pictures, DOUBLE, sgd)
    theirs = AutogradSteps(wanted, build_model(wanted), pictures, dtype=DOUBLE)
    theirs.optimiser = torch.optim.SGD(
        theirs.model.parameters(), wanted.lr, sgd.momentum, weight_decay=weight_decay, nesterov=sgd.nesterov
    )
    start = ours.flat.clone()
    for epoch in (1, 2, 3):
        assert ours.train_epoch(epoch) == pytest.approx(theirs.train_epoch(epoch), rel=1e-10)
        expected = flattened(theirs.model.parameters())
        assert (unpadded(ours, ours.flat) - expected).norm() <= 1e-10 * expected.norm()
    assert (ours.flat - start).norm() > 0.01 * start.norm()


@pytest.mark.parametrize("batch_size", [1, 299, 300, 500])
def test_both_stay_together_at_extreme_batch_sizes(batch_size: int) -> None:
    linear, reference = both(config(batch_size=batch_size, dropout=0.1))
    for epoch in (1, 2):
        assert linear.train_epoch(epoch) == pytest.approx(reference.train_epoch(epoch), rel=1e-8)
    theirs = flattened(reference.model.parameters())
    assert (unpadded(linear, linear.flat) - theirs).norm() <= 1e-8 * theirs.norm()


def test_blank_pictures_train_and_are_evaluated() -> None:
    pixels = train_slice(40).pixels.copy()
    pixels[::3] = 0
    blank = make_pictures(pixels, train_slice(40).labels)
    for batch_size in (1, 8):
        linear, reference = both(config(batch_size=batch_size), blank)
        assert linear.train_epoch(1) == pytest.approx(reference.train_epoch(1), rel=1e-8)
        assert torch.allclose(linear.outputs(blank), reference.outputs(blank), atol=1e-6)


@pytest.mark.parametrize("recipe", ["plain", "softmax", "everything"])
def test_in_float32_both_reach_the_same_accuracy(recipe: str) -> None:
    """One epoch over 2,000 pictures: the two of a seed are closer to each other than the seeds are."""
    train, evaluation = train_slice(2000), evaluation_slice(1000)
    labels = torch.from_numpy(evaluation.labels)
    accuracies: list[list[float]] = []
    for seed in range(3):
        pair = both(config(seed=seed, **RECIPES[recipe]), train, torch.float32)
        losses = [steps.train_epoch(1) for steps in pair]
        accuracies.append([(steps.outputs(evaluation).argmax(1) == labels).double().mean().item() for steps in pair])
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    reference = [theirs for _, theirs in accuracies]
    assert max(abs(ours - theirs) for ours, theirs in accuracies) < max(reference) - min(reference)
    assert min(map(min, accuracies)) > 0.5


@pytest.mark.parametrize("model", FULLY_CONNECTED)
def test_sparse_and_dense_first_layers_give_the_same_outputs(model: str) -> None:
    evaluation = evaluation_slice(1100)  # more than one evaluation batch
    steps = both(config(model), dtype=torch.float32)[0]
    steps.train_epoch(1)
    assert torch.allclose(steps.outputs(evaluation), steps.outputs(dense(evaluation)), atol=1e-4)


TRAINED = """
import hashlib, sys
sys.path.insert(0, "tests")
from support.slices import evaluation_slice, train_slice
from tune_mnist.spec.training import TrainingConfig
from tune_mnist.training.steps.choose import make_steps

for model in ("SimpleNN", "ComplexNN"):
    steps = make_steps(TrainingConfig(model=model, lr=1e-2, batch_size=50), train_slice(270))
    steps.train_epoch(1)
    flat, outputs = steps.state()["flat"], steps.outputs(evaluation_slice(130))
    print(hashlib.sha256(flat.numpy().tobytes() + outputs.numpy().tobytes()).hexdigest())
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="names x86 processors")
def test_the_bits_do_not_depend_on_the_width_of_the_processors_vectors() -> None:
    """A processor of AVX2 alone, or of SSE and fused products, against this one."""
    found = []
    for processor in ({}, {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma"},
                      {"NUMBA_CPU_NAME": "x86-64-v2", "NUMBA_CPU_FEATURES": "+fma,+avx"}):
        done = subprocess.run(
            [sys.executable, "-c", TRAINED], env={**os.environ, **processor}, cwd=Path(__file__).parents[2],
            capture_output=True, text=True, check=True,
        )
        found.append(done.stdout.split())
    assert len(found[0]) == 2 and found[0] == found[1] == found[2]


def every_kind(**values: Any) -> list[Steps]:
    wanted = config(batch_size=50, **values)
    cnn = dataclasses.replace(wanted, model="CNN")
    train = train_slice(100)
    return [*both(wanted, train, torch.float32), AutogradSteps(cnn, build_model(cnn), train)]


@pytest.mark.parametrize("head", ["logits", "softmax"])
@pytest.mark.parametrize("ema_decay", [0.0, 0.5])
def test_outputs_are_the_modules_without_dropout(head: str, ema_decay: float) -> None:
    pictures = evaluation_slice(60)
    for steps in every_kind(head=head, ema_decay=ema_decay, dropout=0.5):
        steps.train_epoch(1)
        outputs = steps.outputs(pictures)
        assert outputs.shape == (60, 10) and outputs.dtype == torch.float32 and not outputs.requires_grad
        assert torch.equal(outputs, steps.outputs(pictures))
        if head == "softmax":
            assert torch.allclose(outputs.sum(1), torch.ones(60), atol=1e-5)
        module = steps.module()
        assert not module.training and all(p.dtype == torch.float32 for p in module.parameters())
        with torch.no_grad():
            assert torch.allclose(module(normalise(torch.from_numpy(pictures.pixels))), outputs, atol=1e-4)


@pytest.mark.parametrize("ema_decay", [0.0, 0.5])
def test_a_module_is_a_copy_that_later_epochs_leave_alone(ema_decay: float) -> None:
    for steps in every_kind(ema_decay=ema_decay):
        steps.train_epoch(1)
        module = steps.module()
        before = flattened(module.parameters())
        steps.train_epoch(2)
        assert torch.equal(flattened(module.parameters()), before)
        assert not torch.equal(flattened(steps.module().parameters()), before)


def test_a_float64_reference_goes_on_in_float64_after_its_module_was_taken() -> None:
    steps = both(config())[1]
    steps.module()
    steps.train_epoch(1)
    assert all(p.dtype == DOUBLE for p in steps.model.parameters())


@pytest.mark.parametrize("ema_decay", [0.0, 0.5])
def test_a_state_restores_other_steps_exactly_and_a_wrong_one_is_refused(ema_decay: float) -> None:
    for ours, fresh in zip(every_kind(ema_decay=ema_decay), every_kind(ema_decay=ema_decay, seed=1), strict=True):
        ours.train_epoch(1)
        fresh.load(ours.state())
        assert torch.equal(fresh.outputs(TRAIN), ours.outputs(TRAIN))
        state = ours.state()
        for name in state:
            with pytest.raises(Exception, match=f"{name}|state_dict"):
                fresh.load({key: value for key, value in state.items() if key != name})


def test_the_fastest_steps_are_chosen() -> None:
    compiled = [
        *map(config, (*FULLY_CONNECTED, "MLP")), config(optimizer="adam"), config(dropout=0.5, weight_decay=0.1),
        config("MLP", model_settings={"hidden": "7-5"}),
        config(optimizer="sgd", momentum=0.5),
    ]
    by_autograd = [
        config("CNN"), config("MLP", model_settings={"activation": "tanh"}), config(optimizer="rmsprop"),
        config(optimizer="adam", weight_decay=0.1), config(clip_norm=1.0),
    ]
    pairs = [*((each, LinearSteps) for each in compiled), *((each, AutogradSteps) for each in by_autograd)]
    for wanted, expected in pairs:
        assert type(make_steps(wanted, train_slice(20))) is expected, wanted.label
    letters = dataclasses.replace(train_slice(20), classes=26)
    assert make_steps(config(), letters).outputs(letters).shape == (20, 26)


def test_bf16_changes_the_cnn_a_little() -> None:
    train = train_slice(64)
    losses = {}
    for precision in ("fp32", "bf16"):
        steps = make_steps(config("CNN", precision=precision), train)
        losses[precision] = steps.train_epoch(1)
        assert steps.outputs(train).dtype == torch.float32
    assert losses["fp32"] != losses["bf16"] and losses["fp32"] == pytest.approx(losses["bf16"], rel=0.05)


@pytest.mark.parametrize("warmup_epochs", [0.0, 0.01, 0.5, 0.75, 1.0, 2.3])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("steps_per_epoch", [1, 3, 40])
def test_the_rate_rises_then_stays_or_falls_to_0(warmup_epochs: float, schedule: str, steps_per_epoch: int) -> None:
    epochs = 6
    wanted = config(lr=0.5, warmup_epochs=warmup_epochs, schedule=schedule, budget=epochs)
    rates = [learning_rate(wanted, step, steps_per_epoch) for step in range(epochs * steps_per_epoch)]
    warm = math.ceil(warmup_epochs * steps_per_epoch)
    rising, rest = rates[:warm], rates[warm:]
    assert all(0 < rate <= 0.5 for rate in rates)
    assert rising == sorted(rising) and rest == sorted(rest, reverse=True)
    for step, rate in enumerate(rising):
        assert rate == pytest.approx(min(0.5, 0.5 * (step + 1) / (warmup_epochs * steps_per_epoch)))
    if schedule == "constant":
        assert set(rest) == {0.5}
    else:
        assert rest[0] == pytest.approx(0.5, rel=0.15) and learning_rate(wanted, len(rates), steps_per_epoch) < 1e-12
        assert rates[-1] < 0.5 * (math.pi / 2) ** 2 / steps_per_epoch


def test_a_constant_rate_ignores_the_budget() -> None:
    assert learning_rate(config(lr=0.5), 10**6, 10) == learning_rate(config(lr=0.5, budget=3), 0, 10) == 0.5


@pytest.mark.parametrize("values", [
    {}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01, "dropout": 0.2},
])
def test_compiled_sgd_chosen_by_its_config_is_torch_s(values: dict[str, Any]) -> None:
    wanted = config("MLP", optimizer="sgd", lr=0.05, model_settings={"hidden": "24-8"}, **values)
    linear, reference = both(wanted)
    for epoch in (1, 2):
        assert linear.train_epoch(epoch) == pytest.approx(reference.train_epoch(epoch), rel=1e-10)
    ours, theirs = unpadded(linear, linear.flat), flattened(reference.model.parameters())
    assert (ours - theirs).norm() <= 1e-10 * theirs.norm()
