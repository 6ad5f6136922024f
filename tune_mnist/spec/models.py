"""The package's models by name, and the settings that each has of its own."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from tune_mnist.spec.errors import did_you_mean, require
from tune_mnist.spec.settings import Setting, setting, settings_of

Activation = Literal["relu", "gelu", "tanh", "silu", "leaky_relu"]
PRESETS = {"SimpleNN": "128", "MediumNN": "256-128", "ComplexNN": "512-256-128-64"}
"""The report's fully connected models: an MLP's hidden layers."""


@dataclass(frozen=True)
class Activated:
    """What every fully connected model may be told."""

    activation: Activation = setting("relu", "What follows each hidden layer")


@dataclass(frozen=True)
class MLPSettings(Activated):
    """What an MLP may be told."""

    hidden: str = setting("128", "Widths of the hidden layers, the first one's first")


@dataclass(frozen=True)
class CNNSettings:
    """What the CNN may be told."""

    channels: str = setting("32-64-128", "Channels of the convolutions, the first two of which are pooled")
    width: int = setting(128, "Width of the hidden linear layer", least=1, log=True)
    batch_norm: bool = setting(False, "Batch normalisation after each convolution", source="arXiv:1502.03167")


MODEL_SETTINGS: dict[str, dict[str, Setting]] = {
    **{preset: settings_of(Activated) for preset in PRESETS}, "CNN": settings_of(CNNSettings),
    "MLP": settings_of(MLPSettings),
}
"""Each of the package's models, in the order in which they are told, and its own settings by name."""
MODEL_NAMES = tuple(MODEL_SETTINGS)
FULLY_CONNECTED = tuple(PRESETS)
"""The report's fully connected models."""


def is_fully_connected(model: str) -> bool:
    """Whether it is an MLP, under whichever name."""
    return model in PRESETS or model == "MLP"


def cost_of(model: str) -> int:
    """The base-2 logarithm of what an epoch costs beside SimpleNN's, guessed before any was seen."""
    return 1 if model == "MLP" else min(place_of(model)[0], MODEL_NAMES.index("CNN"))


def place_of(model: str) -> tuple[int, str]:
    """Sort key of models: the package's in their order, then the others by name."""
    return MODEL_NAMES.index(model) if model in MODEL_NAMES else len(MODEL_NAMES), model


def require_model(model: str, known: Collection[str] = ()) -> None:
    """Raise `UserError` unless the model is one of the package's, or of those `known` besides."""
    if model not in MODEL_NAMES and model not in known:
        remedy = did_you_mean(model, MODEL_NAMES, "change --models, or name your own as FILE.py:Class", cutoff=0.4)
        require(False, f"model is one of {', '.join(MODEL_NAMES)}", repr(model), remedy)
