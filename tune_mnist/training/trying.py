"""A model of one's own built and run on one batch, forward and backward, before anything is written or started."""

from __future__ import annotations

import time
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from tune_mnist.spec.errors import UserError, require
from tune_mnist.spec.own.model import OwnModel, told
from tune_mnist.spec.training import TrainingConfig
from tune_mnist.training.batches import as_tensor, normalise
from tune_mnist.training.dataset import TrainingData
from tune_mnist.training.models import build_model


def try_models(configs: Iterable[TrainingConfig], data: TrainingData) -> dict[str, float]:
    """Build each different model of one's own and take a step without its optimiser.

    Returns:
        By model about the seconds of an epoch: those of its slowest settings' step on one CPU, times the steps.

    Raises:
        UserError: the model's code fails, gives outputs of another shape or a loss that is not finite.
    """
    different = {
        (config.model, config.model_settings, config.dropout, config.batch_size): config for config in configs
        if isinstance(config.source, OwnModel)
    }
    seconds: dict[str, float] = {}
    for config in different.values():
        steps = len(data.train_labels) / config.batch_size
        seconds[config.model] = max(seconds.get(config.model, 0.0), steps * _step_seconds(config, data))
    return seconds


def _step_seconds(config: TrainingConfig, data: TrainingData) -> float:
    model, own = build_model(config, data.classes), config.source
    size = min(config.batch_size, len(data.train_labels))
    pictures, labels = normalise(as_tensor(data.train_images[:size])), as_tensor(data.train_labels[:size])
    name, before = own.class_name, torch.get_num_threads()
    require(any(True for _ in model.parameters()), f"{name} has parameters to train", "none", "give it layers")
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            for _ in range(2):  # the second one is as fast as those to come
                start = time.perf_counter()
                outputs = model.train()(pictures)
                _check_outputs(outputs, (size, data.classes), own)
                loss = F.cross_entropy(outputs, labels)
                loss.backward()
                took = time.perf_counter() - start
    except UserError:
        raise
    except Exception as error:
        shape = "x".join(map(str, (size, 1, 28, 28)))
        raise told(error, own, f"{name} fails on a batch of pictures {shape}") from error
    finally:
        torch.set_num_threads(before)
    require(bool(loss.isfinite()), f"the first loss of {name} is finite", loss.item(), "see to its outputs")
    trained = any(parameter.grad is not None for parameter in model.parameters())
    require(trained, f"the loss of {name} depends on its parameters", "on none", "keep the outputs attached to them")
    return took


def _check_outputs(outputs: object, wanted: tuple[int, int], own: OwnModel) -> None:
    given = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
    takes = "" if own.classes else " (an argument called classes gets their number)"
    rule = f"{own.class_name} gives logits of shape {wanted}, pictures and classes{takes}"
    require(given == wanted, rule, given, "see to what its forward returns")
