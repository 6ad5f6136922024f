"""The report's claims about final losses, the CNN and overfitting: C8 to C10."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from tune_mnist.reporting.verdicts import Evidence, Outcome, Part, Verdict, part, verdict_of
from tune_mnist.spec.training import FULLY_CONNECTED, PREFIX
from tune_mnist.tables.analyse import Tables
from tune_mnist.tables.cells import Cells, complete, plain, versus
from tune_mnist.tables.text import percent

FLOOR = math.log(math.e + 9) - 1  # cross entropy of a sure and right softmax that is softmaxed again
NEAR = 0.02  # nats that still count as near 1.48
FALL = 0.002  # a fall of accuracy from one epoch to the next that counts as fluctuation: 20 of 10,000 pictures
REPORTED = 1.48
HELPS = ("dropout", "rotation", "translation")
GRID = "experiments/report.toml"
EASING = f"{GRID} --models ComplexNN --lr 0.001 --batch-size 32 --dropout 0.2 --name eased"


def c8(evidence: Evidence) -> Verdict:
    """The fully connected best's training loss ends near 1.48."""
    grid = _with_head(evidence, "softmax")
    text = "The training loss of the fully connected best ends near 1.48."
    why = (
        f"A cross entropy applies softmax itself. Fed with softmax outputs it cannot fall below ln(e + 9) − 1 = "
        f"{FLOOR:.3f}, so {REPORTED} says that the report's models end in softmax, and how nearly perfect they are on "
        "their training pictures; as a loss it compares with no other. "
    )
    logits = _with_head(evidence, "logits")
    more = f"With logits ours end at {logits['train_loss']:.3f}." if len(logits) else ""
    if not len(grid):
        lacking = evidence.lacking("the softmax head", f"{GRID} --head softmax --name softmax")
        missing = Part("it ends near 1.48", "undecided", str(lacking))
        return verdict_of("C8", text, [missing], [logits.first()], why=why + more, command=lacking.command)
    loss = float(grid["train_loss"])
    outcome: Outcome = "confirmed" if abs(loss - REPORTED) <= NEAR else "refuted"
    ends = Part("it ends near 1.48", outcome, f"{loss:.3f} nats, {loss - FLOOR:.3f} above the floor of {FLOOR:.3f}")
    numbers = {"train_loss": loss, "floor": FLOOR}
    return verdict_of("C8", text, [ends], [grid.first()], numbers=numbers, why=why + more)


def _with_head(evidence: Evidence, head: str) -> Cells:
    """The first study's fully connected plain cells with this head; none if no study has any."""
    for tables in (evidence.main, *evidence.others):
        cells = plain(tables).where(model=list(FULLY_CONNECTED))
        if tables.settings.get("head") == head:
            return cells
        if "head" in cells.rows and len(cells.where(head=head)):
            return cells.where(head=head)
    return evidence.grid().where(model=[])


def c9(evidence: Evidence) -> Verdict:
    """The CNN's training loss falls faster and ends far lower, and the CNN is the more accurate."""
    cnn = evidence.find("the CNN", "experiments/cnn.toml --name cnn", model="CNN").first()
    best = evidence.grid().first()
    if not len(best):
        raise evidence.lacking("a fully connected model", GRID)
    logits = _with_head(evidence, "logits").first()
    compared = logits if len(logits) else best
    losses = pd.concat([cnn.by_epoch("train_loss"), compared.by_epoch("train_loss")], axis=1, join="inner").to_numpy()
    lower = int((losses[:, 0] < losses[:, 1]).sum())
    first, last = losses[0], losses[-1]
    faster: Outcome = "confirmed" if lower == len(losses) else "refuted" if lower == 0 else "undecided"
    far: Outcome = "confirmed" if last[0] < last[1] / 2 else "refuted"
    parts = [
        Part("its training loss falls faster", faster,
             f"lower after {lower} of {len(losses)} epochs; {first[0]:.3f} against {first[1]:.3f} after the first"),
        Part("it ends far lower (under half)", far, f"{last[0]:.4f} against {last[1]:.4f} after {len(losses)} epochs"),
        part("it is the more accurate", versus(cnn, best), _means(cnn, best)),
    ]
    text = (
        "The CNN's training loss falls faster and ends far lower than the fully connected best's, and the CNN is the "
        "more accurate."
    )
    numbers = {"CNN": cnn["mean"], "fully connected": best["mean"]}
    numbers |= {"CNN loss": last[0], "fully connected loss": last[1]}
    why = _about_losses(logits)
    return verdict_of("C9", text, parts, [cnn, best, compared], numbers=numbers, why=why)


def _means(cell: Cells, other: Cells) -> str:
    return f" ({percent(cell['mean'])} against {percent(other['mean'])})"


def _about_losses(logits: Cells) -> str:
    softmax = f"In the report the fully connected curve cannot fall below {FLOOR:.3f}, the floor of its softmax head"
    if len(logits):
        return f"{softmax}; here the losses are those of networks that end in logits, which compare."
    return f"{softmax}; ours ends in softmax too, so that most of the distance between the losses is that floor."


def c10(evidence: Evidence) -> Verdict:
    """ComplexNN at 15 epochs overfits: losses apart, accuracy fluctuating; dropout or augmentation eases it."""
    cells = evidence.find("ComplexNN at 15 epochs", GRID, model="ComplexNN", epochs=15)
    usual = cells.where(lr=1e-3, batch_size=32)
    cell = (usual if len(usual) else cells).first()
    prefix = PREFIX[cell.tables.protocol]
    floor = FLOOR if _head_of(cell) == "softmax" else 0.0
    train, held = float(cell["train_loss"]) - floor, float(cell[f"{prefix}_loss"]) - floor
    apart: Outcome = "confirmed" if held > 2 * train else "refuted"
    above = f" above the softmax head's floor of {FLOOR:.3f}" if floor else ""
    largest = _largest_fall(cell, f"{prefix}_accuracy")
    eased, used = _eased(evidence, cell)
    parts = [
        Part("its training loss ends under half of the held-out loss", apart, f"{train:.3f} against {held:.3f}{above}"),
        Part("its accuracy fluctuates", "confirmed" if largest >= FALL else "refuted",
             f"from one epoch to the next of the later half it falls by up to {100 * largest:.2f} points"),
        eased,
    ]
    text = (
        "ComplexNN at 15 epochs overfits: its training loss lies far under the test loss and its accuracy fluctuates; "
        "dropout, or rotating and shifting the pictures, eases that."
    )
    numbers = {"training loss": train, "held-out loss": held, "largest fall": largest}
    why = f"Fluctuating is read as a fall of {100 * FALL:g} points or more between successive epochs."
    command = "" if used else evidence.lacking("", EASING).command
    return verdict_of("C10", text, parts, [cell, *used], numbers=numbers, why=why, command=command)


def _head_of(cell: Cells) -> Any:
    return cell["head"] if "head" in cell.rows else cell.tables.settings.get("head")


def _largest_fall(cell: Cells, accuracy: str) -> float:
    """The largest fall of accuracy between successive epochs of the later half, the mean over seeds; at least 0."""
    rows = cell.epochs().sort_values(["seed", "epoch"])
    falls = -rows.groupby("seed")[accuracy].diff()[rows["epoch"] > cell["epochs"] / 2]
    return max(0.0, float(falls.groupby(rows["seed"]).max().mean())) if falls.count() else 0.0


def _eased(evidence: Evidence, cell: Cells) -> tuple[Part, list[Cells]]:
    """Whether the same training with dropout or augmentation is the more accurate, and its loss the nearer."""
    statement = "dropout or augmentation eases that"
    same = {name: cell[name] for name in ("model", "lr", "batch_size", "epochs")}
    found = [helped for tables in (cell.tables, evidence.main, *evidence.others) for helped in _helped(tables, same)]
    if not found:
        return Part(statement, "undecided", f"needs {cell.names()[0]} with dropout or augmentation"), []
    best = max(found, key=lambda one: float(one["mean"]))
    return part(statement, versus(best, cell), _means(best, cell)), [best]


def _helped(tables: Tables, same: dict[str, Any]) -> list[Cells]:
    """The cells of a study that are the `same` but for dropout or augmentation."""
    cells = complete(tables).where(**same)
    helps = [cells.rows[name] if name in cells.rows else tables.settings.get(name, 0.0) for name in HELPS]
    rows = cells.rows[np.any([np.broadcast_to(np.asarray(one, float) > 0, len(cells)) for one in helps], axis=0)]
    return [Cells(tables, rows.iloc[[place]]) for place in range(len(rows))]
