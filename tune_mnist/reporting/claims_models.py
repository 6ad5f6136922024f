"""The report's claims about final losses, the CNN and overfitting: C8 to C10."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields

import numpy as np

from tune_mnist.reporting.verdicts import (
    GRID,
    UNKNOWN,
    Evidence,
    Lacking,
    Statement,
    Verdict,
    Weight,
    above,
    all_of,
    any_of,
    contrary,
    in_words,
    leads,
    seeds_in_words,
    verdict_of,
)
from tune_mnist.spec.training import FULLY_CONNECTED, PREFIX, Recipe
from tune_mnist.tables.cells import Cells, complete, versus
from tune_mnist.tables.statistics.difference import Difference, combined, over_seeds
from tune_mnist.tables.text import p_value

FLOOR = math.log(math.e + 9) - 1  # cross entropy of a sure and right softmax that is softmaxed again
NEAR = 0.02  # nats that still count as near 1.48
FALL = 0.002  # a fall of accuracy from one epoch to the next that counts as fluctuation: 20 of 10,000 pictures
REPORTED = 1.48
HELPS: Mapping[str, Mapping[str, float]] = {
    "dropout": {"dropout": 0.2}, "rotation and shift": {"rotation": 10.0, "translation": 2.0},
}


def c8(evidence: Evidence) -> Verdict:
    """The training loss of the fully connected best ends near 1.48."""
    best = evidence.grid().first()
    ends = over_seeds(best.at_end("train_loss"))
    weight = all_of([above(ends, REPORTED - NEAR), contrary(above(ends, REPORTED + NEAR))])
    why = (
        f"A cross entropy applies softmax itself. Fed with softmax outputs it cannot fall below ln(e + 9) − 1 = "
        f"{FLOOR:.3f}, so {REPORTED} says that the report's models end in softmax, and how nearly perfect they are on "
        "their training pictures; as a loss it compares with no other."
    )
    detail = f"{ends.value:.3f} nats"
    if evidence.column == "as_reported":
        detail += f", {ends.value - FLOOR:.3f} above the floor of {FLOOR:.3f}"
    test = f"two t tests over seeds, against {REPORTED - NEAR:g} and {REPORTED + NEAR:g}"
    numbers = {"train_loss": ends.value, "floor": FLOOR}
    return verdict_of([Statement("it ends near 1.48", weight, test, detail)], [best], numbers=numbers, why=why)


def c9(evidence: Evidence) -> Verdict:
    """The CNN's training loss falls faster and ends far lower than the fully connected best's, and the CNN is the more
    accurate.
    """
    flags = f"experiments/cnn.toml --lr 0.001 --batch-size 128 --name {_study('cnn', evidence)}"
    best = evidence.grid().first()
    cnn = evidence.find("the CNN", flags, model="CNN").first()
    ours, theirs = (np.log(cells.by_epoch("train_loss")) for cells in (cnn, best))
    steps = [_lower(theirs[epoch].to_numpy(), ours[epoch].to_numpy()) for epoch in ours if epoch in theirs]
    first, last = (np.exp([logs.mean().iloc[place] for logs in (ours, theirs)]) for place in (0, -1))
    lower = sum(step.value > 0 for step in steps)
    far = _lower(theirs.iloc[:, -1].to_numpy(), ours.iloc[:, -1].to_numpy())
    statements = [
        Statement(
            "its training loss falls faster", all_of([above(step) for step in steps]),
            f"Welch's t tests of log losses over seeds, after each of {len(steps)} epochs",
            f"lower after {lower} of them; {first[0]:.3f} against {first[1]:.3f} after the first",
        ),
        Statement(
            "it ends far lower (under half)", above(far, math.log(2)), "Welch's t test of log losses over seeds",
            f"{last[0]:.4f} after {cnn['epochs']} epochs against {last[1]:.4f} after {best['epochs']}, each at its own "
            f"end, p {p_value(far.p(math.log(2))) or 'not known'}",
        ),
        leads("it is the more accurate", cnn, evidence.grid(), compared=("head",)),
    ]
    numbers = {"CNN": cnn["mean"], "fully connected": best["mean"]}
    numbers |= {"CNN loss": float(last[0]), "fully connected loss": float(last[1])}
    return verdict_of(statements, [cnn, best], numbers=numbers, why=_about_losses(evidence))


def _study(name: str, evidence: Evidence) -> str:
    """What a further study is called: a study is of one protocol."""
    return name if evidence.column == "as_reported" else f"{name}_holdout"


def _lower(theirs: np.ndarray, ours: np.ndarray) -> Difference:
    return combined([1, -1], [theirs, ours], "Welch's t test over seeds")


def _about_losses(evidence: Evidence) -> str:
    if evidence.column == "set_right":
        return "Both networks end in logits, so that their losses compare."
    return (
        f"The fully connected curve cannot fall below {FLOOR:.3f}, the floor of its softmax head, and the CNN, which "
        "ends in logits, can: most of the distance between the losses is that floor."
    )


def c10(evidence: Evidence) -> Verdict:
    """ComplexNN at 15 epochs overfits: its training loss lies far under the test loss and its accuracy fluctuates;
    dropout, or rotating and shifting the pictures, eases that.
    """
    cells = evidence.find("ComplexNN at 15 epochs", model="ComplexNN", epochs=15)
    usual = cells.where(lr=1e-3, batch_size=32)
    cell = (usual if len(usual) else cells).first()
    floor = FLOOR if evidence.column == "as_reported" else 0.0
    ratio = over_seeds(_log_ratio(cell, floor))
    train, held_out = (float(cell.at_end(name).mean()) - floor for name in ("train_loss", _held_out(cell, "loss")))
    above_floor = f" above the softmax head's floor of {FLOOR:.3f}" if floor else ""
    falls = over_seeds(_largest_falls(cell))
    eased, used, lacking = _eased(evidence, cell)
    statements = [
        Statement(
            "its training loss ends under half of the held-out loss", above(ratio, math.log(2)),
            "t test of the log ratio over seeds",
            f"{train:.3f} against {held_out:.3f}{above_floor}, p {p_value(ratio.p(math.log(2))) or 'not known'}",
        ),
        Statement(
            "its accuracy fluctuates", above(falls, FALL), f"t test over seeds against {100 * FALL:g} points",
            f"from one epoch to the next of the later half it falls by up to {100 * falls.value:.2f} points, "
            f"p {p_value(falls.p(FALL)) or 'not known'}",
        ),
        eased,
    ]
    numbers = {"training loss": train, "held-out loss": held_out, "largest fall": falls.value}
    why = (
        f"Fluctuating is read as a fall of {100 * FALL:g} points or more between successive epochs, easing as both a "
        "smaller gap between the losses and a higher accuracy, like for like." + _simple_too(evidence, cell, floor)
    )
    return verdict_of(statements, [cell, *used], numbers=numbers, why=why, command=lacking)


def _held_out(cell: Cells, name: str) -> str:
    return f"{PREFIX[cell.tables.protocol]}_{name}"


def _log_ratio(cell: Cells, floor: float) -> np.ndarray:
    """log of the held-out over the training loss, both above the floor, float (seeds,)."""
    return np.log((cell.at_end(_held_out(cell, "loss")) - floor) / (cell.at_end("train_loss") - floor))


def _largest_falls(cell: Cells) -> np.ndarray:
    """The largest fall of accuracy between successive epochs of the later half, at least 0, float (seeds,)."""
    falls = -cell.by_epoch(_held_out(cell, "accuracy")).diff(axis=1)
    late = falls.loc[:, falls.columns > max(1, cell["epochs"] / 2)]
    return late.max(axis=1).clip(lower=0).fillna(0).to_numpy(float)


def _simple_too(evidence: Evidence, cell: Cells, floor: float) -> str:
    """Whether SimpleNN, of which the report does not say that it overfits, shows the same signs."""
    same = {name: cell[name] for name in ("lr", "batch_size", "epochs")}
    try:
        simple = evidence.find("SimpleNN there", model=FULLY_CONNECTED[0], **same)
    except Lacking:
        return ""
    times, fall = math.exp(_log_ratio(simple, floor).mean()), 100 * _largest_falls(simple).mean()
    return (
        f" These signs do not tell ComplexNN apart: SimpleNN's held-out loss there is {times:.1f} times its training "
        f"loss, and its largest fall {fall:.2f} points."
    )


def _eased(evidence: Evidence, cell: Cells) -> tuple[Statement, list[Cells], str]:
    """Whether the same training with dropout, or with rotation and shift, has the smaller gap and the higher accuracy.

    And the cells used, and the command that supplies what is missing.
    """
    weights: list[Weight] = []
    told, used = [], []
    missing = ""
    for name, settings in HELPS.items():
        helped = _with_help(evidence, cell, list(settings))
        if helped is None:
            flags = " ".join(f"--{setting} {value:g}" for setting, value in settings.items())
            study = _study("eased" if name == "dropout" else "augmented", evidence)
            asked = f"{GRID} --models ComplexNN --lr 0.001 --batch-size 32 {flags} --name {study}"
            missing = missing or evidence.lacking("", asked).command
            weights.append(UNKNOWN)
            told.append(f"with {name}: needs {cell.names()[0]} so trained")
            continue
        closing = combined([1, -1], [_gap(cell), _gap(helped)], "Welch's t test over seeds")
        accuracy = versus(helped, cell, compared=list(settings))
        weights.append(all_of([above(closing), above(accuracy)]))
        told.append(
            f"with {name} the gap of the losses goes from {_gap(cell).mean():.3f} to {_gap(helped).mean():.3f} "
            f"(p {p_value(closing.p()) or 'not known'}), accuracy by {in_words(accuracy)}"
            f"{seeds_in_words([closing, accuracy])}"
        )
        used.append(helped)
    test = "Welch's t tests over seeds of the gap and of the accuracy, both needed, of either help (Bonferroni)"
    text = "dropout, or rotation and shift, eases that"
    return Statement(text, any_of(weights), test, "; ".join(told)), used, missing


def _gap(cell: Cells) -> np.ndarray:
    """Held-out less training loss at the end, nats, float (seeds,)."""
    return cell.at_end(_held_out(cell, "loss")) - cell.at_end("train_loss")


def _with_help(evidence: Evidence, cell: Cells, helps: list[str]) -> Cells | None:
    """The first study's cell that is the same but for the settings `helps`, all of which are above 0."""
    same = {name: cell[name] for name in ("model", "lr", "batch_size", "epochs")}
    others = [setting.name for setting in fields(Recipe) if setting.name not in helps]
    for tables in evidence.studies:
        cells = complete(tables).where(**same)
        for place in range(len(cells)):
            one = Cells(tables, cells.rows.iloc[[place]])
            alike = all(one.setting(name) == cell.setting(name) for name in ("head", *others))
            if alike and all(one.setting(name) > 0 for name in helps):
                return one
    return None
