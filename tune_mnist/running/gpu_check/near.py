"""Whether a GPU's numbers are near the CPU's."""

from __future__ import annotations

import os

import torch

from tune_mnist.running.gpu_check.scale import Finding, Scale, configs_of, part_of
from tune_mnist.running.trial_data import trial_data
from tune_mnist.training.dataset import TrainingData
from tune_mnist.training.metrics import evaluate
from tune_mnist.training.steps.choose import make_slots, make_steps

NEAR_LOSS, NEAR_ACCURACY = 0.02, 0.01
"""How far a GPU may be from the CPU after two epochs: of the loss, relative, and of the accuracy. Rounding grows in
training: with a learning rate of 0.01, which is left out, to a tenth of a deep network's loss."""


def near(scale: Scale, data: TrainingData) -> Finding:
    """Two epochs of a pack against each training alone on the CPU."""
    train, figures = part_of(data, min(10_000, scale.pictures), "cpu"), {}
    evaluation = trial_data(data).evaluation
    torch.set_num_threads(min(8, os.cpu_count() or 1))
    for model in scale.models:
        configs = configs_of(model, 64)[:2]
        pack = make_slots([*configs, *configs], train, scale.device)
        losses = [pack.train_epoch(epoch) for epoch in (1, 2)][-1]
        for config, loss, outputs in zip(configs, losses, pack.outputs(evaluation), strict=False):
            alone = make_steps(config, train)
            theirs = [alone.train_epoch(epoch) for epoch in (1, 2)][-1]
            own, other = (evaluate(each, evaluation.labels) for each in (outputs, alone.outputs(evaluation)))
            figures[config.label] = {
                "loss": loss, "cpu_loss": theirs, "accuracy": own.accuracy, "cpu_accuracy": other.accuracy,
            }
    torch.set_num_threads(1)
    loss = max(abs(one["loss"] / one["cpu_loss"] - 1) for one in figures.values())
    accuracy = max(abs(one["accuracy"] - one["cpu_accuracy"]) for one in figures.values())
    words = f"losses within {loss:.1e} of the CPU's, accuracies within {accuracy:.4f}"
    return Finding("near the CPU", loss < NEAR_LOSS and accuracy < NEAR_ACCURACY, words, {"trainings": figures})
