"""The summary: every number of it made again by hand, and sentences that are true of odd studies."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq
from scipy.special import digamma, polygamma
from scipy.stats import studentized_range, t

from support.figures import made
from support.specs import changed
from support.studies import made_records, made_study, made_tables
from tune_mnist.reporting.judge import judge
from tune_mnist.reporting.summary import summary
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import TrainingConfig
from tune_mnist.study.files import write_atomic
from tune_mnist.tables.analyse import Tables, analyse, write_tables
from tune_mnist.tables.anova import anovas
from tune_mnist.tables.of_study import tables_of

SPEC = StudySpec(
    models=("SimpleNN", "MediumNN"), lr=(1e-4, 1e-3, 1e-1), batch_size=(16, 32, 64), epochs=(10,), seeds=3
)
CELL = ["model", "lr", "batch_size", "epochs"]


def noisy(config: TrainingConfig, epoch: int) -> float:
    """Seeds change an error by 2% or 25%, and each configuration has an error of its own."""
    if config.lr >= 0.1:
        return 0.1 + 0.001 * config.seed
    medium = config.model == "MediumNN"
    number = round(1e4 * config.lr) + config.batch_size + 7 * medium
    chance = np.random.default_rng([number, config.seed])
    error = 0.03 - 0.006 * medium + 0.0002 * config.batch_size + 8 * config.lr
    return 1 - error * float(np.exp((0.25 if number % 3 == 0 else 0.02) * chance.normal()))


def sentences(tables: Tables, *others: Tables) -> list[str]:
    return summary(tables, anovas(tables), judge(tables, others))


def test_every_number_is_made_again_by_hand(tmp_path: Path) -> None:
    """From results.csv and top3.csv, with pandas and SciPy alone."""
    study = made_study(tmp_path / "study", SPEC, noisy, scored=9, pictures=10_000)
    tables = tables_of(study)
    write_tables(tables, study.folder, write_atomic)
    results, top3 = (pd.read_csv(study.folder / f"{name}.csv") for name in ("results", "top3"))
    log_error = np.log(1 - results["val_accuracy"])
    by_cell = results.assign(log_error=log_error).groupby(CELL)
    cells = by_cell.agg(mean=("val_accuracy", "mean"), variance=("log_error", "var"))
    cells = cells.sort_values("mean", ascending=False)
    error = 1 - cells["mean"].to_numpy()

    # The noise: variances of the trainings with at most twice the third's error, and their prior (Smyth 2004).
    near = error <= 2 * error[2]
    own, df = cells["variance"].to_numpy()[near], 2.0
    logs = np.log(own) - digamma(df / 2) + np.log(df / 2)
    excess = logs.var(ddof=1) - polygamma(1, df / 2)
    assert near.sum() > 3 and excess > 0
    prior = 2 * brentq(lambda x: polygamma(1, x) - excess, 1e-6, 1e6)
    centre = math.exp(logs.mean() + digamma(prior / 2) - math.log(prior / 2))
    variances, dfs = np.full(len(cells), own.mean()), np.full(len(cells), min(df * near.sum(), max(prior, 1)))
    variances[near] = (prior * centre + df * own) / (prior + df)
    dfs[near] = min(prior + df, df * near.sum())

    # Ties with the third: Tukey and Kramer's range, Satterthwaite's degrees of freedom, on log(1 - accuracy), in steps.
    behind = np.log(error) - np.log(error[2])
    squares, upper = variances / 3, own.mean() * (1 + 2 * math.sqrt(2 / (df * near.sum())))
    third = max(squares[2], upper / 3)
    joint_df = (squares + third) ** 2 / (squares**2 / dfs + third**2 / dfs[2])
    q = math.sqrt(2) * behind / np.sqrt(squares + third)
    of_all = studentized_range.sf(q[3:], len(cells), joint_df[3:]) > 0.05
    rest = 3 + int(of_all.sum())
    ties = int((studentized_range.sf(q[3:], rest, joint_df[3:]) > 0.05).sum())
    assert 3 + ties == rest < len(cells)  # a second step tells no more apart
    gap_df = 2 * max(min(df * near.sum(), max(prior, 1)), 2)
    bar = studentized_range.isf(0.05, rest, gap_df) * math.sqrt((own.mean() + upper) / 2 / 3)
    gap = error[2] * math.expm1(bar + t.ppf(0.8, gap_df) * math.sqrt(2 * own.mean() / 3))

    def share(rows: pd.DataFrame, *names: str) -> float:
        values = np.log(1 - rows["val_accuracy"])
        return float(values.groupby([rows[name] for name in names]).transform("mean").var(ddof=0) / values.var(ddof=0))

    low = results[results["lr"] <= 1e-3]
    of_low = sorted(((share(low, name), name) for name in CELL[:3]), reverse=True)
    names = {"model": "model", "lr": "learning rate", "batch_size": "batch size"}
    (first, largest), (second, next_), (third, least) = of_low
    seed = 1 - share(low, *CELL)
    best = top3.iloc[0]
    counts = Counter(judgement.set_right.verdict for judgement in judge(tables))
    assert counts["undecided"] < 10
    assert (len(top3) - 3, tuple(best[CELL])) == (ties, cells.index[0])
    assert sentences(tables) == [
        f"Of 18 combinations of settings the most accurate is the model {best['model']} with learning rate "
        f"{best['lr']:g}, batches of {best['batch_size']} pictures and 10 epochs (passes over the training pictures): "
        f"it reads {cells['mean'].iloc[0]:.2%} of the validation pictures right "
        f"(95% interval {100 * best['ci_low']:.2f} – {best['ci_high']:.2%}).",
        f"{ties} more cannot be told apart from the third best, since another seed changes the result too; the "
        "smallest gap that the study would have seen, in 4 of 5 repetitions of it, is "
        f"{100 * gap:.2f} percentage points.",
        f"Of the relative differences in error rate, the learning rate explains {share(results, 'lr'):.0%} and luck "
        f"with the seed {1 - share(results, *CELL):.0%}; among learning rates "
        f"up to 0.001, where the best are, the {names[largest]} explains {first:.0%}, the "
        f"{names[next_]} {second:.0%}, the {names[least]} {third:.0%} and luck with the seed {seed:.0%}.",
        f"On the test pictures, used only after the choice, it reads {best['test_accuracy']:.2%} right "
        f"(95% interval {100 * best['test_ci_low']:.2f} – {best['test_ci_high']:.2%}).",
        f"Of the report's 10 claims, with its output layer and its choice of pictures set right, "
        f"{counts['confirmed']} hold, {counts['refuted']} do not and {counts['undecided']} stay open.",
    ]


def test_one_seed_tells_of_no_ties() -> None:
    _, ties, settings, test, claims = sentences(made_tables(replace(SPEC, seeds=1)))
    assert "trained with one seed each" in ties and "cannot tell" in ties
    assert "luck" not in settings and "explains" in settings
    assert "not used yet" in test
    assert claims == "None of the report's 10 claims can be decided by what was trained here."


def test_one_model_is_not_a_setting() -> None:
    spec = replace(SPEC, models=("CNN",), lr=(1e-3,), batch_size=(16, 64))
    _, ties, settings, *_ = sentences(made_tables(spec))
    assert ties.startswith("There are too few combinations")
    assert "the batch size explains" in settings and "model" not in settings and "among" not in settings


def test_one_cell_is_not_called_the_most_accurate() -> None:
    best, _, settings, *_ = sentences(made_tables(replace(SPEC, models=("CNN",), lr=(1e-3,), batch_size=(16,))))
    assert best.startswith("The one combination of settings, the model CNN with learning rate 0.001,")
    assert settings.startswith("Which setting matters most cannot be said")


def test_a_study_diverged_in_part_counts_what_is_complete() -> None:
    spec = replace(SPEC, batch_size=(16, 64))
    best, _, settings, *_ = sentences(made(spec, "diverged"))
    assert best.startswith("Of the 8 combinations of settings that are trained to the end (12 were asked for) the most")
    assert "learning rates up to" not in settings and "explains" in settings


@pytest.mark.parametrize(("only_lr", "counts"), [(None, "2 diverged"), (1.0, "2 missing")])
def test_with_nothing_complete_there_is_one_sentence(only_lr: float | None, counts: str) -> None:
    spec = replace(SPEC, models=("SimpleNN",), lr=(1e-1,), batch_size=(16, 64))
    assert sentences(made(spec, "diverged", only_lr)) == [
        f"None of the 2 combinations of settings is trained to the end yet ({counts}), so that there is nothing to say "
        "of them."
    ]


def test_under_report_the_choice_was_on_the_test_set_and_both_columns_are_told() -> None:
    spec = replace(SPEC, models=("SimpleNN", "MediumNN", "ComplexNN"))
    best, *_, test, claims = sentences(made_tables(replace(spec, protocol="report")), made_tables(spec))
    assert "of the test pictures right" in best
    assert "chosen on the same test pictures" in test
    assert "done as the report did it" in claims and "; with its output layer" in claims


@pytest.mark.parametrize("dropout", [0.0, 0.25])
def test_a_setting_that_varies_is_named(dropout: float) -> None:
    plain = replace(SPEC, models=("CNN",), lr=(1e-3,), batch_size=(16,))
    specs = [plain, changed(plain, dropout=0.25)]

    def best(config: TrainingConfig, epoch: int) -> float:
        return 0.99 + 0.0001 * config.seed if config.dropout == dropout else 0.98

    planned = [plan for spec in specs for plan in spec.trainings()]
    records = [record for spec in specs for record in made_records(spec, best)]
    first, *_ = sentences(analyse(planned, records, "holdout"))
    assert f"batches of 16 pictures, dropout {dropout:g} and 10 epochs" in first


def test_where_each_optimiser_has_its_own_learning_rate_their_interplay_is_named_first() -> None:
    def accuracy(config: TrainingConfig, epoch: int) -> float:
        suits = (config.optimizer == "adam") == (config.lr == 1e-3)
        return 0.97 + 0.001 * epoch + 1e-4 * config.seed if suits else 0.8 - 0.01 * (config.lr == 1e-2)

    tables = made_tables(StudySpec(
        models=("SimpleNN",), lr=(1e-3, 1e-2), optimizer=("adam", "sgd"), batch_size=(64,), epochs=(1, 2), seeds=2,
    ), accuracy)
    grids = anovas(tables)
    interplay = grids[0].shares["lr × optimizer"]
    assert interplay > 0.9
    sentence = summary(tables, grids, judge(tables))[2]
    assert f"the interplay of learning rate and optimizer explains {interplay:.0%}" in sentence
