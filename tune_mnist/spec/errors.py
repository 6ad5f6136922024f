"""Bad input and damaged files, each told in one line."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


class UserError(ValueError):
    """Bad input, told in one line: the rule, the value, the remedy. Commands exit with its `status`, 2."""

    status = 2


class Damaged(UserWarning):
    """Says in one line which damaged file was set aside."""


def require(holds: bool, rule: str, value: object, remedy: str) -> None:
    """Raise `UserError` naming `rule`, the offending `value` and the `remedy`, unless `holds`."""
    if not holds:
        raise UserError(f"`{rule}` must hold, but got {value}: {remedy}")


def require_distinct(name: str, values: Sequence[object]) -> None:
    """Raise `UserError` naming the values of the setting `name` that are there more than once, if any are."""
    repeated = sorted({str(value) for value in values if values.count(value) > 1})
    remedy = f"drop the repeats from {flag_of(name)}"
    require(not repeated, f"{name} has no value twice", ", ".join(repeated), remedy)


def did_you_mean(word: str, known: Sequence[str], otherwise: str, *, ticks: str = "", cutoff: float = 0.6) -> str:
    """The remedy for a word that is none of those `known`: the nearest of them, between `ticks`, or `otherwise`."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=cutoff)
    return f"did you mean {ticks}{near[0]}{ticks}?" if near else otherwise


def flag_of(name: str) -> str:
    """The command-line flag that sets a field: --batch-size sets batch_size."""
    return "--" + name.replace("_", "-")
