"""What trainings are called: after the settings that vary between them, whichever these are."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tune_mnist.spec.training import MODEL_NAMES, TrainingConfig

BASE = ("model", "lr", "batch_size", "epochs")
"""What a cell is always called by."""
SHORT = {"batch_size": "batch"}
"""Settings by shorter names, where they stand before their values."""
LONG = {"lr": "learning rate", "epochs": "number of epochs"}
"""Settings by their names in full, where these are not theirs with blanks for underscores."""


def values_of(config: TrainingConfig) -> dict[str, Any]:
    """Each setting of a training by name, as tables have it: a list as text, its values joined by dashes."""
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The settings that have more than one value among trainings, each given by its `values_of`."""
    names = dict.fromkeys(name for each in settings for name in each)
    return [name for name in names if len({each.get(name) for each in settings}) > 1]


def varying(settings: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """What tells trainings apart to a reader: the `differing` settings but those that the model alone determines.

    The seed is among them; the budget, which says again for how many epochs a training is planned, is not.
    """
    models: dict[str, list[Mapping[str, Any]]] = {}
    for each in settings:
        models.setdefault(each["model"], []).append(each)
    within = {name for own in models.values() for name in differing(own)}
    several = {"model"} if len(models) > 1 else set()
    return tuple(name for name in differing(settings) if name in within | several and name != "budget")


def model_rank(model: str) -> tuple[int, str]:
    """A sort key of models: this package's own ones in their order, then others by name."""
    return (MODEL_NAMES.index(model) if model in MODEL_NAMES else len(MODEL_NAMES), model)


def ordered(setting: str, values: Iterable[Any]) -> list[Any]:
    """A setting's values, each once: ascending, numbers before texts and no value last; models by `model_rank`."""
    return sorted(dict.fromkeys(values), key=model_rank if setting == "model" else sort_key)


def sort_key(value: Any) -> tuple[int, float, str]:
    """What sorts the values of a setting: numbers, then texts (those of digits by their numbers), then none."""
    if _is_none(value):
        return 2, 0.0, ""
    return (1, 0.0, _padded(value)) if isinstance(value, str) else (0, float(value), "")


def full_name(setting: str) -> str:
    """A setting's name in full."""
    return LONG.get(setting, setting.replace("_", " "))


def short_name(setting: str) -> str:
    """A setting's name where room is short."""
    return SHORT.get(setting, setting.replace("_", " "))


def value_text(value: Any) -> str:
    """A setting's value as text, of a number as many digits as tell the usual ones apart."""
    if _is_none(value):
        return "–"
    if str(value) in ("True", "False"):  # NumPy's too
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def setting_text(name: str, value: Any) -> str:
    """A setting and its value in words, such as "batch 16", "optimizer sgd" and "1 epoch"."""
    if name == "model":
        return str(value)
    if name == "epochs":
        return "1 epoch" if value == 1 else f"{value_text(value)} epochs"
    return f"{short_name(name)} {value_text(value)}"


def cell_name(row: Mapping[str, Any], names: Iterable[str] = BASE) -> str:
    """A cell in words: its model, and those of the settings `names` that it has, the epochs last."""
    names = [name for name in dict.fromkeys(["model", *names]) if not _is_none(row.get(name))]
    return ", ".join(setting_text(name, row[name]) for name in sorted(names, key=lambda name: name == "epochs"))


def label(config: TrainingConfig, names: Iterable[str] = ()) -> str:
    """A training's short name on dashboards and in logs: model, lr, batch size, seed, and its other `names`."""
    settings = values_of(config)
    further = {name: settings.get(name) for name in names if name not in (*BASE, "seed")}
    words = [
        str(value) if isinstance(value, str) and value.isidentifier() else f"{name}{value_text(value)}"
        for name, value in further.items() if value is not None
    ]
    return "-".join([config.label, *words])


def _plain(value: Any) -> Any:
    return "-".join(map(str, value)) if isinstance(value, (tuple, list)) else value


def _is_none(value: Any) -> bool:
    return value is None or value != value  # NaN, which a table has where there is none


def _padded(text: str) -> str:
    return re.sub(r"\d+", lambda digits: digits[0].zfill(9), text)
