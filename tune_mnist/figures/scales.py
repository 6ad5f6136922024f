"""The scales of a search's figures: of an objective what tells good trials apart, of a setting its values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from tune_mnist.figures.canvas import percent_tick
from tune_mnist.spec.words.naming import full_name, ordered, value_text
from tune_mnist.tables.slices import floor


@dataclass(frozen=True)
class Goal:
    """An objective."""

    name: str
    maximize: bool

    @property
    def words(self) -> str:
        """What it is called."""
        return full_name(self.name).replace("val ", "validation ", 1)

    @property
    def is_share(self) -> bool:
        """Whether its values are shares, in [0, 1]."""
        return not self.name.endswith("loss") and self.name not in ("train_seconds", "parameters")

    def limits(self, values: pd.Series) -> tuple[float, float]:
        """The part of its scale that tells good trials apart, with a margin; the others would crush it."""
        known = values.dropna()
        sign = 1.0 if self.maximize else -1.0
        worst, best = sign * floor(sign * known, 0.2 if self.is_share else math.inf), sign * (sign * known).max()
        low, high = sorted((worst, best))
        margin = 0.06 * (high - low) or 0.01 * abs(high) or 0.01
        return low - margin, high + margin

    def tick(self, value: float, _: float = 0) -> str:
        """A value as a tick's label."""
        return percent_tick(value) if self.is_share else f"{value:g}"


@dataclass(frozen=True)
class Scale:
    """A setting's axis."""

    name: str
    log: bool = False
    choices: tuple[Any, ...] = ()
    """The values to choose from, in order; empty: a range."""

    def places(self, values: pd.Series) -> np.ndarray:
        """Where values are on the axis, float (n,), NaN for none."""
        if self.choices:
            order = ordered(self.name, self.choices)
            return np.array([order.index(value) if value in order else math.nan for value in values], float)
        numbers = values.astype(float).to_numpy()
        return np.log10(numbers) if self.log else numbers

    def set_ticks(self, axis: Any, places: np.ndarray) -> None:
        """Give an axis of `places` the setting's values as ticks, few enough not to lie over each other."""
        if self.choices:
            order = ordered(self.name, self.choices)
            axis.set_ticks(range(len(order)), [value_text(value) for value in order])
            return
        low, high = np.nanmin(places), np.nanmax(places)
        ticks = _log_ticks(low, high) if self.log else MaxNLocator(4).tick_values(low, high)
        ticks = [tick for tick in ticks if low - 1e-9 <= tick <= high + 1e-9]
        axis.set_ticks(ticks, [f"{10**tick if self.log else tick:.3g}" for tick in ticks])


def _log_ticks(low: float, high: float) -> list[float]:
    """Ticks, in powers of ten: whole ones, and between them 2 and 5 if there would be few."""
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        powers = range(math.floor(low), math.ceil(high) + 1)
        ticks = [power + math.log10(step) for power in powers for step in steps]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) > 1:
            return inside
    return [low, high]
