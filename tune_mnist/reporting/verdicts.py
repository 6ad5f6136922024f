"""What came of a claim: verdicts, what a study lacks for one, and differences in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tune_mnist.spec.training import FULLY_CONNECTED
from tune_mnist.tables.analyse import Tables
from tune_mnist.tables.cells import Cells, plain
from tune_mnist.tables.significance import LEVEL
from tune_mnist.tables.text import p_value

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

    def find(self, what: str, flags: str, **fixed: Any) -> Cells:
        """The first study's plain cells with these values, or `Lacking` with the grid's `flags` that train them."""
        for tables in (self.main, *self.others):
            cells = plain(tables).where(**fixed)
            if len(cells):
                return cells
        raise self.lacking(what, flags)

    def lacking(self, what: str, flags: str) -> Lacking:
        """That `what` is missing, and the command for it."""
        seeds = int(self.main.summary["seeds"].max())
        more = f" --protocol {self.main.protocol}" + (f" --seeds {seeds}" if seeds > 1 else "")
        return Lacking(what, f"python -m tune_mnist.grid {flags}{more}")


def decide(found: Mapping[str, Any]) -> Outcome:
    """Confirmed if a difference is above 0 beyond noise, refuted if it is below."""
    if not found["p"] < LEVEL:
        return "undecided"
    return "confirmed" if found["difference"] > 0 else "refuted"


def part(statement: str, found: Mapping[str, Any], more: str = "") -> Part:
    """A statement that holds if the difference `found` is above 0."""
    return Part(statement, decide(found), f"{points(found)}{more}")


def points(found: Mapping[str, Any]) -> str:
    """A difference in percentage points, with its interval and p."""
    interval = "" if math.isnan(found["ci_low"]) else f" [{100 * found['ci_low']:+.2f}, {100 * found['ci_high']:+.2f}]"
    p = "" if math.isnan(found["p"]) else f", p {p_value(found['p'])}"
    return f"{100 * found['difference']:+.2f} points{interval}{p}"


def verdict_of(claim: str, text: str, parts: Sequence[Part], used: Iterable[Cells], **more: Any) -> Verdict:
    """A verdict with the names of the cells it used, each once."""
    names = dict.fromkeys(name for cells in used for name in cells.names())
    return Verdict(claim, text, tuple(parts), cells=tuple(names), **more)
