"""What came of a claim: verdicts, what a study lacks for one, and differences in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tune_mnist.spec.training import FULLY_CONNECTED
from tune_mnist.tables.analyse import Tables
from tune_mnist.tables.cells import Cells, plain
from tune_mnist.tables.significance import LEVEL
from tune_mnist.tables.text import p_value, points

GRID = "experiments/report.toml"
Outcome = Literal["confirmed", "refuted", "undecided"]


class Lacking(Exception):
    """The studies lack something that a claim needs: what, and the command that supplies it."""

    def __init__(self, what: str, command: str) -> None:
        super().__init__(f"needs {what}")
        self.command = command


@dataclass(frozen=True)
class Part:
    """One statement of a claim: what came of it, and the numbers in words."""

    statement: str
    outcome: Outcome
    detail: str


@dataclass(frozen=True)
class Verdict:
    """What came of a claim. `numbers` are accuracies as shares and losses in nats; `cells` are those used."""

    claim: str
    text: str
    parts: tuple[Part, ...]
    numbers: Mapping[str, float] = field(default_factory=dict)
    cells: tuple[str, ...] = ()
    why: str = ""
    """Why we differ from the report, where we do, or what the reader must know of the agreement."""
    command: str = ""
    """What would supply evidence that is missing."""

    @property
    def verdict(self) -> Outcome:
        """Confirmed if every part is, refuted if any is."""
        outcomes = {part.outcome for part in self.parts}
        return "refuted" if "refuted" in outcomes else "undecided" if "undecided" in outcomes else "confirmed"


@dataclass(frozen=True)
class Evidence:
    """The study whose claims are judged, and others that may supply what it lacks, of its protocol first."""

    main: Tables
    others: tuple[Tables, ...] = ()

    def grid(self) -> Cells:
        """The main study's cells of the report's recipe and models."""
        return plain(self.main).where(model=list(FULLY_CONNECTED))

    def find(self, what: str, flags: str = GRID, **fixed: Any) -> Cells:
        """The first study's plain cells with these values, or `Lacking` with the grid's `flags` that train them."""
        for tables in (self.main, *self.others):
            cells = plain(tables).where(**fixed)
            if len(cells):
                return cells
        raise self.lacking(what, flags)

    def lacking(self, what: str, flags: str = GRID) -> Lacking:
        """That `what` is missing, and the command for it."""
        seeds = int(self.main.summary["seeds"].max())
        more = f" --protocol {self.main.protocol}" + (f" --seeds {seeds}" if seeds > 1 else "")
        return Lacking(what, f"python -m tune_mnist.grid {flags}{more}")


Claim = Callable[[Evidence], Verdict]
"""What judges a claim of the report. Its name is the claim's; its docstring is what the report says."""


def decide(difference: Mapping[str, Any]) -> Outcome:
    """Confirmed if a tested difference is above 0 beyond noise, refuted if it is below."""
    if not difference["p"] < LEVEL:
        return "undecided"
    return "confirmed" if difference["difference"] > 0 else "refuted"


def decided(statement: str, difference: Mapping[str, Any], more: str = "") -> Part:
    """A statement that holds if the tested difference is above 0."""
    return Part(statement, decide(difference), f"{in_words(difference)}{more}")


def in_words(difference: Mapping[str, Any]) -> str:
    """A tested difference in percentage points, with its interval and p, if it has them."""
    low, high = difference["ci_low"], difference["ci_high"]
    interval = "" if math.isnan(low) else f" [{points(low)}, {points(high)}]"
    p = "" if math.isnan(difference["p"]) else f", p {p_value(difference['p'])}"
    return f"{points(difference['difference'])} points{interval}{p}"


def verdict_of(claim: Claim, parts: Sequence[Part], used: Iterable[Cells] = (), **more: Any) -> Verdict:
    """The verdict on a claim, with the names of the cells it used, each once."""
    text = " ".join(str(claim.__doc__).split())
    names = dict.fromkeys(name for cells in used for name in cells.names())
    return Verdict(claim.__name__.upper(), text, tuple(parts), cells=tuple(names), **more)
