"""The report's claims about learning rates, batch sizes and epochs: C1 to C7."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd

from tune_mnist.reporting.verdicts import Evidence, Outcome, Part, Verdict, decide, part, points, verdict_of
from tune_mnist.spec.training import FULLY_CONNECTED, PREFIX
from tune_mnist.tables.analyse import Tables
from tune_mnist.tables.cells import Cells, contrast, plain_epochs, versus
from tune_mnist.tables.significance import LEVEL, Noise, paired_t
from tune_mnist.tables.text import cell_name, percent

GRID = "experiments/report.toml"
BAR = 0.95  # C1's accuracy; C2 takes it as having converged
CHANCE = 0.2  # an accuracy below this is a guess


def c1(evidence: Evidence) -> Verdict:
    """At lr 1e-4 every model passes 95%: its best cell's interval lies above."""
    parts, used, numbers = [], [], {}
    for model in FULLY_CONNECTED:
        cells = evidence.find(f"{model} at lr 0.0001", GRID, model=model, lr=1e-4)
        best = cells.first()
        outcome: Outcome = "undecided"
        if best["ci_low"] > BAR or best["ci_high"] < BAR:
            outcome = "confirmed" if best["ci_low"] > BAR else "refuted"
        where = f"batch {best['batch_size']}, {best['epochs']} epochs"
        passing = int((cells.rows["mean"] > BAR).sum())
        detail = f"{percent(best['mean'])} at {where}; {passing} of its {len(cells)} cells there pass"
        parts.append(Part(f"{model} passes 95%", outcome, detail))
        used.append(best)
        numbers[model] = best["mean"]
    text = "At learning rate 0.0001 every model passes 95%."
    why = "Passing is read as: the best cell at this rate does, its interval included."
    return verdict_of("C1", text, parts, used, numbers=numbers, why=why)


def c2(evidence: Evidence) -> Verdict:
    """lr 0.01 and 0.1 oscillate and fail to converge; at 0.1 more epochs do not help."""
    grid = evidence.grid()
    for lr in (1e-4, 1e-2, 1e-1):
        if not len(grid.where(lr=lr)):
            raise evidence.lacking(f"lr {lr:g}", GRID)
    moves = restlessness(evidence.main)
    parts: list[Part] = []
    numbers: dict[str, float] = {}
    for lr in (1e-2, 1e-1):
        found = _over_trainings((moves[lr] - moves[1e-4]).dropna().to_numpy())
        detail = f"{percent(moves[lr].mean())} from epoch to epoch, against {percent(moves[1e-4].mean())} at 0.0001"
        last = _longest(grid.where(lr=lr))
        low = int((last.rows["mean"] < BAR).sum())
        ends = f"{low} of {len(last)} end under 95%, the best at {percent(last['mean'])}"
        parts.append(Part(f"{lr:g} oscillates", decide(found), detail))
        parts.append(Part(f"{lr:g} fails to converge", "confirmed" if low == len(last) else "refuted", ends))
        numbers |= {f"change per epoch at {lr:g}": float(moves[lr].mean()), f"best end at {lr:g}": last["mean"]}
    parts.append(_no_gain(grid.where(lr=1e-1)))
    last = _longest(grid.where(lr=1e-1))
    lost = int((last.rows["mean"] < CHANCE).sum())
    why = (
        "Oscillation is the mean change of accuracy between successive epochs of the later half; having converged is "
        f"C1's 95% after the most epochs. At 0.1, {lost} of {len(last)} end under {100 * CHANCE:g}%, where guessing "
        "gives 10%: that is no oscillation around an optimum but nothing learnt."
    )
    text = "Learning rates 0.01 and 0.1 oscillate and fail to converge, and at 0.1 more epochs do not help."
    used = [_longest(grid.where(lr=lr)).first() for lr in (1e-2, 1e-1)]
    return verdict_of("C2", text, parts, used, numbers=numbers, why=why)


def restlessness(tables: Tables) -> pd.DataFrame:
    """Mean absolute change of accuracy between successive epochs of the later half of each training.

    Returns a row per fully connected model, batch size and seed, a column per lr, of the report's recipe only.
    """
    accuracy, training = f"{PREFIX[tables.protocol]}_accuracy", ["model", "batch_size", "seed", "lr"]
    rows = plain_epochs(tables)
    rows = rows[rows["model"].isin(FULLY_CONNECTED)].sort_values([*training, "epoch"])
    moves = rows.groupby(training)[accuracy].diff().abs()
    late = rows["epoch"] > rows.groupby(training)["epoch"].transform("max") / 2
    return moves[late].groupby([rows[name] for name in training]).mean().unstack("lr")


def _no_gain(cells: Cells) -> Part:
    """Whether the largest budget is no better than the smallest: under 1 point, by the interval over trainings."""
    by = [name for name in cells.tables.cell_columns if name != "epochs"]
    means = cells.rows.sort_values("epochs").groupby(by, dropna=False)["mean"]
    found = _over_trainings((means.last() - means.first()).to_numpy())
    outcome: Outcome = "refuted" if found["ci_low"] > 0 else "confirmed" if found["ci_high"] < 0.01 else "undecided"
    least, most = cells.rows["epochs"].min(), cells.rows["epochs"].max()
    detail = f"from {least} to {most} epochs {points(found)}"
    return Part("at 0.1 more epochs do not help", outcome, detail)


def _over_trainings(values: np.ndarray) -> dict[str, float]:
    """t test over trainings that their differences have mean 0; undecided for fewer than two."""
    if len(values) > 1:
        return paired_t(values, Noise())
    return {"difference": float(np.mean(values)), "ci_low": math.nan, "ci_high": math.nan, "p": math.nan}


def _longest(cells: Cells) -> Cells:
    return cells.where(epochs=cells.rows["epochs"].max())


def c3(evidence: Evidence) -> Verdict:
    """At lr 0.001, batch 32, SimpleNN and MediumNN rise with epochs while ComplexNN rises, then falls."""
    parts: list[Part] = []
    used: list[Cells] = []
    for model in FULLY_CONNECTED:
        what = f"{model} at lr 0.001 and batch 32"
        cells = evidence.find(what, GRID, model=model, lr=1e-3, batch_size=32)
        ordered = [cells.where(epochs=epochs) for epochs in sorted(cells.rows["epochs"])]
        path = " → ".join(percent(cell["mean"]) for cell in ordered)
        parts.append(_rise_and_fall(cells, ordered, path) if model == "ComplexNN" else _rise(model, ordered, path))
        used += ordered
    text = (
        "At learning rate 0.001 and batch 32, SimpleNN and MediumNN rise steadily with the epochs, while ComplexNN "
        "rises, then falls."
    )
    why = "A step down within noise is neither a steady rise nor a fall; only more seeds can tell."
    return verdict_of("C3", text, parts, used, why=why)


def _rise(model: str, ordered: list[Cells], path: str) -> Part:
    statement = f"{model} rises steadily"
    if len(ordered) < 2:
        return Part(statement, "undecided", f"{path}: one budget only")
    steps = [versus(after, before) for before, after in itertools.pairwise(ordered)]
    whole = versus(ordered[-1], ordered[0])
    downs = [step for step in steps if step["difference"] < 0]
    if any(step["p"] * len(steps) < LEVEL for step in downs):
        return Part(statement, "refuted", f"{path}: a step down beyond noise")
    more = f"; {len(downs)} of {len(steps)} steps down, within noise" if downs else ""
    return Part(statement, "undecided" if downs else decide(whole), f"{path}: in all {points(whole)}{more}")


def _rise_and_fall(cells: Cells, ordered: list[Cells], path: str) -> Part:
    statement, best, last = "ComplexNN rises, then falls", cells.first(), ordered[-1]
    if best["epochs"] == last["epochs"]:
        return Part(statement, "refuted" if len(ordered) > 1 else "undecided", f"{path}: it ends at its best")
    found = versus(last, best)
    fell: Outcome = "confirmed" if decide(found) == "refuted" else "undecided"
    return Part(statement, fell, f"{path}: from {best['epochs']} to {last['epochs']} epochs {points(found)}")


def c4(evidence: Evidence) -> Verdict:
    """At lr 1e-4 batches 16 and 32 beat 64 and 128, the more so for ComplexNN."""
    pairs = {model: _by_batch(evidence, model, 1e-4) for model in FULLY_CONNECTED}
    gains = {model: contrast(*pair) for model, pair in pairs.items()}
    parts, shrinking = [], []
    for model, (small, large) in pairs.items():
        budgets = sorted({*small.rows["epochs"]} & {*large.rows["epochs"]})
        ends = [contrast(small.where(epochs=e), large.where(epochs=e))["difference"] for e in (budgets[0], budgets[-1])]
        more = f"; {100 * ends[0]:+.2f} after {budgets[0]} epochs, {100 * ends[1]:+.2f} after {budgets[-1]}"
        parts.append(part(f"{model} gains by small batches", gains[model], more))
        shrinking += [model] if ends[1] < ends[0] else []
    parts.append(_more_so(gains["ComplexNN"], [gains[model] for model in FULLY_CONNECTED[:2]]))
    why = (
        "At 0.0001 a network is short of steps, and a small batch takes more of them per epoch. With more epochs the "
        f"gain shrinks for {' and '.join(shrinking) or 'no model'}; the model that is furthest from done gains most."
    )
    text = "At learning rate 0.0001, batches 16 and 32 beat 64 and 128, the more so for ComplexNN."
    used = [cells for pair in pairs.values() for cells in pair]
    return verdict_of("C4", text, parts, used, numbers=_differences(gains), why=why)


def _more_so(gain: dict[str, float], others: list[dict[str, float]]) -> Part:
    """Whether a gain is above the others' mean, by the intervals' half widths added in quadrature."""
    difference = gain["difference"] - float(np.mean([other["difference"] for other in others]))
    own, *rest = ((one["ci_high"] - one["ci_low"]) / 2 for one in (gain, *others))
    half = math.hypot(own, *(width / len(rest) for width in rest))
    outcome: Outcome = "undecided"
    if abs(difference) > half:
        outcome = "confirmed" if difference > 0 else "refuted"
    return Part("the more so for ComplexNN", outcome, f"{100 * difference:+.2f} ± {100 * half:.2f} points more")


def c5(evidence: Evidence) -> Verdict:
    """At lr 0.001 larger batches lower SimpleNN and MediumNN slightly and raise ComplexNN."""
    pairs = {model: _by_batch(evidence, model, 1e-3) for model in FULLY_CONNECTED}
    effects = {model: contrast(large, small) for model, (small, large) in pairs.items()}
    parts = [part("ComplexNN gains by large batches", effects["ComplexNN"])]
    for model in FULLY_CONNECTED[1::-1]:
        lost = Part(f"{model} loses by large batches", _opposite(decide(effects[model])), points(effects[model]))
        parts.insert(0, lost)
    text = "At learning rate 0.001, larger batches lower SimpleNN and MediumNN slightly and raise ComplexNN."
    why = "Each number is the mean of batches 64 and 128 less that of 16 and 32, over all epoch budgets."
    used = [cells for pair in pairs.values() for cells in pair]
    return verdict_of("C5", text, parts, used, numbers=_differences(effects), why=why)


def _by_batch(evidence: Evidence, model: str, lr: float) -> tuple[Cells, Cells]:
    """A model's cells at `lr` of batches 16 and 32, and of 64 and 128, whatever the epochs."""
    what = f"{model} at lr {lr:g} and batches of 16 or 32 and of 64 or 128"
    cells = evidence.find(what, GRID, model=model, lr=lr)
    small, large = cells.where(batch_size=[16, 32]), cells.where(batch_size=[64, 128])
    if not (len(small) and len(large) and {*small.rows["epochs"]} & {*large.rows["epochs"]}):
        raise evidence.lacking(what, GRID)
    return small, large


def _opposite(outcome: Outcome) -> Outcome:
    swapped: dict[Outcome, Outcome] = {"confirmed": "refuted", "refuted": "confirmed", "undecided": "undecided"}
    return swapped[outcome]


def _differences(found: dict[str, dict[str, float]]) -> dict[str, float]:
    return {name: one["difference"] for name, one in found.items()}


def c6(evidence: Evidence) -> Verdict:
    """Every fully connected model is best at lr 1e-4 with batch 16 or 32."""
    parts: list[Part] = []
    used: list[Cells] = []
    for model in FULLY_CONNECTED:
        cells = evidence.find(f"{model} at lr 0.0001 and others", GRID, model=model)
        claimed = cells.where(lr=1e-4, batch_size=[16, 32])
        others = cells.without(claimed)
        if not (len(claimed) and len(others)):
            raise evidence.lacking(f"{model} at lr 0.0001 with batch 16 or 32, and at others", GRID)
        parts.append(_best_there(f"{model} is best there", claimed.first(), others.first()))
        used += [claimed.first(), others.first()]
    text = "SimpleNN and MediumNN are best at learning rate 0.0001 with batch 16 or 32, and ComplexNN peaks there too."
    return verdict_of("C6", text, parts, used, why=_near_equals(evidence))


def c7(evidence: Evidence) -> Verdict:
    """The best cell of all is MediumNN, lr 1e-4, batch 16, 15 epochs."""
    cell: dict[str, Any] = {"model": "MediumNN", "lr": 1e-4, "batch_size": 16, "epochs": 15}
    grid = evidence.grid()
    claimed = grid.where(**cell)
    others = grid.without(claimed)
    if not (len(claimed) and len(others)):
        raise evidence.lacking(f"the cell {cell_name(cell)} and others", GRID)
    place = int((others.rows["mean"] > claimed["mean"]).sum()) + 1
    best = _best_there(f"it is the best: ours places it {place}. of {len(grid)}", claimed, others.first())
    text = "The best cell of all is MediumNN, learning rate 0.0001, batch 16, 15 epochs."
    numbers = {"claimed": claimed["mean"], "best other": others["mean"], "place": float(place)}
    return verdict_of("C7", text, [best], [claimed, others.first()], numbers=numbers, why=_near_equals(evidence))


def _near_equals(evidence: Evidence) -> str:
    ties = max(0, len(evidence.main.top3) - 3)
    return (
        f"One run of each cell, as the report had, picks one of several near equals: here {ties} more cells are not "
        "distinguishable from the third best."
    )


def _best_there(statement: str, claimed: Cells, other: Cells) -> Part:
    found = versus(claimed, other)
    names = f"{percent(claimed['mean'])} against {percent(other['mean'])} of {cell_name(other.rows.iloc[0])}"
    return Part(statement, decide(found), f"{names}: {points(found)}")
