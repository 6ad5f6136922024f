"""A training, epoch by epoch, with exact save and restore."""

from __future__ import annotations

import dataclasses
import io
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.serialization import get_crc32_options, set_crc32_options

from tune_mnist.spec.training import TrainingConfig
from tune_mnist.training.batches import Pictures
from tune_mnist.training.metrics import Evaluation, evaluate
from tune_mnist.training.packing import finite_or_none
from tune_mnist.training.steps.choose import make_pack, make_steps
from tune_mnist.training.steps.pack import PackSteps


@dataclass(frozen=True)
class EpochMetrics:
    """One epoch of a training: epoch number from 1, mean training loss, evaluation, and times in seconds.

    Of `together` trainings trained in step, each has its share of the seconds.
    """

    epoch: int
    train_loss: float
    evaluation: Evaluation
    train_seconds: float
    eval_seconds: float
    together: int = 1

    @property
    def diverged(self) -> bool:
        """Whether a loss is not finite."""
        return not (math.isfinite(self.train_loss) and math.isfinite(self.evaluation.loss))

    def row(self, prefix: str) -> dict[str, Any]:
        """What is reproducible, as plain JSON values: evaluation metrics begin with `prefix`_, val_ or test_."""
        evaluation = dataclasses.asdict(self.evaluation) | {"loss": finite_or_none(self.evaluation.loss)}
        named = {f"{prefix}_{name}": value for name, value in evaluation.items()}
        return {"epoch": self.epoch, "train_loss": finite_or_none(self.train_loss), **named}

    def timing(self) -> dict[str, Any]:
        """What varies from run to run, as plain JSON values."""
        seconds = {"epoch": self.epoch, "train_seconds": self.train_seconds, "eval_seconds": self.eval_seconds}
        return seconds | ({"together": self.together} if self.together > 1 else {})


class Training:
    """A model, its optimiser and its data, trained epoch by epoch.

    The seed alone determines initial weights, order, augmentation and dropout of every epoch, so a
    training restored from `state()` equals an uninterrupted one bit for bit. Sets torch's number of
    threads, and flushes denormals to zero, in the thread that runs it.
    """

    def __init__(
        self, config: TrainingConfig, train: Pictures, evaluation: Pictures, *, device: str = "cpu", threads: int = 1
    ) -> None:
        torch.set_num_threads(threads)
        self.steps = make_steps(config, train, device)
        self.evaluation = evaluation
        self.epoch = 0

    def run_epoch(self) -> EpochMetrics:
        """Train one more epoch and evaluate."""
        # Adam's moments of dead units decay into denormals, which cost up to a fifth of the time.
        torch.set_flush_denormal(True)
        start = time.perf_counter()
        train_loss = self.steps.train_epoch(self.epoch + 1)
        trained = time.perf_counter()
        evaluation = evaluate(self.steps.outputs(self.evaluation), self.evaluation.labels)
        self.epoch += 1
        return EpochMetrics(self.epoch, train_loss, evaluation, trained - start, time.perf_counter() - trained)

    def module(self) -> nn.Module:
        """The trained model: float32, on the CPU, in eval mode."""
        return self.steps.module()

    def state(self) -> bytes:
        """The state after the last epoch, as torch.save writes it; holds tensors and plain values only."""
        return state_to_bytes(self.epoch, self.steps.state())

    def load(self, state: bytes) -> None:
        """Go on from a state of a training of the same config.

        Raises:
            Exception: of whatever kind torch raises, if `state` is not such a state; no code in it is run.
        """
        epoch, steps = state_from_bytes(state)
        self.steps.load(steps)
        self.epoch = epoch


class PackTraining:
    """Trainings that `make_pack` can train together.

    Which epoch comes next is the caller's business: each training must have been trained or loaded up to the
    epoch before.
    """

    def __init__(
        self, configs: Sequence[TrainingConfig], train: Pictures, evaluation: Pictures, *,
        device: str = "cuda", threads: int = 1,
    ) -> None:
        torch.set_num_threads(threads)
        self.steps = make_pack(configs, train, device)
        self.evaluation = evaluation

    def run_epoch(self, epoch: int, members: Sequence[int]) -> list[EpochMetrics]:
        """Train epoch number `epoch` of those members and evaluate them."""
        torch.set_flush_denormal(True)
        together = len(members)
        start = time.perf_counter()
        losses = self.steps.train_epoch(epoch, members)
        trained = time.perf_counter()
        all_outputs = self.steps.outputs(self.evaluation, members)  # (members, pictures, classes)
        evaluations = [evaluate(outputs, self.evaluation.labels) for outputs in all_outputs]
        train_seconds, eval_seconds = (trained - start) / together, (time.perf_counter() - trained) / together
        return [
            EpochMetrics(epoch, loss, evaluation, train_seconds, eval_seconds, together)
            for loss, evaluation in zip(losses, evaluations, strict=True)
        ]

    def snapshot(self, k: int, epoch: int) -> Callable[[], bytes]:
        """Training k's state after `epoch`, as `Training.state` gives it on the same device.

        Returns:
            A function for any thread, which may be called while training goes on.
        """
        if isinstance(self.steps, PackSteps):
            steps = self.steps.snapshot(k)
            return lambda: state_to_bytes(epoch, steps())
        state = state_to_bytes(epoch, self.steps.state(k))
        return lambda: state

    def load(self, k: int, state: bytes) -> None:
        """Let training k go on from a state."""
        self.steps.load(k, state_from_bytes(state)[1])


def state_to_bytes(epoch: int, steps: dict[str, Any]) -> bytes:
    """A state of steps after `epoch`, as torch.save writes it, but without CRCs: whoever keeps it seals the whole."""
    buffer, before = io.BytesIO(), get_crc32_options()
    set_crc32_options(False)
    try:
        torch.save({"epoch": epoch, "steps": steps}, buffer)
    finally:
        set_crc32_options(before)
    return buffer.getvalue()


def state_from_bytes(state: bytes) -> tuple[int, dict[str, Any]]:
    """What `state_to_bytes` wrote. Raises whatever torch raises if it is not that; no code in it is run."""
    saved: dict[str, Any] = torch.load(io.BytesIO(state), weights_only=True)
    steps: dict[str, Any] = saved["steps"]
    return int(saved["epoch"]), steps


def fit(training: Training, epochs: int) -> Iterator[EpochMetrics]:
    """Train on to epoch number `epochs`, yielding each epoch's metrics; stop after a diverged one."""
    while training.epoch < epochs:
        metrics = training.run_epoch()
        yield metrics
        if metrics.diverged:
            return
