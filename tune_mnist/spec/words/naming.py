"""What trainings are called: after the settings that vary between them, whichever these are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tune_mnist.spec.models import place_of
from tune_mnist.spec.training import FIELDS

BASE = ("model", "lr", "batch_size", "epochs")
"""What a cell is always called by."""
SHORT = {"batch_size": "batch"}
"""Settings by shorter names, where they stand before their values."""
LONG = {"lr": "learning rate", "epochs": "number of epochs", "hidden": "hidden layers"}
"""Settings by their names in full, where these are not theirs with blanks for underscores."""


def differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The settings that have more than one value among trainings, each given by its `TrainingConfig.row`.

    One that not all trainings have, as only some models do, differs if it does between the trainings of one model.
    """
    everywhere = set.intersection(*(set(each) for each in settings)) if settings else set()
    within = _within(settings)
    return [
        name for name, values in _values(settings).items()
        if len(values) > 1 and (name in everywhere or name in within)
    ]


def varying(settings: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """What tells trainings apart to a reader: the `differing` settings but those that the model alone determines.

    Those by which a cell is always called come first. The seed is among them; the budget, which says again for how
    many epochs a training is planned, is not.
    """
    told = _within(settings) | {"model"}
    names = [name for name in differing(settings) if name in told and name != "budget"]
    return tuple(sorted(names, key=lambda name: BASE.index(name) if name in BASE else len(BASE)))


def in_common(settings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The settings that have one value among the trainings that have them, and it."""
    return {name: values[0] for name, values in _values(settings).items() if len(values) == 1}


def _values(settings: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The different values of each setting, in the order of the trainings; those that all models share come first."""
    values: dict[str, dict[Any, None]] = {}
    for each in settings:
        for name, value in each.items():
            values.setdefault(name, {})[value] = None
    return {name: list(values[name]) for name in sorted(values, key=lambda name: name not in FIELDS)}


def _within(settings: Sequence[Mapping[str, Any]]) -> set[str]:
    """The settings that have more than one value among the trainings of one model."""
    models: dict[str, list[Mapping[str, Any]]] = {}
    for each in settings:
        models.setdefault(each["model"], []).append(each)
    return {name for own in models.values() for name, values in _values(own).items() if len(values) > 1}


def ordered(setting: str, values: Iterable[Any]) -> list[Any]:
    """A setting's values, each once: ascending, numbers before texts and no value last; models by `place_of`."""
    return sorted(dict.fromkeys(values), key=place_of if setting == "model" else sort_key)


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


def _is_none(value: Any) -> bool:
    return value is None or value != value  # NaN, which a table has where there is none


def _padded(text: str) -> str:
    return re.sub(r"\d+", lambda digits: digits[0].zfill(9), text)
