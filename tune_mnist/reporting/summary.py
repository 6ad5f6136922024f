"""What a study found in five plain sentences, formed from its numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import pandas as pd

from tune_mnist.reporting.judge import Judgement
from tune_mnist.reporting.verdicts import Column
from tune_mnist.spec.words.naming import full_name, value_text
from tune_mnist.tables.analyse import Tables, split_name
from tune_mnist.tables.anova import SEED, Anova
from tune_mnist.tables.standings import BEST
from tune_mnist.tables.text import interval, percent

DONE: dict[Column, str] = {
    "as_reported": "done as the report did it",
    "set_right": "with its output layer and its choice of pictures set right",
}


def summary(tables: Tables, grids: Sequence[Anova], judgements: Sequence[Judgement]) -> list[str]:
    """Sentences for readers who know neither the code nor statistics; `grids` are the study's `anovas`.

    The best cell, what cannot be told apart, what matters, what the test set says, and the claims if the study holds
    the cells of any; one sentence if nothing is complete.
    """
    if tables.top3.empty:
        counts = tables.summary["status"].value_counts().items()
        return [
            f"None of the {len(tables.summary)} combinations of settings is trained to the end yet "
            f"({', '.join(f'{count} {status}' for status, count in counts)}), so that there is nothing to say of them."
        ]
    sentences = [_best(tables), _ties(tables), _settings(grids), _test(tables)]
    return [*sentences, _claims(judgements)] if any(judgement.judged for judgement in judgements) else sentences


def _best(tables: Tables) -> str:
    best, asked, complete = tables.top3.iloc[0], len(tables.summary), len(tables.complete)
    reads = f"reads {percent(best['mean'])} of the {split_name(tables.protocol)} pictures right"
    reads += _within(best["ci_low"], best["ci_high"])
    if asked == 1:
        return f"The one combination of settings, {_cell(tables)}, {reads}."
    among = f"{asked} combinations of settings"
    if complete < asked:
        among = f"the {complete} combinations of settings that are trained to the end ({asked} were asked for)"
    return f"Of {among} the most accurate is {_cell(tables)}: it {reads}."


def _cell(tables: Tables) -> str:
    """The best cell in words that need no explanation."""
    best = tables.top3.iloc[0]
    settings = [f"learning rate {best['lr']:g}", f"batches of {best['batch_size']} pictures"]
    settings += [f"{full_name(name)} {value_text(best[name])}" for name in tables.further if pd.notna(best[name])]
    epochs = "1 epoch (pass" if best["epochs"] == 1 else f"{best['epochs']} epochs (passes"
    return f"the model {best['model']} with {', '.join(settings)} and {epochs} over the training pictures)"


def _ties(tables: Tables) -> str:
    if len(tables.complete) < 4:
        return "There are too few combinations to ask which others may be as good as the best three."
    if math.isnan(tables.noise.variance):
        return (
            "The best were trained with one seed each, and another seed may change an accuracy as much as other "
            "settings do: how many others are as good, this study cannot tell."
        )
    ties = int((tables.top3["standing"] != BEST).sum())
    told = {0: "Each of the others can", 1: "1 more cannot"}.get(ties, f"{ties} more cannot")
    return (
        f"{told} be told apart from the third best, since another seed changes the result too; the smallest gap that "
        f"the study would have seen, in 4 of 5 repetitions of it, is {100 * tables.gap_seen:.2f} percentage points."
    )


def _settings(grids: Sequence[Anova]) -> str:
    if not grids:
        return (
            "Which setting matters most cannot be said: for that, every combination of two or more values must be "
            "trained to the end."
        )
    of_all = "Of the relative differences in error rate, "
    if len(grids) == 1:
        return f"{of_all}{_shares(grids[0], 3)}."
    up_to = f"among learning rates up to {grids[1].largest_lr:g}, where the best are, "
    return f"{of_all}{_shares(grids[0], 1)}; {up_to}{_shares(grids[1], 3)}."


def _shares(grid: Anova, most: int) -> str:
    """What up to so many settings explain, the largest first, and the seed; no more of what comes to 0%."""
    shown = [(f"the {full_name(name)}", share) for name, share in grid.settings.items()][:most]
    pairs = {name: share for name, share in grid.shares.items() if " × " in name}
    together, pair_share = max(pairs.items(), key=lambda item: item[1], default=("", 0.0))
    if pair_share > shown[0][1]:  # as where each optimiser has a learning rate of its own
        shown.insert(0, (f"the interplay of {' and '.join(map(full_name, together.split(' × ')))}", pair_share))
    (largest, its_share), *rest = shown
    rest += [("luck with the seed", grid.shares.get(SEED, 0.0))]
    parts = [f"{largest} explains {its_share:.0%}", *(f"{name} {share:.0%}" for name, share in rest if share >= 0.005)]
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def _test(tables: Tables) -> str:
    best = tables.top3.iloc[0]
    if tables.protocol == "report":
        return (
            "It was chosen on the same test pictures that measured it, which flatters; how well it reads others, only "
            "a study that keeps the test pictures for the end can say."
        )
    if pd.isna(best["test_accuracy"]):
        return "The test pictures are not used yet, so that the accuracy above flatters the choice."
    within = _within(best["test_ci_low"], best["test_ci_high"])
    return f"On the test pictures, used only after the choice, it reads {percent(best['test_accuracy'])} right{within}."


def _claims(judgements: Sequence[Judgement]) -> str:
    columns = {
        column: Counter(judgement.columns[column].verdict for judgement in judgements) for column in DONE
    }
    parts = [
        f"{DONE[column]}, {count['confirmed']} hold, {count['refuted']} do not and {count['undecided']} stay open"
        for column, count in columns.items() if count["undecided"] < len(judgements)
    ]
    if not parts:
        return f"None of the report's {len(judgements)} claims can be decided by what was trained here."
    return f"Of the report's {len(judgements)} claims, {'; '.join(parts)}."


def _within(low: float, high: float) -> str:
    return f" (95% interval {interval(low, high)})" if interval(low, high) else ""
