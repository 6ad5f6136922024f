"""What a setting may be: one value, a list of values or a range, as flags, TOML and Python spell it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tune_mnist.spec.errors import flag_of, require, require_distinct
from tune_mnist.spec.settings import Setting, number_or_text

WORDS = "words"
"""The key of a mapping that holds a flag's words, whose setting is not known yet."""


@dataclass(frozen=True)
class Range:
    """All numbers from `low` to `high`, both included."""

    low: float
    high: float

    def __post_init__(self) -> None:
        require(self.low <= self.high, "low <= high", f"{self.low}:{self.high}", "exchange them")

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low}:{self.high}"


Domain = Range | tuple[Any, ...]
"""A range, or the values to choose from, of which a single one is fixed."""


def domain_of(setting: Setting, given: Any) -> Domain:
    """The domain that one value, a list of values, a range, {low, high} or {words} means, every value checked.

    Raises:
        UserError: it is none, is empty, has a value twice, or one that the setting does not take.
    """
    change = f"change {flag_of(setting.name)}"
    if isinstance(given, Mapping):
        given = domain_of_words(setting, given[WORDS]) if given.keys() == {WORDS} else _range_of(setting, given)
    if isinstance(given, str) and setting.ranges and ":" in given:
        given = domain_of_words(setting, [given])
    if isinstance(given, Range):
        remedy = f"list its values: {change}"
        require(setting.ranges, f"{setting.name} is a list of values", given, remedy)
        low, high = setting.checked(given.low), setting.checked(given.high)
        return Range(low, high) if low < high else (low,)
    values = tuple(given) if isinstance(given, list | tuple) else (given,)
    require(len(values) > 0, f"{setting.name} has at least one value", "none", f"give {flag_of(setting.name)} a value")
    _refuse_grid_search(setting.name, given)
    checked = tuple(map(setting.checked, values))
    require_distinct(setting.name, checked)
    return checked


def domain_of_words(setting: Setting, words: list[str]) -> Domain:
    """The domain that a flag's words name: LOW:HIGH, or one or more values; none means true of a yes or no."""
    _refuse_grid_search(setting.name, " ".join(words))
    if setting.ranges and any(":" in word for word in words):
        bounds = [number_or_text(word) for word in words[0].split(":")]
        is_range = len(words) == 1 and len(bounds) == 2 and all(map(_is_number, bounds))
        require(is_range, "a range is LOW:HIGH alone", " ".join(words), "write 1e-4:1e-1, or list single values")
        return Range(*bounds)
    if setting.kind == "yes or no" and not words:
        return (True,)
    return tuple(map(setting.of_word, words))


def values_of(domain: Domain) -> tuple[Any, ...]:
    """The values of a domain, of a range its ends."""
    return (domain.low, domain.high) if isinstance(domain, Range) else domain


def words_of(domain: Any) -> list[str]:
    """A flag's words that name a domain."""
    values = domain if isinstance(domain, tuple) else (domain,)
    return [str(value).lower() if isinstance(value, bool) else str(value) for value in values]


def _range_of(setting: Setting, given: Mapping[str, Any]) -> Range:
    _refuse_grid_search(setting.name, given)
    is_range = given.keys() == {"low", "high"} and all(map(_is_number, given.values()))
    require(is_range, f"{setting.name} has a low and a high", dict(given), "write {low = 1e-4, high = 1e-1}")
    return Range(given["low"], given["high"])


def _refuse_grid_search(name: str, value: Any) -> None:
    remedy = "list the values, which python -m tune_mnist.grid takes every combination of"
    require("grid_search" not in str(value), "a space has no grid_search", f"{name} = {value}", remedy)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
