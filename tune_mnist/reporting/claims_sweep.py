"""The report's claims about learning rates, batch sizes and epochs: C1 to C7."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from tune_mnist.reporting.verdicts import (
    UNKNOWN,
    Evidence,
    Statement,
    Verdict,
    above,
    all_of,
    any_of,
    contrary,
    in_words,
    leads,
    seeds_in_words,
    tested,
    verdict_of,
)
from tune_mnist.spec.training import FULLY_CONNECTED, PREFIX
from tune_mnist.spec.words.naming import cell_name
from tune_mnist.tables.cells import Cells, contrast, on_other_pictures, plain_epochs, versus
from tune_mnist.tables.statistics.difference import LEVEL, Difference, combined
from tune_mnist.tables.text import p_value, percent, points

BAR = 0.95  # C1's accuracy; C2 takes it as having converged
CHANCE = 0.2  # an accuracy below this is a guess
HELP = 0.005  # a gain by more epochs that counts as help
STEP = 0.001  # a change from one budget to the next below which it is a plateau: 10 of 10,000 pictures


def c1(evidence: Evidence) -> Verdict:
    """At learning rate 0.0001 every model passes 95%."""
    statements = []
    used = []
    numbers = {}
    for model in FULLY_CONNECTED:
        cells = evidence.find(f"{model} at lr 0.0001", model=model, lr=1e-4)
        best = cells.first()
        passing = int((cells.rows["mean"] > BAR).sum())
        where = f"batch {best['batch_size']}, {best['epochs']} epochs"
        detail = f"{percent(best['mean'])} at {where}; {passing} of its {len(cells)} cells there pass in the mean"
        passes = any_of([above(accuracy, BAR) for accuracy in on_other_pictures(cells)])
        test = f"t tests of {len(cells)} cells against 95%, over seeds and pictures, with Bonferroni's correction"
        statements.append(Statement(f"{model} passes 95%", passes, test, detail))
        used.append(best)
        numbers[model] = best["mean"]
    why = "Passing is read as: at least one cell at this rate does, for other seeds and other pictures too."
    return verdict_of(statements, used, numbers=numbers, why=why)


def c2(evidence: Evidence) -> Verdict:
    """Learning rates 0.01 and 0.1 oscillate and fail to converge, and at 0.1 more epochs do not help."""
    grid = evidence.grid()
    for lr in (1e-4, 1e-2, 1e-1):
        if not len(grid.where(lr=lr)):
            raise evidence.lacking(f"lr {lr:g}")
    moves = restlessness(grid)
    longest = {lr: _longest(grid.where(lr=lr)) for lr in (1e-2, 1e-1)}
    statements: list[Statement] = []
    numbers: dict[str, float] = {}
    for lr, cells in longest.items():
        added = _added(moves, lr)
        detail = f"{percent(moves[lr].mean())} from epoch to epoch, against {percent(moves[1e-4].mean())} at 0.0001"
        statements.append(tested(f"{lr:g} oscillates", added, f": {detail}"))
        statements.append(_fails(lr, cells))
        numbers[f"change per epoch at {lr:g}"] = float(moves[lr].mean())
        numbers[f"best end at {lr:g}"] = cells["mean"]
    statements.append(_no_gain(grid.where(lr=1e-1)))
    last = longest[1e-1]
    guessing = int((last.rows["mean"] < CHANCE).sum())
    why = (
        "Oscillation is the mean change of accuracy between successive epochs of the later half; having converged is "
        "C1's 95% after the most epochs, in the mean over models and batch sizes. At 0.1, "
        f"{guessing} of {len(last)} cells end under {100 * CHANCE:g}%, where guessing gives 10%: that is no "
        "oscillation around an optimum but nothing learnt."
    )
    used = [cells.first() for cells in longest.values()]
    return verdict_of(statements, used, numbers=numbers, why=why)


def restlessness(grid: Cells) -> pd.DataFrame:
    """Mean absolute change of accuracy between successive epochs of the later half of each of the grid's trainings.

    Returns a row per model, batch size and seed, a column per lr.
    """
    accuracy = f"{PREFIX[grid.tables.protocol]}_accuracy"
    training = ["model", "batch_size", "seed", "lr"]
    rows = plain_epochs(grid.tables)
    rows = rows[rows["model"].isin(FULLY_CONNECTED)].sort_values([*training, "epoch"])
    moves = rows.groupby(training)[accuracy].diff().abs()
    late = rows["epoch"] > rows.groupby(training)["epoch"].transform("max") / 2
    return moves[late].groupby([rows[name] for name in training]).mean().unstack("lr")


def _added(moves: pd.DataFrame, lr: float) -> Difference:
    """By how much trainings at `lr` move more from epoch to epoch than those at 0.0001, where both have been run."""
    groups = list(moves[[1e-4, lr]].dropna().groupby(["model", "batch_size"]))
    weights = [sign / len(groups) for sign in (1, -1) for _ in groups]
    values = [group[rate].to_numpy() for rate in (lr, 1e-4) for _, group in groups]
    return combined(weights, values, "contrast of trainings over seeds (Welch)")


def _fails(lr: float, cells: Cells) -> Statement:
    """Whether the trainings end below C1's 95% in the mean."""
    ends = contrast([(1, cells)])
    low = int((cells.rows["mean"] < BAR).sum())
    detail = (
        f"its trainings end at {percent(ends.value)} in the mean, p {p_value(ends.p(BAR)) or 'not known'} that it is "
        f"95%; {low} of {len(cells)} cells end under 95%, the best at {percent(cells['mean'])}"
    )
    return Statement(f"{lr:g} fails to converge", contrary(above(ends, BAR)), ends.test, detail)


def _no_gain(cells: Cells) -> Statement:
    """Whether the largest budget is better than the smallest by less than what counts as help."""
    least, most = cells.rows["epochs"].min(), cells.rows["epochs"].max()
    gain = contrast([(1, cells.where(epochs=most)), (-1, cells.where(epochs=least))])
    detail = f"from {least} to {most} epochs {in_words(gain, HELP)} that it is {points(HELP)}"
    text = f"at 0.1 more epochs do not help, by {100 * HELP:g} points or more"
    return Statement(text, contrary(above(gain, HELP)) if least < most else UNKNOWN, gain.test, detail)


def _longest(cells: Cells) -> Cells:
    return cells.where(epochs=cells.rows["epochs"].max())


def c3(evidence: Evidence) -> Verdict:
    """At learning rate 0.001 and batch 32, SimpleNN and MediumNN rise steadily with the epochs, while ComplexNN rises,
    then falls."""
    statements: list[Statement] = []
    used: list[Cells] = []
    for model in FULLY_CONNECTED:
        what = f"{model} at lr 0.001 and batch 32"
        cells = evidence.find(what, model=model, lr=1e-3, batch_size=32)
        ordered = [cells.where(epochs=epochs) for epochs in sorted(cells.rows["epochs"])]
        statements.append(_rises_and_falls(ordered) if model == "ComplexNN" else _rises(model, ordered))
        used += ordered
    why = (
        f"A rise or a fall is one of more than {100 * STEP:g} points, 10 of 10,000 pictures; less is a plateau, and no "
        "steady rise. What is neither shown to be more nor shown to be less is undecided; more seeds can tell."
    )
    return verdict_of(statements, used, why=why)


def _rises(model: str, ordered: Sequence[Cells]) -> Statement:
    steps = [versus(after, before) for before, after in itertools.pairwise(ordered)]
    weight = all_of([above(step, STEP) for step in steps]) if steps else UNKNOWN
    names = ", ".join(_step(step, STEP) for step in steps)
    detail = f"{_path(ordered)}: {names}{seeds_in_words(steps, STEP)}"
    return Statement(f"{model} rises steadily", weight, _tests(steps), detail)


def _step(step: Difference, bar: float) -> str:
    """A step in words: a rise, a fall, a plateau, or not known."""
    sure = [above(step, bar), above(Difference(-step.value, step.error, step.df), bar)]
    if sure[0].if_false < LEVEL:
        kind = "a rise"
    elif sure[1].if_false < LEVEL:
        kind = "a fall"
    elif max(weight.if_true for weight in sure) < LEVEL:
        kind = "a plateau"
    else:
        kind = "not known"
    return f"{points(step.value)} {kind}"


def _rises_and_falls(ordered: Sequence[Cells]) -> Statement:
    """Whether some budget between the first and the last is better than both."""
    first, *between, last = ordered if len(ordered) > 1 else [*ordered, *ordered]
    rises = [versus(cells, first) for cells in between]
    falls = [versus(cells, last) for cells in between]
    peaks = [all_of([above(rise, STEP), above(fall, STEP)]) for rise, fall in zip(rises, falls, strict=True)]
    told = [
        f"at {cells['epochs']} epochs {points(rise.value)} above the first (p {p_value(rise.p(STEP))}) and "
        f"{points(fall.value)} above the last (p {p_value(fall.p(STEP))})"
        for cells, rise, fall in zip(between, rises, falls, strict=True)
    ]
    weight = any_of(peaks) if peaks else UNKNOWN
    detail = f"{_path(ordered)}: {'; '.join(told) or 'too few budgets'}"
    if peaks and min(weight) > LEVEL:
        best = min(range(len(peaks)), key=lambda place: peaks[place].if_false)
        detail += seeds_in_words([rises[best], falls[best]], STEP)
    return Statement("ComplexNN rises, then falls", weight, _tests([*rises, *falls]), detail)


def _path(ordered: Sequence[Cells]) -> str:
    return " → ".join(percent(cells["mean"]) for cells in ordered)


def _tests(steps: Sequence[Difference]) -> str:
    names = " or ".join(dict.fromkeys(step.test for step in steps))
    return f"{names or 't tests'}, each against {100 * STEP:g} points, with Bonferroni's correction"


def c4(evidence: Evidence) -> Verdict:
    """At learning rate 0.0001, batches 16 and 32 beat 64 and 128, the more so for ComplexNN."""
    pairs = {model: _by_batch(evidence, model, 1e-4) for model in FULLY_CONNECTED}
    gains = {model: contrast([(1, small), (-1, large)]) for model, (small, large) in pairs.items()}
    statements = []
    shrinking = []
    for model, (small, large) in pairs.items():
        budgets = sorted({*small.rows["epochs"]})
        early, late = (
            contrast([(1, small.where(epochs=epochs)), (-1, large.where(epochs=epochs))]).value
            for epochs in (budgets[0], budgets[-1])
        )
        more = f"; {points(early)} after {budgets[0]} epochs, {points(late)} after {budgets[-1]}"
        statements.append(tested(f"{model} gains by small batches", gains[model], more))
        if late < early:
            shrinking.append(model)
    shares = dict(zip(FULLY_CONNECTED, (-0.5, -0.5, 1.0), strict=True))  # ComplexNN's gain less the others' mean
    groups = [
        (sign * shares[model], cells)
        for model, pair in pairs.items() for sign, cells in zip((1, -1), pair, strict=True)
    ]
    statements.append(tested("the more so for ComplexNN", contrast(groups)))
    why = (
        "At 0.0001 a network is short of steps, and a small batch takes more of them per epoch. With more epochs the "
        f"gain shrinks for {' and '.join(shrinking) or 'no model'}; the model that is furthest from done gains most."
    )
    used = [cells for pair in pairs.values() for cells in pair]
    return verdict_of(statements, used, numbers=_values(gains), why=why)


def c5(evidence: Evidence) -> Verdict:
    """At learning rate 0.001, larger batches lower SimpleNN and MediumNN slightly and raise ComplexNN."""
    pairs = {model: _by_batch(evidence, model, 1e-3) for model in FULLY_CONNECTED}
    losses = {model: contrast([(1, small), (-1, large)]) for model, (small, large) in pairs.items()}
    gain = contrast([(-1, pairs["ComplexNN"][0]), (1, pairs["ComplexNN"][1])])
    statements = [tested(f"{model} loses by large batches", losses[model]) for model in FULLY_CONNECTED[:2]]
    statements.append(tested("ComplexNN gains by large batches", gain))
    why = "Each number compares the means of batches 16 and 32 with those of 64 and 128, over all epoch budgets."
    used = [cells for pair in pairs.values() for cells in pair]
    return verdict_of(statements, used, numbers=_values({**losses, "ComplexNN": gain}), why=why)


def _by_batch(evidence: Evidence, model: str, lr: float) -> tuple[Cells, Cells]:
    """A model's cells at `lr` of batches 16 and 32, and of 64 and 128, at the epochs that both have."""
    what = f"{model} at lr {lr:g} and batches of 16 or 32 and of 64 or 128"
    cells = evidence.find(what, model=model, lr=lr)
    small, large = cells.where(batch_size=[16, 32]), cells.where(batch_size=[64, 128])
    shared = sorted({*small.rows["epochs"]} & {*large.rows["epochs"]})
    if not shared:
        raise evidence.lacking(what)
    return small.where(epochs=shared), large.where(epochs=shared)


def _values(differences: Mapping[str, Difference]) -> dict[str, float]:
    return {name: difference.value for name, difference in differences.items()}


def c6(evidence: Evidence) -> Verdict:
    """SimpleNN and MediumNN are best at learning rate 0.0001 with batch 16 or 32, and ComplexNN peaks there too."""
    statements: list[Statement] = []
    used: list[Cells] = []
    for model in FULLY_CONNECTED:
        what = f"{model} at lr 0.0001 with batch 16 or 32, and at others"
        cells = evidence.find(what, model=model)
        claimed = cells.where(lr=1e-4, batch_size=[16, 32])
        others = cells.without(claimed)
        if not (len(claimed) and len(others)):
            raise evidence.lacking(what)
        statements.append(leads(f"{model} is best there", claimed, others))
        used += [claimed.first(), others.first()]
    return verdict_of(statements, used, why=_near_equals(evidence))


def c7(evidence: Evidence) -> Verdict:
    """The best cell of all is MediumNN, learning rate 0.0001, batch 16, 15 epochs."""
    cell: dict[str, Any] = {"model": "MediumNN", "lr": 1e-4, "batch_size": 16, "epochs": 15}
    grid = evidence.grid()
    claimed = grid.where(**cell)
    others = grid.without(claimed)
    if not (len(claimed) and len(others)):
        raise evidence.lacking(f"the cell {cell_name(cell)} and others")
    place = int((others.rows["mean"] > claimed["mean"]).sum()) + 1
    best = leads(f"it is the best: ours places it {place}. of {len(grid)}", claimed, others)
    numbers = {"claimed": claimed["mean"], "best other": others["mean"], "place": float(place)}
    return verdict_of([best], [claimed, others.first()], numbers=numbers, why=_near_equals(evidence))


def _near_equals(evidence: Evidence) -> str:
    ties = max(0, len(evidence.grid().tables.top3) - 3)
    return (
        f"One run of each cell, as the report had, picks one of several near equals: here {ties} more cells are not "
        "distinguishable from the third best."
    )
