"""Best validation accuracy against model-epochs spent: the grid in any order, and the sampler told from early stopping.

Random search and TPE, each with ASHA's early stopping and without it.

The trainings are real, and replayed: the space is the report's 48 trainings (lr, batch size and model from the
grid's lists), whose every epoch a finished grid study holds, so that a method that asks for one is answered from
there and charged one model-epoch for each epoch it had not yet asked for. Samplers and early stopping are the
search command's own; trials run one at a time. What is not measured: concurrency, and a continuous lr. ASHA's
first rung and reduction were chosen among ten settings on these very trainings, which flatters it a little.

Repetitions differ in the seed of the sampler (of the grid: of its order), and take the study's training seeds in
turn. A method's best is what it would return if stopped there: of a search the last epoch's accuracy of a finished
training, of the grid the best of its four epoch budgets. The line to reach is the low end
of the 95% interval (Wilson, 10,000 pictures) of the best of the whole grid of the same training seed.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))
from common import save, show, spread

from tune_mnist.searching.samplers import make_sampler
from tune_mnist.searching.searcher import Past, make_scheduler
from tune_mnist.shell.arguments import parse
from tune_mnist.shell.cli import run
from tune_mnist.spec.errors import UserError
from tune_mnist.spec.search import SearchSpec
from tune_mnist.spec.space import Space
from tune_mnist.spec.training import PREFIX, TrainingConfig
from tune_mnist.study.study import Study
from tune_mnist.tables.statistics.intervals import wilson
from tune_mnist.tables.statistics.significance import Score, right_of, score

Curve = list[tuple[int, float]]
"""Model-epochs spent, and the best accuracy from then on."""
BUDGETS = (2, 5, 10, 15)
MOST_TRIALS = 300
BESIDE = "grid, shuffled"


@dataclass(frozen=True, kw_only=True)
class Args:
    """What to replay."""

    study: Path = Path("ray_results/holdout")
    """A finished study of the report's grid."""
    seeds: int = 21
    """Repetitions of each method."""
    figure: Path = Path("experiments/benchmarks/search.png")
    """Where the figure goes."""
    json: Path | None = None
    """Where the figures go as JSON."""


@dataclass(frozen=True)
class Replay:
    """The stored trainings of one training seed: accuracy of each by epoch, on `pictures`."""

    spec: SearchSpec
    accuracies: dict[TrainingConfig, list[float]]
    pictures: int

    @property
    def best(self) -> float:
        """The best of all cells."""
        cells = itertools.product(self.accuracies.values(), BUDGETS)
        return max(course[budget - 1] for course, budget in cells if budget <= len(course))

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95% interval of the best."""
        flags = np.arange(self.pictures) < round(self.best * self.pictures)
        return wilson(Score(self.best, right_of(flags)))

    @property
    def total(self) -> int:
        """Model-epochs of all."""
        return sum(map(len, self.accuracies.values()))


def read(study: Study) -> list[Replay]:
    """The stored trainings of a complete grid by training seed; `UserError` if one is not complete."""
    plans, context = study.planned(), study.context()
    records = list(study.records(plans, context))
    missing = [record.config.label for record in records if record.status != "complete"]
    if missing:
        raise UserError(f"{study.folder} lacks {', '.join(missing)}: name a complete grid")
    prefix = PREFIX[context.protocol]
    by_seed: dict[int, dict[TrainingConfig, list[float]]] = {}
    for record in records:
        courses = by_seed.setdefault(record.config.seed, {})
        courses[replace(record.config, seed=0)] = [row[f"{prefix}_accuracy"] for row in record.epochs]
    configs = by_seed[0]
    models, lr, sizes = (
        tuple(sorted({getattr(config, name) for config in configs})) for name in ("model", "lr", "batch_size")
    )
    spec = SearchSpec(
        space=Space(models=models, lr=lr, batch_size=sizes), epochs=max(map(len, configs.values())),
        protocol=context.protocol,
    )
    row = records[0].epochs[-1]
    right = score(row[f"{prefix}_accuracy"], row[f"{prefix}_correct"]).correct
    assert right is not None
    return [Replay(spec, courses, right.pictures) for _, courses in sorted(by_seed.items())]


def grid(replay: Replay, seed: int) -> Curve:
    """The grid's course, its trainings in an order of the seed's."""
    order = np.random.default_rng(seed).permutation(len(replay.accuracies))
    trainings = list(replay.accuracies.values())
    spent, best, curve = 0, 0.0, []
    for at in order:
        spent += len(trainings[at])
        best = max(best, *(trainings[at][budget - 1] for budget in BUDGETS if budget <= len(trainings[at])))
        curve.append((spent, best))
    return curve


def search(replay: Replay, seed: int, **settings: Any) -> Curve:
    """A search's course with these settings of its spec, until it has spent as much as the grid, or knows it all."""
    spec = replace(replay.spec, seed=seed, **settings)
    scheduler = make_scheduler(spec)
    study = optuna.create_study(direction="maximize", sampler=make_sampler(spec, 0))
    spent, best, curve = 0, 0.0, Curve()
    paid: dict[TrainingConfig, int] = {}
    for number in range(MOST_TRIALS):
        trial = study.ask()
        config = spec.planned(spec.space.suggest(trial)).config
        course = replay.accuracies[config]
        known = paid.get(config, 0) == len(course)
        reached = 0
        for reached, stop in _epochs(course, scheduler if not known else None, f"{number}", spec):
            trial.report(course[reached - 1], reached)
            if stop:
                break
        known_now = paid.get(config, 0)
        spent += max(0, reached - known_now)
        paid[config] = max(reached, known_now)
        if reached == len(course):
            best = max(best, course[-1])
            study.tell(trial, course[-1])
        else:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        curve.append((spent, best))
        if spent >= replay.total:
            break
    return curve


def _epochs(course: list[float], scheduler: Any, name: str, spec: SearchSpec) -> Iterator[tuple[int, bool]]:
    """A training's epochs from 1 on, and whether the scheduler ends it there."""
    past = Past(name)
    if scheduler is not None:
        scheduler.on_trial_add(None, past)
    for epoch, value in enumerate(course, 1):
        result = {"epoch": epoch, spec.accuracy: value}
        stop = scheduler is not None and scheduler.on_trial_result(None, past, result) == scheduler.STOP
        yield epoch, stop and epoch < len(course)


METHODS: dict[str, Callable[[Replay, int], Curve]] = {
    BESIDE: grid,
    "random": lambda replay, seed: search(replay, seed, sampler="random", scheduler="none"),
    "TPE": lambda replay, seed: search(replay, seed, sampler="tpe", scheduler="none"),
    "random + ASHA": lambda replay, seed: search(replay, seed, sampler="random", scheduler="asha"),
    "TPE + ASHA": lambda replay, seed: search(replay, seed, sampler="tpe", scheduler="asha"),
}


def needed(curve: Curve, line: float, most: int) -> int:
    """Model-epochs until the best reaches `line`; `most` if it never does."""
    return next((spent for spent, best in curve if best >= line), most)


def at_each(curve: Curve, most: int) -> np.ndarray:
    """The best after 0, 1, …, `most` model-epochs; NaN before the first."""
    best = pd.Series(dict(curve)).groupby(level=0).max()
    return best.reindex(range(most + 1)).ffill().to_numpy()


def draw(curves: dict[str, list[Curve]], most: int, lines: list[tuple[float, float]], path: Path) -> None:
    """A panel per search: its best accuracy by model-epochs beside the grid's, and the lines to reach, the low ends."""
    from tune_mnist.figures.canvas import caption, legend, make_panels, percent_tick, png, styled

    at = np.arange(most + 1)
    tables = {
        name: pd.DataFrame([at_each(curve, most) for curve in some]).bfill(axis=1) for name, some in curves.items()
    }
    with styled():
        figure, axes = make_panels(2, 2, 2.4, sharey="all")
        for panel, name in zip(axes.flat, [name for name in curves if name != BESIDE], strict=True):
            panel.step(at, tables[BESIDE].median(), where="post", color=".45", label="grid: median")
            for low, high, alpha, label in ((0, 1, 0.12, "range"), (0.25, 0.75, 0.3, "quartiles")):
                bounds = (tables[name].quantile(low), tables[name].quantile(high))
                panel.fill_between(at, *bounds, color="tab:blue", alpha=alpha, linewidth=0, step="post", label=label)
            panel.step(at, tables[name].median(), where="post", color="tab:blue", label="median")
            for _, line in lines:
                panel.axhline(line, color="tab:green", linewidth=0.9)
            panel.plot([], [], color="tab:green", linewidth=0.9, label="to reach")
            panel.axvline(most / 5, color=".3", linewidth=0.8, linestyle=":")
            panel.set(title=name, xlim=(0, most), ylim=(0.965, max(lines)[0] + 0.001))
            panel.yaxis.set_major_formatter(percent_tick)
        for panel in axes[:, 0]:
            panel.set_ylabel("best validation accuracy")
        for panel in axes[-1]:
            panel.set_xlabel("model-epochs spent (dotted: 20% of the grid)")
        legend(figure, axes[0, 0])
        notes = [
            f"{len(curves[BESIDE])} repetitions each", f"real trainings of {len(lines)} seeds, replayed",
            "to reach, by training seed: the low end of the 95% interval of the grid's best",
        ]
        caption(figure, "What a search finds for its model-epochs", "holdout", notes)
        path.write_bytes(png(figure))


def main() -> int:
    """Replay, print and draw."""
    return run(_command)


def _command() -> int:
    args = parse(Args, None, prog="python experiments/benchmarks/search.py", description=str(__doc__))
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    replays = read(Study(args.study))
    total = replays[0].total
    lines = [(replay.best, replay.interval[0]) for replay in replays]
    figures: dict[str, Any] = {"grid_best_and_low_end_by_training_seed": lines, "total_model_epochs": total}
    curves, rows = {}, []
    for name, method in METHODS.items():
        pairs = [(replays[number % len(replays)], number) for number in range(args.seeds)]
        curves[name] = [method(replay, number) for replay, number in pairs]
        epochs = [needed(curve, pair[0].interval[0], total) for curve, pair in zip(curves[name], pairs, strict=True)]
        fifth = [max((best for spent, best in curve if spent <= total / 5), default=0.0) for curve in curves[name]]
        figures[name] = {"model_epochs_to_line": spread(epochs), "best_after_fifth": spread(fifth)}
        within = sum(spent <= total / 5 for spent in epochs)
        middle = float(np.median(epochs))
        rows.append((
            name, len(epochs), f"{middle:g} ({min(epochs)}–{max(epochs)})", f"{middle / total:.1%}",
            f"{within}/{len(epochs)}", f"{np.median(fifth):.2%} ({min(fifth):.2%}–{max(fifth):.2%})",
        ))
    told = ", ".join(f"{best:.2%} (low end {low:.2%})" for best, low in lines)
    columns = ("method", "n", "model-epochs to the low end", "median share", "within 20%", "best after 20%")
    show(f"The grid's best by training seed, each after {total} model-epochs: {told}", columns, rows)
    draw(curves, total, lines, args.figure)
    print(f"written to {args.figure}")
    save(args.json, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
