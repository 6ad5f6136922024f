"""What a setting is: its name, type, default, limits, unit and words, said once where a dataclass has it as a field."""

from __future__ import annotations

import dataclasses
import functools
import math
import numbers
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from tune_mnist.spec.errors import UserError, did_you_mean, flag_of, require

T = TypeVar("T")
REQUIRED: Any = object()
"""The default of a setting that has none."""
OWN_FLAG = "MODEL.SETTING"
"""What stands on the command line for the settings of one model: --MLP.hidden sets them."""
Kind = Literal["number", "whole number", "yes or no", "choice", "text", "widths"]
"""What a setting's values are. Widths are whole numbers in a row, such as those of hidden layers: 256-128."""


@dataclass(frozen=True)
class Setting:
    """One thing that a training may be told: what it is called and means, and which values it takes."""

    name: str
    kind: Kind
    default: Any
    doc: str
    """What it means, in a sentence for --help."""
    least: float = -math.inf
    """The smallest value that will do."""
    above: float = -math.inf
    """A number that values must be above."""
    most: float = math.inf
    below: float = math.inf
    """A number that values must be below; infinity: any finite one will do."""
    choices: tuple[Any, ...] = ()
    unit: str = ""
    log: bool = False
    """Whether a range of it is drawn from log-uniformly, if its low is above 0."""
    ranges: bool = True
    """Whether a range of it makes sense."""
    source: str = ""
    """The paper or library that the method is from."""
    in_every_key: bool = False
    """Whether it enters a training's key even at its default: those that did before keys left defaults out."""
    needs: tuple[str, ...] = ()
    """The settings, declared before it, that say whether it means anything."""
    applies: Callable[[Mapping[str, Any]], bool] | None = None
    """Whether it means anything, given the values of those that it needs; None: always."""
    where: str = ""
    """When that is, in words."""

    def __post_init__(self) -> None:
        if self.kind in ("choice", "yes or no", "text", "widths"):
            object.__setattr__(self, "ranges", False)

    @property
    def help(self) -> str:
        """Its words for --help: what it means, its unit, its source and where it applies."""
        words = self.doc.rstrip(".") + (f", {self.unit}" if self.unit else "")
        words += f" ({self.source})" if self.source else ""
        return f"{words}; {self.where} only." if self.where else f"{words}."

    @functools.cached_property
    def rule(self) -> str:
        """Its limits as an inequality; empty if it has none."""
        low = f"{self.above:g} < " if self.above > -math.inf else ""
        low = f"{self.least:g} <= " if self.least > -math.inf else low
        high = f" < {self.below:g}" if low or self.below < math.inf else ""
        high = f" <= {self.most:g}" if self.most < math.inf else high
        if self.kind == "whole number" and low and self.below == self.most == math.inf:
            return f"{self.name} >= {self.least:g}"
        return f"{low}{self.name}{high}" if low or high else ""

    def checked(self, value: Any) -> Any:
        """`value` in the setting's own type, so that equal values are equal; `UserError` if it is none of its values.

        A bare whole number will do for widths, and a list of them.
        """
        if value is self.default:  # as nearly all are, in studies of many trainings
            return value
        change = f"change {flag_of(self.name)}"
        if self.kind in ("number", "whole number"):
            return self._number(value, change)
        if self.kind == "yes or no":
            require(isinstance(value, bool), f"{self.name} is true or false", repr(value), change)
        elif self.kind == "choice":
            return self._choice(value, change)
        elif self.kind == "widths":
            return self._widths(value, change)
        elif self.kind == "text":
            require(isinstance(value, str), f"{self.name} is a text", repr(value), change)
        return value

    def of_word(self, word: str) -> Any:
        """The value that a word of the command line stands for, not yet checked."""
        if self.kind == "yes or no":
            return {"true": True, "false": False, "yes": True, "no": False}.get(word.lower(), word)
        return number_or_text(word) if self.kind in ("number", "whole number") else word

    def _choice(self, value: Any, change: str) -> Any:
        if value in self.choices:
            return self.choices[self.choices.index(value)]  # the one that equals it: 1 for 1.0 and True, too
        known = list(map(str, self.choices))
        remedy = did_you_mean(str(value), known, change)
        return require(False, f"{self.name} is one of {', '.join(known)}", repr(value), remedy)

    def _number(self, value: Any, change: str) -> Any:
        whole = self.kind == "whole number"
        is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if isinstance(value, str) and isinstance(number_or_text(value), float | int):
            change = f"write {value} without quotes"
        rule = f"{self.name} is a {self.kind}"
        require(is_number and (not whole or value % 1 == 0), rule, repr(value), change)
        number = (int if whole else float)(value) + 0  # -0.0 becomes 0.0
        inside = self.least <= number <= self.most and self.above < number < self.below
        inside = inside and (not self.rule or math.isfinite(number))
        raised = f"raise {flag_of(self.name)}" if whole and number < self.least else change
        require(inside, self.rule, number, raised)
        return self.default if number == self.default else number  # the very object, known when it comes again

    def _widths(self, value: Any, change: str) -> str:
        parts = re.split("[-,x]", value) if isinstance(value, str) else value
        parts = parts if isinstance(parts, list | tuple) else [parts]
        words = [str(part).strip() for part in parts]
        right = bool(words) and all(re.fullmatch("[1-9][0-9]{0,5}", word) for word in words)
        require(right, f"{self.name} is whole numbers in a row, such as 256-128", repr(value), change)
        return "-".join(words)


def setting(default: T, doc: str, **more: Any) -> T:
    """A dataclass's field that is a setting: its default, what it means, and `more` of what a `Setting` has."""
    if default is REQUIRED:
        return dataclasses.field(metadata={"setting": {"doc": doc, **more}})  # type: ignore[no-any-return]
    return dataclasses.field(default=default, metadata={"setting": {"doc": doc, **more}})


def settings_of(cls: type) -> dict[str, Setting]:
    """The settings among a dataclass's fields, by name, in the order of their declaration."""
    hints = get_type_hints(cls)
    return {
        field.name: Setting(
            field.name, default=REQUIRED if field.default is dataclasses.MISSING else field.default,
            **kind_of(hints[field.name]), **field.metadata["setting"],
        )
        for field in dataclasses.fields(cls) if "setting" in field.metadata
    }


def coerce_fields(instance: Any) -> None:
    """Give a frozen dataclass's numbers their declared type, so that equal configs have equal keys.

    Raises:
        UserError: a number that is none or is not whole, or a value that is none of the declared choices.
    """
    for name, checked in _checks(instance.__class__):
        value = getattr(instance, name)
        coerced = checked(value)
        if coerced is not value:
            object.__setattr__(instance, name, coerced)


@functools.cache  # they take most of a millisecond, and studies have many configs
def _checks(cls: type) -> list[tuple[str, Callable[[Any], Any]]]:
    """Of each field of a dataclass whose value is checked: its name, and what checks a value and gives it its type."""
    hints, settings = get_type_hints(cls), settings_of(cls)
    names = [field.name for field in dataclasses.fields(cls)]
    return [
        (name, settings[name].checked if name in settings else functools.partial(_coerced, name, hints[name]))
        for name in names if name in settings or hints[name] not in (Any, str)  # these types take any value
    ]


def _coerced(name: str, hint: Any, value: Any) -> Any:
    kinds = get_args(hint)
    if kinds[1:] == (type(None),):  # X | None
        return None if value is None else _coerced(name, kinds[0], value)
    if kinds == (int, str):  # a number or a word
        return value if isinstance(value, str) else _coerced(name, int, value)
    if get_origin(hint) is Literal:
        require(value in kinds, f"{name} is one of {', '.join(kinds)}", repr(value), f"change {flag_of(name)}")
    elif hint is Path:
        return Path(value)
    elif get_origin(hint) is tuple:
        return tuple(_coerced(name, kinds[0], item) for item in value)
    elif hint in (int, float):
        rule = f"{name} is a {'whole ' if hint is int else ''}number"
        is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        require(is_number and (hint is float or value % 1 == 0), rule, repr(value), f"change {flag_of(name)}")
        return hint(value) + 0  # -0.0 becomes 0.0
    return value


def kind_of(hint: Any) -> dict[str, Any]:
    """The kind, and the choices, of a setting whose field has this type."""
    if get_origin(hint) is Literal:
        return {"kind": "choice", "choices": get_args(hint)}
    return {"kind": {float: "number", int: "whole number", bool: "yes or no", str: "widths"}[hint]}


def unknown_setting(name: str, known: Sequence[str], where: str) -> UserError:
    """That `where` has no setting of this name, with the nearest one that it has, or all of them."""
    remedy = did_you_mean(name, known, f"known are {', '.join(known) or 'none'}", ticks="`")
    return UserError(f"{where} has no setting `{name}`: {remedy}")


def number_or_text(word: str) -> Any:
    """The number that a word spells, else the word."""
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word
