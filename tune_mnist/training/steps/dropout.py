"""Dropout by masks that are given, where all of a model's calls of it are known beforehand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from tune_mnist.training.dataset import PIXELS


class GivenDropout(nn.Module):
    """Stands in for every Dropout of a model: multiplies by the next of the masks it was given, if any is left."""

    masks: Iterator[Tensor] = iter(())

    def forward(self, hidden: Tensor) -> Tensor:
        mask = next(self.masks, None)
        return hidden if mask is None else hidden * mask


def dropouts(model: nn.Module) -> dict[str, nn.Dropout]:
    """Every Dropout of the model by its name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Dropout)}


def dropout_calls(model: nn.Module) -> list[tuple[torch.Size, float]]:
    """Of each of the meta model's calls of dropout, in their order: the shape of one picture, and the share kept."""
    calls: list[tuple[torch.Size, float]] = []

    def note(layer: nn.Dropout, _: Any, hidden: Tensor) -> None:
        calls.append((hidden.shape[1:], 1 - layer.p))

    hooks = [layer.register_forward_hook(note) for layer in dropouts(model).values()]
    model(torch.empty(1, PIXELS, device="meta"))
    for hook in hooks:
        hook.remove()
    return calls
