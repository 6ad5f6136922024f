"""What came of a claim: verdicts, the p-values they rest on, and what a study lacks for one."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from tune_mnist.spec.training import FULLY_CONNECTED, Protocol
from tune_mnist.tables.analyse import Tables
from tune_mnist.tables.cells import Cells, best_p_of, plain
from tune_mnist.tables.statistics.difference import LEVEL, Difference
from tune_mnist.tables.statistics.leaders import seeds_needed
from tune_mnist.tables.text import p_value, percent, points

GRID = "experiments/report.toml"
Outcome = Literal["confirmed", "refuted", "undecided"]
Column = Literal["as_reported", "set_right"]
PROTOCOLS: dict[Column, Protocol] = {"as_reported": "report", "set_right": "holdout"}
HEADS: dict[Column, str] = {"as_reported": "softmax", "set_right": "logits"}
TITLES: dict[Column, str] = {"as_reported": "as the report did it", "set_right": "set right"}
ABOUT = (
    "Each claim is judged twice, each time by studies of that kind alone. As the report did it: softmax outputs under "
    "a cross entropy that applies softmax again, trained on all training pictures, chosen and measured on the test "
    "set. Set right: logits, trained on five sixths of them, measured on the sixth held out."
)
RULE = (
    "Every part names the test that decides it, over seeds. A part is confirmed where its p is under 0.05, and refuted "
    "where the p of its contrary, times the number of the claim's parts (Bonferroni), is. A claim is confirmed if all "
    "its parts are, refuted if any is, and otherwise undecided, as is everything with one seed; so a verdict is wrong "
    "in at most 5% of studies."
)


class Lacking(Exception):
    """The studies lack something that a claim needs: what, and the command that supplies it."""

    def __init__(self, what: str, command: str) -> None:
        super().__init__(f"needs {what}")
        self.command = command


class Weight(NamedTuple):
    """What evidence weighs: p of what is seen if a statement is false, and p if it is true."""

    if_false: float
    if_true: float


UNKNOWN = Weight(1.0, 1.0)


def above(difference: Difference, bar: float = 0.0) -> Weight:
    """The weight of the statement that a difference is above the bar."""
    p = difference.p(bar)
    if math.isnan(p):
        return UNKNOWN
    return Weight(p, 1.0) if difference.value > bar else Weight(1.0, p)


def contrary(weight: Weight) -> Weight:
    """The weight of a statement's contrary."""
    return Weight(weight.if_true, weight.if_false)


def all_of(weights: Sequence[Weight]) -> Weight:
    """The weight of all statements together: the weakest for it (intersection-union), Bonferroni against it."""
    return Weight(max(w.if_false for w in weights), min(1.0, len(weights) * min(w.if_true for w in weights)))


def any_of(weights: Sequence[Weight]) -> Weight:
    """The weight of at least one of the statements."""
    return contrary(all_of([contrary(weight) for weight in weights]))


class Statement(NamedTuple):
    """One statement of a claim, not yet judged: its weight, the test that gave it, and the numbers in words."""

    text: str
    weight: Weight
    test: str
    detail: str


@dataclass(frozen=True)
class Part:
    """One statement of a claim: what came of it, by which test, and the numbers in words."""

    statement: str
    outcome: Outcome
    detail: str
    test: str = ""


@dataclass(frozen=True)
class Verdict:
    """What came of a claim. `numbers` are accuracies as shares and losses in nats; `cells` are those used."""

    parts: tuple[Part, ...]
    numbers: Mapping[str, float] = field(default_factory=dict)
    cells: tuple[str, ...] = ()
    why: str = ""
    """What the reader must know of it."""
    command: str = ""
    """What would supply evidence that is missing."""
    judged: bool = True
    """Whether the studies hold the cells to judge it by."""

    @property
    def verdict(self) -> Outcome:
        """Confirmed if every part is, refuted if any is."""
        outcomes = {part.outcome for part in self.parts}
        return "refuted" if "refuted" in outcomes else "undecided" if "undecided" in outcomes else "confirmed"


@dataclass(frozen=True)
class Evidence:
    """The studies of one column, on the same pictures, the one that counts most first."""

    column: Column
    studies: tuple[Tables, ...]

    def grid(self) -> Cells:
        """The plain fully connected cells of the study that has most of them, and among them several models at the
        learning rate that the report found best."""
        grids = [self._cells(tables, model=list(FULLY_CONNECTED)) for tables in self.studies]
        grids = [cells for cells in grids if cells.where(lr=1e-4).rows["model"].nunique() > 1]
        if not grids:
            raise self.lacking("the report's grid")
        return max(grids, key=len)

    def find(self, what: str, flags: str = GRID, **fixed: Any) -> Cells:
        """The first study's plain cells with these values, or `Lacking` with the grid's `flags` that train them."""
        for tables in self.studies:
            cells = self._cells(tables, **fixed)
            if len(cells):
                return cells
        raise self.lacking(what, flags)

    def head_of(self, model: str) -> str:
        """What a model ends in: the CNN's loss falls below the softmax floor in the report too, so it has logits."""
        return HEADS[self.column] if model in FULLY_CONNECTED else "logits"

    def lacking(self, what: str, flags: str = GRID) -> Lacking:
        """That `what` is missing, and the command for it."""
        protocol = PROTOCOLS[self.column]
        seeds = max([3, *(int(tables.summary["seeds"].max()) for tables in self.studies)])
        name = "" if "--name" in flags else f" --name {protocol}"
        return Lacking(what, f"python -m tune_mnist.grid {flags} --protocol {protocol} --seeds {seeds}{name}")

    def _cells(self, tables: Tables, **fixed: Any) -> Cells:
        cells = plain(tables).where(**fixed)
        heads = cells.rows["head"] if "head" in cells.rows else tables.settings.get("head")
        return Cells(tables, cells.rows[cells.rows["model"].map(self.head_of) == heads])


Claim = Callable[[Evidence], Verdict]
"""What judges a claim of the report. Its name is the claim's; its docstring is what the report says."""


def in_words(difference: Difference, bar: float = 0.0) -> str:
    """A difference in percentage points, with its interval and the p that it is the bar, if it can be tested."""
    if math.isnan(difference.error):
        return f"{points(difference.value)} points, of one seed"
    low, high = difference.interval()
    return f"{points(difference.value)} points [{points(low)}, {points(high)}], p {p_value(difference.p(bar))}"


def tested(text: str, difference: Difference, more: str = "") -> Statement:
    """The statement that a difference is above 0."""
    more += seeds_in_words([difference])
    return Statement(text, above(difference), difference.test, f"{in_words(difference)}{more}")


def seeds_in_words(differences: Sequence[Difference], bar: float = 0.0) -> str:
    """How many times as many seeds would tell those differences from the bar that are not told; nothing if all are."""
    times = [each.times_the_seeds(bar) for each in differences if each.p(bar) > LEVEL]
    if not times:
        return ""
    most = max(2.0, *times)
    return f"; {f'{most:.0f}' if most < 100 else 'over 100'} times as many seeds would tell, were that the truth"


def leads(text: str, claimed: Cells, others: Cells, *, compared: Collection[str] = ()) -> Statement:
    """The statement that the best of all is among the claimed: whether any other may be it, and any of them."""
    ours, theirs = best_p_of([claimed, others], compared=compared)
    both = f"{percent(claimed['mean'])} against {percent(others['mean'])} of {others.names()[0]}"
    test = f"comparisons of {len(claimed) + len(others)} cells with the best (Hsu 1984), with Bonferroni's correction"
    if np.isnan(ours).any():
        return Statement(text, UNKNOWN, test, f"{both}, of one seed")
    counts = f"{int((ours > LEVEL).sum())} of the claimed and {int((theirs > LEVEL).sum())} others may be the best"
    weight = Weight(float(theirs.max()), float(ours.max()))
    if min(weight) > LEVEL:
        best, other = sorted((claimed["mean"], others["mean"]), reverse=True)
        needed = seeds_needed(best - other, 1 - best, claimed.tables.noise, cells=len(claimed) + len(others))
        seeds = f"about {needed}" if needed else "over 1,000"
        counts += f"; {seeds} seeds of each would tell the two best apart, were that the truth"
    return Statement(text, weight, test, f"{both}; {counts}")


def verdict_of(statements: Sequence[Statement], used: Iterable[Cells] = (), **more: Any) -> Verdict:
    """The verdict on a claim that consists of these statements, with the names of the cells it used, each once."""
    parts = [
        Part(each.text, _outcome(each.weight, len(statements)), each.detail, each.test) for each in statements
    ]
    names = dict.fromkeys(name for cells in used for name in cells.names())
    return Verdict(tuple(parts), cells=tuple(names), **more)


def _outcome(weight: Weight, parts: int) -> Outcome:
    if weight.if_false < LEVEL:
        return "confirmed"
    return "refuted" if weight.if_true * parts < LEVEL else "undecided"
