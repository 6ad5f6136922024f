"""The report's claims about learning rates, batch sizes and epochs: C1 to C7."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from tune_mnist.reporting.verdicts import Evidence, Outcome, Part, Verdict, decide, decided, in_words, verdict_of
from tune_mnist.spec.training import FULLY_CONNECTED, PREFIX
from tune_mnist.tables.analyse import Tables
from tune_mnist.tables.cells import Cells, contrast, plain_epochs, versus
from tune_mnist.tables.significance import LEVEL, Noise, paired_t, untested
from tune_mnist.tables.text import cell_name, percent, points

BAR = 0.95  # C1's accuracy; C2 takes it as having converged
CHANCE = 0.2  # an accuracy below this is a guess


def c1(evidence: Evidence) -> Verdict:
    """At learning rate 0.0001 every model passes 95%."""
    parts = []
    used = []
    numbers = {}
    for model in FULLY_CONNECTED:
        cells = evidence.find(f"{model} at lr 0.0001", model=model, lr=1e-4)
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
    why = "Passing is read as: the best cell at this rate does, its interval included."
    return verdict_of(c1, parts, used, numbers=numbers, why=why)


def c2(evidence: Evidence) -> Verdict:
    """Learning rates 0.01 and 0.1 oscillate and fail to converge, and at 0.1 more epochs do not help."""
    grid = evidence.grid()
    for lr in (1e-4, 1e-2, 1e-1):
        if not len(grid.where(lr=lr)):
            raise evidence.lacking(f"lr {lr:g}")
    moves = restlessness(evidence.main)
    longest = {lr: _longest(grid.where(lr=lr)) for lr in (1e-2, 1e-1)}
    parts: list[Part] = []
    numbers: dict[str, float] = {}
    for lr, cells in longest.items():
        added = _over_trainings((moves[lr] - moves[1e-4]).dropna().to_numpy())
        detail = f"{percent(moves[lr].mean())} from epoch to epoch, against {percent(moves[1e-4].mean())} at 0.0001"
        parts.append(Part(f"{lr:g} oscillates", decide(added), detail))
        low = int((cells.rows["mean"] < BAR).sum())
        outcome: Outcome = "confirmed" if low == len(cells) else "refuted"
        detail = f"{low} of {len(cells)} end under 95%, the best at {percent(cells['mean'])}"
        parts.append(Part(f"{lr:g} fails to converge", outcome, detail))
        numbers[f"change per epoch at {lr:g}"] = float(moves[lr].mean())
        numbers[f"best end at {lr:g}"] = cells["mean"]
    parts.append(_no_gain(grid.where(lr=1e-1)))
    last = longest[1e-1]
    guessing = int((last.rows["mean"] < CHANCE).sum())
    why = (
        "Oscillation is the mean change of accuracy between successive epochs of the later half; having converged is "
        f"C1's 95% after the most epochs. At 0.1, {guessing} of {len(last)} end under {100 * CHANCE:g}%, where "
        "guessing gives 10%: that is no oscillation around an optimum but nothing learnt."
    )
    used = [cells.first() for cells in longest.values()]
    return verdict_of(c2, parts, used, numbers=numbers, why=why)


def restlessness(tables: Tables) -> pd.DataFrame:
    """Mean absolute change of accuracy between successive epochs of the later half of each training.

    Returns a row per fully connected model, batch size and seed, a column per lr, of the report's recipe only.
    """
    accuracy = f"{PREFIX[tables.protocol]}_accuracy"
    training = ["model", "batch_size", "seed", "lr"]
    rows = plain_epochs(tables)
    rows = rows[rows["model"].isin(FULLY_CONNECTED)].sort_values([*training, "epoch"])
    moves = rows.groupby(training)[accuracy].diff().abs()
    late = rows["epoch"] > rows.groupby(training)["epoch"].transform("max") / 2
    return moves[late].groupby([rows[name] for name in training]).mean().unstack("lr")


def _no_gain(cells: Cells) -> Part:
    """Whether the largest budget is no better than the smallest: under 1 point, by the interval over trainings."""
    by = [name for name in cells.tables.cell_columns if name != "epochs"]
    means = cells.rows.sort_values("epochs").groupby(by, dropna=False)["mean"]
    gain = _over_trainings((means.last() - means.first()).to_numpy())
    outcome: Outcome = "refuted" if gain["ci_low"] > 0 else "confirmed" if gain["ci_high"] < 0.01 else "undecided"
    least, most = cells.rows["epochs"].min(), cells.rows["epochs"].max()
    detail = f"from {least} to {most} epochs {in_words(gain)}"
    return Part("at 0.1 more epochs do not help", outcome, detail)


def _over_trainings(values: np.ndarray) -> dict[str, float]:
    """t test over trainings that their differences have mean 0; undecided for fewer than two."""
    return paired_t(values, Noise()) if len(values) > 1 else untested(float(np.mean(values)))


def _longest(cells: Cells) -> Cells:
    return cells.where(epochs=cells.rows["epochs"].max())


def c3(evidence: Evidence) -> Verdict:
    """At learning rate 0.001 and batch 32, SimpleNN and MediumNN rise steadily with the epochs, while ComplexNN rises,
    then falls."""
    parts: list[Part] = []
    used: list[Cells] = []
    for model in FULLY_CONNECTED:
        what = f"{model} at lr 0.001 and batch 32"
        cells = evidence.find(what, model=model, lr=1e-3, batch_size=32)
        ordered = [cells.where(epochs=epochs) for epochs in sorted(cells.rows["epochs"])]
        path = " → ".join(percent(cell["mean"]) for cell in ordered)
        parts.append(_rise_and_fall(cells, ordered, path) if model == "ComplexNN" else _rise(model, ordered, path))
        used += ordered
    why = "A step down within noise is neither a steady rise nor a fall; only more seeds can tell."
    return verdict_of(c3, parts, used, why=why)


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
    return Part(statement, "undecided" if downs else decide(whole), f"{path}: in all {in_words(whole)}{more}")


def _rise_and_fall(cells: Cells, ordered: list[Cells], path: str) -> Part:
    statement = "ComplexNN rises, then falls"
    best, last = cells.first(), ordered[-1]
    if best["epochs"] == last["epochs"]:
        return Part(statement, "refuted" if len(ordered) > 1 else "undecided", f"{path}: it ends at its best")
    change = versus(last, best)
    fell: Outcome = "confirmed" if decide(change) == "refuted" else "undecided"
    return Part(statement, fell, f"{path}: from {best['epochs']} to {last['epochs']} epochs {in_words(change)}")


def c4(evidence: Evidence) -> Verdict:
    """At learning rate 0.0001, batches 16 and 32 beat 64 and 128, the more so for ComplexNN."""
    pairs = {model: _by_batch(evidence, model, 1e-4) for model in FULLY_CONNECTED}
    gains = {model: contrast(*pair) for model, pair in pairs.items()}
    parts = []
    shrinking = []
    for model, (small, large) in pairs.items():
        budgets = sorted({*small.rows["epochs"]} & {*large.rows["epochs"]})
        least, most = budgets[0], budgets[-1]
        early = contrast(small.where(epochs=least), large.where(epochs=least))["difference"]
        late = contrast(small.where(epochs=most), large.where(epochs=most))["difference"]
        more = f"; {points(early)} after {least} epochs, {points(late)} after {most}"
        parts.append(decided(f"{model} gains by small batches", gains[model], more))
        if late < early:
            shrinking.append(model)
    parts.append(_more_so(gains["ComplexNN"], [gains[model] for model in FULLY_CONNECTED[:2]]))
    why = (
        "At 0.0001 a network is short of steps, and a small batch takes more of them per epoch. With more epochs the "
        f"gain shrinks for {' and '.join(shrinking) or 'no model'}; the model that is furthest from done gains most."
    )
    used = [cells for pair in pairs.values() for cells in pair]
    return verdict_of(c4, parts, used, numbers=_differences(gains), why=why)


def _more_so(gain: dict[str, float], others: list[dict[str, float]]) -> Part:
    """Whether a gain is above the others' mean, by the intervals' half widths added in quadrature."""
    difference = gain["difference"] - float(np.mean([other["difference"] for other in others]))
    own, *rest = ((tested["ci_high"] - tested["ci_low"]) / 2 for tested in (gain, *others))
    half = math.hypot(own, *(width / len(rest) for width in rest))
    outcome: Outcome = "undecided"
    if abs(difference) > half:
        outcome = "confirmed" if difference > 0 else "refuted"
    return Part("the more so for ComplexNN", outcome, f"{points(difference)} ± {100 * half:.2f} points more")


def c5(evidence: Evidence) -> Verdict:
    """At learning rate 0.001, larger batches lower SimpleNN and MediumNN slightly and raise ComplexNN."""
    pairs = {model: _by_batch(evidence, model, 1e-3) for model in FULLY_CONNECTED}
    effects = {model: contrast(large, small) for model, (small, large) in pairs.items()}
    parts = [
        Part(f"{model} loses by large batches", _opposite(decide(effects[model])), in_words(effects[model]))
        for model in FULLY_CONNECTED[:2]
    ]
    parts.append(decided("ComplexNN gains by large batches", effects["ComplexNN"]))
    why = "Each number is the mean of batches 64 and 128 less that of 16 and 32, over all epoch budgets."
    used = [cells for pair in pairs.values() for cells in pair]
    return verdict_of(c5, parts, used, numbers=_differences(effects), why=why)


def _by_batch(evidence: Evidence, model: str, lr: float) -> tuple[Cells, Cells]:
    """A model's cells at `lr` of batches 16 and 32, and of 64 and 128, whatever the epochs."""
    what = f"{model} at lr {lr:g} and batches of 16 or 32 and of 64 or 128"
    cells = evidence.find(what, model=model, lr=lr)
    small, large = cells.where(batch_size=[16, 32]), cells.where(batch_size=[64, 128])
    if not (len(small) and len(large) and {*small.rows["epochs"]} & {*large.rows["epochs"]}):
        raise evidence.lacking(what)
    return small, large


def _opposite(outcome: Outcome) -> Outcome:
    swapped: dict[Outcome, Outcome] = {"confirmed": "refuted", "refuted": "confirmed", "undecided": "undecided"}
    return swapped[outcome]


def _differences(by_model: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {model: tested["difference"] for model, tested in by_model.items()}


def c6(evidence: Evidence) -> Verdict:
    """SimpleNN and MediumNN are best at learning rate 0.0001 with batch 16 or 32, and ComplexNN peaks there too."""
    parts: list[Part] = []
    used: list[Cells] = []
    for model in FULLY_CONNECTED:
        cells = evidence.find(f"{model} at lr 0.0001 and others", model=model)
        claimed = cells.where(lr=1e-4, batch_size=[16, 32])
        others = cells.without(claimed)
        if not (len(claimed) and len(others)):
            raise evidence.lacking(f"{model} at lr 0.0001 with batch 16 or 32, and at others")
        parts.append(_best(f"{model} is best there", claimed.first(), others.first()))
        used += [claimed.first(), others.first()]
    return verdict_of(c6, parts, used, why=_near_equals(evidence))


def c7(evidence: Evidence) -> Verdict:
    """The best cell of all is MediumNN, learning rate 0.0001, batch 16, 15 epochs."""
    cell: dict[str, Any] = {"model": "MediumNN", "lr": 1e-4, "batch_size": 16, "epochs": 15}
    grid = evidence.grid()
    claimed = grid.where(**cell)
    others = grid.without(claimed)
    if not (len(claimed) and len(others)):
        raise evidence.lacking(f"the cell {cell_name(cell)} and others")
    place = int((others.rows["mean"] > claimed["mean"]).sum()) + 1
    best = _best(f"it is the best: ours places it {place}. of {len(grid)}", claimed, others.first())
    numbers = {"claimed": claimed["mean"], "best other": others["mean"], "place": float(place)}
    return verdict_of(c7, [best], [claimed, others.first()], numbers=numbers, why=_near_equals(evidence))


def _near_equals(evidence: Evidence) -> str:
    ties = max(0, len(evidence.main.top3) - 3)
    return (
        f"One run of each cell, as the report had, picks one of several near equals: here {ties} more cells are not "
        "distinguishable from the third best."
    )


def _best(statement: str, claimed: Cells, other: Cells) -> Part:
    lead = versus(claimed, other)
    names = f"{percent(claimed['mean'])} against {percent(other['mean'])} of {cell_name(other.rows.iloc[0])}"
    return Part(statement, decide(lead), f"{names}: {in_words(lead)}")
