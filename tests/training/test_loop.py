"""Tests of a training: metrics, and determinism, prefixes and resumes down to the bit."""

from __future__ import annotations

import dataclasses
import io
import math
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from support.slices import dense, evaluation_slice, train_slice
from tune_mnist.spec.training import TrainingConfig
from tune_mnist.training.batches import normalise
from tune_mnist.training.loop import EpochMetrics, Training, fit
from tune_mnist.training.metrics import Evaluation, evaluate, macro_averages
from tune_mnist.training.packing import unpack_bits

EPOCHS = 4
AUGMENTED = {"rotation": 10, "translation": 2, "scaling": 0.1, "shear": 5}
RECIPES: dict[str, dict[str, Any]] = {
    "SimpleNN": {},
    "MediumNN, dropout": {"model": "MediumNN", "dropout": 0.3},
    "ComplexNN": {"model": "ComplexNN"},
    "EMA": {"ema_decay": 0.9},
    "augmented": AUGMENTED,
    "cosine": {"schedule": "cosine", "warmup_epochs": 0.5, "budget": EPOCHS},
    "softmax": {"head": "softmax"},
    "decay and smoothing": {"weight_decay": 0.1, "label_smoothing": 0.1},
    "everything": {
        "model": "MediumNN", "dropout": 0.3, "ema_decay": 0.9, "schedule": "cosine", "budget": EPOCHS,
        "head": "softmax", **AUGMENTED,
    },
    "CNN": {"model": "CNN"},
    "CNN, everything": {
        "model": "CNN", "dropout": 0.3, "ema_decay": 0.9, "schedule": "cosine", "budget": EPOCHS, **AUGMENTED,
    },
}


def config(**values: Any) -> TrainingConfig:
    return dataclasses.replace(TrainingConfig(model="SimpleNN", lr=1e-3, batch_size=32), **values)


def training(wanted: TrainingConfig, n: int | None = None) -> Training:
    n = n or (40 if wanted.model == "CNN" else 600)
    return Training(wanted, train_slice(n), evaluation_slice(n // 2))


def timeless(metrics: EpochMetrics) -> EpochMetrics:
    return dataclasses.replace(metrics, train_seconds=0.0, eval_seconds=0.0)


def run(one: Training, epochs: int = EPOCHS) -> list[tuple[EpochMetrics, bytes]]:
    """Metrics and state after each further epoch."""
    return [(timeless(metrics), one.state()) for metrics in fit(one, epochs)]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_resumed_repeated_or_longer_training_has_the_same_bits(recipe: str) -> None:
    wanted = config(**RECIPES[recipe])
    whole = run(training(wanted))
    assert [metrics.epoch for metrics, _ in whole] == [1, 2, 3, 4]
    assert run(training(wanted), 2) == whole[:2]
    for k in (1, 2, 3):
        resumed = training(wanted)
        torch.manual_seed(k)
        resumed.load(whole[k - 1][1])
        assert resumed.epoch == k and resumed.state() == whole[k - 1][1]
        assert run(resumed) == whole[k:]
    used = training(wanted)
    run(used, 3)
    used.load(whole[0][1])
    assert run(used) == whole[1:]


def test_a_resumed_training_in_bf16_has_the_same_bits() -> None:
    wanted = config(model="CNN", precision="bf16", head="softmax", batch_size=16)
    whole = run(training(wanted, 16), 2)
    resumed = training(wanted, 16)
    resumed.load(whole[0][1])
    assert run(resumed, 2) == whole[1:]


@pytest.mark.parametrize("recipe", ["SimpleNN", "CNN"])
def test_another_seed_gives_another_training(recipe: str) -> None:
    first, second = (run(training(config(**RECIPES[recipe], seed=seed)), 1)[0] for seed in (0, 1))
    assert first[1] != second[1] and first[0].train_loss != second[0].train_loss


def test_a_training_learns() -> None:
    whole = run(training(config(model="MediumNN"), 2000))
    losses = [metrics.train_loss for metrics, _ in whole]
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.5 * losses[0]
    assert whole[-1][0].evaluation.accuracy > 0.75 and not any(metrics.diverged for metrics, _ in whole)


def test_the_metrics_are_those_of_the_module() -> None:
    one, pictures = training(config(ema_decay=0.5, dropout=0.5)), evaluation_slice(300)
    metrics = one.run_epoch()
    assert metrics.train_seconds > 0 and metrics.eval_seconds > 0
    with torch.no_grad():
        outputs = one.module()(normalise(torch.from_numpy(pictures.pixels)))
    evaluation = evaluate(outputs, pictures.labels)
    assert evaluation.accuracy == pytest.approx(metrics.evaluation.accuracy, abs=1 / 300)
    assert evaluation.loss == pytest.approx(metrics.evaluation.loss, rel=1e-4)
    right = unpack_bits(metrics.evaluation.correct, 300)
    assert right.mean() == pytest.approx(metrics.evaluation.accuracy)
    assert (right != (outputs.argmax(1).numpy() == pictures.labels)).sum() <= 1


def test_sparse_and_dense_pictures_train_alike() -> None:
    wanted = config(batch_size=64)
    sparse = run(training(wanted), 2)[-1][0]
    plain = run(Training(wanted, dense(train_slice(600)), dense(evaluation_slice(300))), 2)[-1][0]
    assert sparse.train_loss == pytest.approx(plain.train_loss, rel=1e-3)
    assert sparse.evaluation.accuracy == pytest.approx(plain.evaluation.accuracy, abs=0.02)


@pytest.mark.parametrize(
    "values", [{"model": "MediumNN", "lr": 1e30}, {"model": "ComplexNN", "lr": 1e30}, {"model": "CNN", "lr": 1e30}]
)
def test_fit_stops_after_a_diverged_epoch(values: dict[str, Any]) -> None:
    one = training(config(**values))
    metrics = list(fit(one, 3))
    assert metrics[-1].diverged and not any(m.diverged for m in metrics[:-1])
    assert one.epoch == len(metrics) < 3


@pytest.mark.parametrize(
    ("train_loss", "loss", "diverged"),
    [(1, 1, False), (math.nan, 1, True), (1, math.nan, True), (math.inf, 1, True), (1, -math.inf, True)],
)
def test_a_loss_that_is_not_finite_is_divergence(train_loss: float, loss: float, diverged: bool) -> None:
    metrics = EpochMetrics(1, train_loss, Evaluation(loss, 0.1, 0.1, 0.1, 0.1, ""), 1.0, 1.0)
    assert metrics.diverged == diverged


def by_scikit_learn(outputs: Tensor, labels: np.ndarray) -> tuple[float, float, float, float]:
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    predictions = outputs.argmax(1).numpy()
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, predictions, average="macro", zero_division=0
    )
    return accuracy_score(labels, predictions), precision, recall, f1


OUTPUTS = {
    "random": torch.randn(500, 10, generator=torch.Generator().manual_seed(0)),
    "right": 5 * torch.eye(10)[torch.from_numpy(evaluation_slice(500).labels)],
    "half right": 5 * torch.eye(10)[torch.from_numpy(evaluation_slice(500).labels)] * (torch.arange(500) % 2)[:, None],
    "always 3": torch.eye(10)[3].expand(500, 10),
    "never 7": torch.randn(500, 10, generator=torch.Generator().manual_seed(1)) - 20 * torch.eye(10)[7],
    "all equal": torch.zeros(500, 10),
}


@pytest.mark.parametrize("kind", OUTPUTS)
def test_metrics_equal_scikit_learns(kind: str) -> None:
    from sklearn.metrics import log_loss

    outputs, labels = OUTPUTS[kind], evaluation_slice(500).labels
    found = evaluate(outputs, labels)
    assert (found.accuracy, found.precision, found.recall, found.f1) == pytest.approx(by_scikit_learn(outputs, labels))
    expected = log_loss(labels, outputs.double().softmax(1).numpy(), labels=range(10))
    assert found.loss == pytest.approx(expected, rel=1e-5)
    assert np.array_equal(unpack_bits(found.correct, 500), outputs.argmax(1).numpy() == labels)


def test_metrics_of_few_pictures_equal_scikit_learns() -> None:
    for n in range(1, 40):
        outputs = torch.randn(n, 10, generator=torch.Generator().manual_seed(n))
        labels = evaluation_slice(500).labels[n : 2 * n]
        found = evaluate(outputs, labels)
        assert (found.accuracy, found.precision, found.recall, found.f1) == pytest.approx(
            by_scikit_learn(outputs, labels)
        )


@pytest.mark.parametrize("predicted", [True, False])
def test_a_class_without_pictures_counts_only_where_it_is_predicted(predicted: bool) -> None:
    labels = evaluation_slice(500).labels % 9
    outputs = OUTPUTS["random"].clone()
    outputs[:, 9] += 1.0 if predicted else -100.0
    found = evaluate(outputs, labels)
    assert bool((outputs.argmax(1) == 9).any()) == predicted
    assert (found.accuracy, found.precision, found.recall, found.f1) == pytest.approx(by_scikit_learn(outputs, labels))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_outputs_that_are_not_finite_are_evaluated(bad: float) -> None:
    outputs = OUTPUTS["random"].clone()
    outputs[::7] = bad
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = evaluate(outputs, evaluation_slice(500).labels)
    assert not math.isfinite(found.loss)
    assert all(0 <= value <= 1 for value in (found.accuracy, found.precision, found.recall, found.f1))


def test_averages_of_an_empty_confusion_are_0() -> None:
    assert macro_averages(torch.zeros(10, 10, dtype=torch.int64)) == (0, 0, 0)


class Hostile:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def as_torch_saves(content: object, *, legacy: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["pickle", "zip", "legacy", "inside a state"])
@pytest.mark.parametrize("model", ["SimpleNN", "CNN"])
def test_no_code_in_a_state_is_run(model: str, form: str, tmp_path: Path) -> None:
    one = training(config(model=model))
    target = tmp_path / "touched"
    hostile = Hostile(target)
    state = {
        "pickle": pickle.dumps(hostile, protocol=2), "zip": as_torch_saves(hostile),
        "legacy": as_torch_saves(hostile, legacy=True),
        "inside a state": as_torch_saves({"epoch": 1, "steps": one.steps.state(), "more": [hostile]}),
    }[form]
    before = one.state()
    with pytest.raises(pickle.UnpicklingError, match="[Ww]eights"):
        one.load(state)
    assert not target.exists() and one.state() == before
    pickle.loads(pickle.dumps(hostile))
    assert target.exists()  # it would have been noticed


@pytest.mark.parametrize("model", ["SimpleNN", "CNN"])
def test_what_is_no_state_of_the_config_is_refused(model: str) -> None:
    one, other = training(config(model=model)), training(config(model="MediumNN"))
    state = one.state()
    wrong = {
        b"PK": "Weights only load failed", state[: len(state) // 2]: "failed finding central directory",
        other.state(): "size|shape|state_dict|'flat'|'model'",
        as_torch_saves({}): "'steps'", as_torch_saves(1): "subscriptable",
        as_torch_saves({"epoch": 1, "steps": {}}): "'flat'|'model'",
        as_torch_saves({"steps": one.steps.state()}): "'epoch'",
    }
    for content, problem in wrong.items():
        with pytest.raises(Exception, match=problem):
            one.load(content)
        assert one.epoch == 0
    one.load(state)
    assert one.state() == state
