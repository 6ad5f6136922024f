"""The report's claims about final losses, the CNN and overfitting: C8 to C10."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from tune_mnist.reporting.verdicts import GRID, Evidence, Outcome, Part, Verdict, decided, verdict_of
from tune_mnist.spec.training import FULLY_CONNECTED, PREFIX
from tune_mnist.tables.analyse import Tables
from tune_mnist.tables.cells import Cells, complete, plain, versus
from tune_mnist.tables.text import percent

FLOOR = math.log(math.e + 9) - 1  # cross entropy of a sure and right softmax that is softmaxed again
NEAR = 0.02  # nats that still count as near 1.48
FALL = 0.002  # a fall of accuracy from one epoch to the next that counts as fluctuation: 20 of 10,000 pictures
REPORTED = 1.48
HELPS = ("dropout", "rotation", "translation")
EASING = f"{GRID} --models ComplexNN --lr 0.001 --batch-size 32 --dropout 0.2 --name eased"


def c8(evidence: Evidence) -> Verdict:
    """The training loss of the fully connected best ends near 1.48."""
    grid = _with_head(evidence, "softmax")
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
        return verdict_of(c8, [missing], [logits.first()], why=why + more, command=lacking.command)
    loss = float(grid["train_loss"])
    outcome: Outcome = "confirmed" if abs(loss - REPORTED) <= NEAR else "refuted"
    ends = Part("it ends near 1.48", outcome, f"{loss:.3f} nats, {loss - FLOOR:.3f} above the floor of {FLOOR:.3f}")
    numbers = {"train_loss": loss, "floor": FLOOR}
    return verdict_of(c8, [ends], [grid.first()], numbers=numbers, why=why + more)


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
    """The CNN's training loss falls faster and ends far lower than the fully connected best's, and the CNN is the more
    accurate.
    """
    cnn = evidence.find("the CNN", "experiments/cnn.toml --name cnn", model="CNN").first()
    best = evidence.grid().first()
    if not len(best):
        raise evidence.lacking("a fully connected model")
    logits = _with_head(evidence, "logits").first()
    compared = logits if len(logits) else best
    by_epoch = [cells.by_epoch("train_loss") for cells in (cnn, compared)]
    losses = pd.concat(by_epoch, axis=1, join="inner").to_numpy()  # (epochs, 2): the CNN's, the other's
    lower = int((losses[:, 0] < losses[:, 1]).sum())
    starts, ends = losses[0], losses[-1]
    faster: Outcome = "confirmed" if lower == len(losses) else "refuted" if lower == 0 else "undecided"
    far: Outcome = "confirmed" if ends[0] < ends[1] / 2 else "refuted"
    parts = [
        Part("its training loss falls faster", faster,
             f"lower after {lower} of {len(losses)} epochs; {starts[0]:.3f} against {starts[1]:.3f} after the first"),
        Part("it ends far lower (under half)", far, f"{ends[0]:.4f} against {ends[1]:.4f} after {len(losses)} epochs"),
        decided("it is the more accurate", versus(cnn, best), _means(cnn, best)),
    ]
    numbers = {"CNN": cnn["mean"], "fully connected": best["mean"]}
    numbers |= {"CNN loss": ends[0], "fully connected loss": ends[1]}
    return verdict_of(c9, parts, [cnn, best, compared], numbers=numbers, why=_about_losses(logits))


def _means(cell: Cells, other: Cells) -> str:
    return f" ({percent(cell['mean'])} against {percent(other['mean'])})"


def _about_losses(logits: Cells) -> str:
    softmax = f"In the report the fully connected curve cannot fall below {FLOOR:.3f}, the floor of its softmax head"
    if len(logits):
        return f"{softmax}; here the losses are those of networks that end in logits, which compare."
    return f"{softmax}; ours ends in softmax too, so that most of the distance between the losses is that floor."


def c10(evidence: Evidence) -> Verdict:
    """ComplexNN at 15 epochs overfits: its training loss lies far under the test loss and its accuracy fluctuates;
    dropout, or rotating and shifting the pictures, eases that.
    """
    cells = evidence.find("ComplexNN at 15 epochs", model="ComplexNN", epochs=15)
    usual = cells.where(lr=1e-3, batch_size=32)
    cell = (usual if len(usual) else cells).first()
    prefix = PREFIX[cell.tables.protocol]
    floor = FLOOR if _head_of(cell) == "softmax" else 0.0
    train = float(cell["train_loss"]) - floor
    held_out = float(cell[f"{prefix}_loss"]) - floor
    apart: Outcome = "confirmed" if held_out > 2 * train else "refuted"
    above = f" above the softmax head's floor of {FLOOR:.3f}" if floor else ""
    largest = _largest_fall(cell, f"{prefix}_accuracy")
    eased, used = _eased(evidence, cell)
    parts = [
        Part("its training loss ends under half of the held-out loss", apart,
             f"{train:.3f} against {held_out:.3f}{above}"),
        Part("its accuracy fluctuates", "confirmed" if largest >= FALL else "refuted",
             f"from one epoch to the next of the later half it falls by up to {100 * largest:.2f} points"),
        eased,
    ]
    numbers = {"training loss": train, "held-out loss": held_out, "largest fall": largest}
    why = f"Fluctuating is read as a fall of {100 * FALL:g} points or more between successive epochs."
    command = "" if used else evidence.lacking("", EASING).command
    return verdict_of(c10, parts, [cell, *used], numbers=numbers, why=why, command=command)


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
    eased = [_with_help(tables, same) for tables in (cell.tables, evidence.main, *evidence.others)]
    eased = [cells for cells in eased if len(cells)]
    if not eased:
        return Part(statement, "undecided", f"needs {cell.names()[0]} with dropout or augmentation"), []
    best = max(eased, key=lambda cells: float(cells["mean"])).first()
    return decided(statement, versus(best, cell), _means(best, cell)), [best]


def _with_help(tables: Tables, same: dict[str, Any]) -> Cells:
    """The cells of a study that are the `same` but for dropout or augmentation."""
    cells = complete(tables).where(**same)
    helps = {name: cells.rows.get(name, tables.settings.get(name, 0.0)) for name in HELPS}
    helped = (pd.DataFrame(helps, index=cells.rows.index) > 0).any(axis=1)
    return Cells(tables, cells.rows[helped])
