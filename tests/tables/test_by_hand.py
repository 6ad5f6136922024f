"""The curated study's summary, top three and three of its claims, computed again with pandas and SciPy alone."""

from __future__ import annotations

import base64
import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq
from scipy.special import digamma, polygamma
from scipy.stats import mannwhitneyu, norm, sem, studentized_range, t, ttest_1samp

from tune_mnist.reporting.claims_models import c8
from tune_mnist.reporting.claims_sweep import c1, c4
from tune_mnist.reporting.verdicts import Evidence
from tune_mnist.tables.of_study import load_study

FOLDER = Path(__file__).parents[2] / "ray_results" / "holdout"
TRAINING = ["model", "lr", "batch_size"]
CELL = [*TRAINING, "epochs"]
SEEDS = int(pd.read_csv(FOLDER / "summary.csv")["n"].iloc[0])


@pytest.fixture(scope="module")
def results() -> pd.DataFrame:
    """One row per cell and seed, with the pictures that are right, from results.csv and the trainings' files."""
    table = pd.read_csv(FOLDER / "results.csv")
    right: dict[tuple[Any, ...], dict[int, np.ndarray]] = {}
    for path in FOLDER.glob("trainings/**/history.json"):
        config = json.loads((path.parent / "config.json").read_text())["content"]["config"]
        key = (*(config[name] for name in TRAINING), config["seed"])
        epochs = json.loads(path.read_text())["content"]["epochs"]
        right[key] = {row["epoch"]: _bits(row["val_correct"]) for row in epochs if row["epoch"] in (2, 5, 10, 15)}
    keys = zip(*(table[name] for name in [*TRAINING, "seed"]), strict=True)
    table["right"] = [right[key][epochs] for key, epochs in zip(keys, table["epochs"], strict=True)]
    return table


def _bits(packed: str) -> np.ndarray:
    return np.unpackbits(np.frombuffer(zlib.decompress(base64.b64decode(packed)), np.uint8))[:10_000].astype(float)


def _interval(accuracies: pd.Series, right: np.ndarray) -> tuple[float, float]:
    """The standard error over seeds and pictures times Student's and the normal quantile, weighted by their shares."""
    seeds, pictures = right.shape
    residual = right - right.mean(axis=0) - right.mean(axis=1, keepdims=True) + right.mean()
    of_residual = (residual**2).sum() / (seeds - 1) / (pictures - 1)
    variance = max(0.0, seeds * right.mean(axis=0).var(ddof=1) - of_residual) / seeds / pictures
    variances = np.array([sem(accuracies) ** 2, variance])
    half = math.sqrt(variances.sum()) * np.average([t.ppf(0.975, seeds - 1), norm.ppf(0.975)], weights=variances)
    return accuracies.mean() - half, accuracies.mean() + half


def _noise(results: pd.DataFrame, summary: pd.DataFrame) -> tuple[np.ndarray, float]:
    """Each cell's variance of log error and its df, float (2, cells): its training's, or if it is far off its own.

    And the trainings' average variance with two of its standard errors more.
    """
    near = 1 - summary["mean"] <= 2 * (1 - summary["mean"].iloc[2])
    table = results.assign(log=np.log(1 - results["val_accuracy"])).pivot_table(
        index=CELL, columns="seed", values="log"
    )
    logs = table.loc[pd.MultiIndex.from_frame(summary[near][CELL])]
    off = logs.sub(logs.mean(axis=1), axis=0).sort_index()
    own, df, products = [], [], []
    names = list(dict.fromkeys(summary[near][TRAINING].itertuples(index=False, name=None)))
    for name in names:
        rows = off.loc[name].to_numpy()
        own.append((rows**2).sum(axis=1).mean() / (SEEDS - 1))
        products += [(rows[i] * rows[j]).sum() for i in range(len(rows)) for j in range(len(rows)) if i != j]
    several = [name for name in names if len(off.loc[name]) > 1]
    squares = np.concatenate([(off.loc[name].to_numpy() ** 2).sum(axis=1) for name in several])
    correlation = max(0.0, np.mean(products) / squares.mean())
    for name in names:
        count = len(off.loc[name])
        df.append((SEEDS - 1) * count / (1 + (count - 1) * correlation**2))
    variances, known = np.array(own), np.array(df)
    spread = np.log(variances) - digamma(known / 2) + np.log(known / 2)
    by_chance = polygamma(1, known / 2).mean()
    excess = max(0, spread.var(ddof=1) - by_chance) + 0.5 * by_chance * math.sqrt(2 / (len(known) - 1))
    prior = 2 * brentq(lambda x: polygamma(1, x) - excess, 1e-3, 1e5)
    centre = math.exp(spread.mean() + digamma(prior / 2) - math.log(prior / 2))
    moderated = (prior * centre + known * variances) / (prior + known)
    by_training = dict(zip(names, zip(moderated, np.minimum(prior + known, known.sum()), strict=True), strict=True))
    assert prior < SEEDS - 1  # so that a far cell's own seeds tell more than the others do
    average = np.average(variances, weights=known)
    far = (prior * average + (SEEDS - 1) * table.var(axis=1, ddof=1)) / (prior + SEEDS - 1)
    return np.array([
        by_training[cell[:-1]] if ok else (far.loc[cell], prior + SEEDS - 1)
        for cell, ok in zip(summary[CELL].itertuples(index=False, name=None), near, strict=True)
    ]).T, average * (1 + 2 * math.sqrt(2 / known.sum()))


def test_the_summary_is_means_deviations_and_intervals_over_seeds_and_pictures(results: pd.DataFrame) -> None:
    summary = pd.read_csv(FOLDER / "summary.csv").set_index(CELL)
    groups = results.groupby(CELL)
    for column, source, how in (
        ("n", "val_accuracy", "count"), ("mean", "val_accuracy", "mean"), ("std", "val_accuracy", "std"),
        ("train_loss", "train_loss", "mean"), ("val_loss", "val_loss", "mean"),
    ):
        assert groups[source].agg(how)[summary.index].to_numpy() == pytest.approx(summary[column].to_numpy()), column
    for cell, group in groups:
        low, high = _interval(group["val_accuracy"], np.stack(group["right"].to_list()))
        row = summary.loc[cell]
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((max(0, low), min(1, high)), abs=1e-6)
    assert summary["mean"].is_monotonic_decreasing


def test_the_top_three_and_their_ties_are_those_of_tukey_s_range_and_of_ranks(results: pd.DataFrame) -> None:
    summary, top3 = (pd.read_csv(FOLDER / f"{name}.csv") for name in ("summary", "top3"))
    (variances, dfs), least = _noise(results, summary)
    variances /= SEEDS
    third = max(variances[2], least / SEEDS)
    both = variances + third
    q = np.log((1 - summary["mean"]) / (1 - summary["mean"].iloc[2])) / np.sqrt(both / 2)
    joint = both**2 / (variances**2 / dfs + third**2 / dfs[2])
    candidates = np.arange(3, 60)
    left = 192
    while True:
        p = studentized_range.sf(q[candidates], left, joint[candidates]) / 0.8  # the ranks have a fifth of the 5%
        rest = 3 + int((p > 0.05).sum())
        if rest == left:
            break
        left = rest
    seeds = results.pivot_table(index=CELL, columns="seed", values="val_accuracy").loc[
        pd.MultiIndex.from_frame(summary[CELL])
    ].to_numpy()
    pairs = math.comb(3 + int((p > 0.05).sum()), 2)
    for place in np.flatnonzero(p > 0.05):
        ranks = mannwhitneyu(seeds[candidates[place]], seeds[2], alternative="less", method="exact")
        p[place] = min(1, p[place], pairs * ranks.pvalue / 0.2)
    tied = candidates[p > 0.05]
    assert top3["rank"].tolist() == [1, 2, 3, *(summary["rank"][tied])]
    assert top3["p_adjusted"][3:].to_numpy() == pytest.approx(p[p > 0.05], abs=1e-3)
    assert top3["difference"][3:].to_numpy() == pytest.approx((summary["mean"][tied] - summary["mean"][2]).to_numpy())
    errors = (1 - summary["mean"]) * np.sqrt(variances)
    error = np.hypot(errors, errors[2])
    points = error**4 / (errors**4 / dfs + errors[2] ** 4 / dfs[2])
    gaps = 0.005 - (summary["mean"] - summary["mean"][2]).abs()
    one_sided = t.sf(gaps[tied] / error[tied], points[tied])
    order = np.argsort(one_sided)
    adjusted = np.empty(len(tied))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(one_sided[order] * np.arange(len(tied), 0, -1)))
    assert top3["p_equivalent"][3:].to_numpy() == pytest.approx(adjusted, abs=1e-9)
    equivalent = top3["standing"][3:] == "within 0.5 points of the third"
    assert equivalent.tolist() == (adjusted < 0.05).tolist()
    assert -top3["difference"].min() < 0.015  # no tie is more than 1.5 points below the third
    for row in top3.head(3).to_dict("records"):
        scores, right = [], []
        for path in FOLDER.glob(f"trainings/**/test-{row['epochs']:05}.json"):
            config = json.loads((path.parent / "config.json").read_text())["content"]["config"]
            if all(config[name] == row[name] for name in TRAINING):
                scores.append(json.loads(path.read_text())["content"]["score"])
                right.append(_bits(scores[-1]["test_correct"]))
        table = pd.DataFrame(scores)
        for name in ("loss", "accuracy", "precision", "recall", "f1"):
            assert row[f"test_{name}"] == pytest.approx(table[f"test_{name}"].mean())
        interval = _interval(table["test_accuracy"], np.stack(right))
        assert (row["test_ci_low"], row["test_ci_high"]) == pytest.approx(interval, abs=1e-6)


def test_three_claims_rest_on_t_tests_that_scipy_repeats(results: pd.DataFrame) -> None:
    evidence = Evidence("set_right", (load_study(FOLDER),))
    small = results["batch_size"] <= 32
    for number, model in enumerate(("SimpleNN", "MediumNN", "ComplexNN")):  # C4
        rows = results[(results["model"] == model) & (results["lr"] == 1e-4)]
        groups = [group.groupby("seed")["val_accuracy"].mean() for _, group in rows.groupby("batch_size")]
        value = np.dot([0.5, 0.5, -0.5, -0.5], [group.mean() for group in groups])
        parts = np.array([0.25 * sem(group) ** 2 for group in groups])
        p = 2 * t.sf(abs(value) / math.sqrt(parts.sum()), parts.sum() ** 2 / (parts**2 / (SEEDS - 1)).sum())
        part = c4(evidence).parts[number]
        assert part.detail.startswith(f"{100 * value:+.2f} points")
        assert part.outcome == ("confirmed" if p < 0.05 and value > 0 else "undecided")
    assert small.any()
    best = results[(results[CELL] == ["ComplexNN", 1e-4, 16, 15]).all(axis=1)]  # C8
    ends = c8(evidence)
    assert ends.numbers["train_loss"] == pytest.approx(best["train_loss"].mean())
    assert ttest_1samp(best["train_loss"], 1.46).pvalue < 0.025 and ends.verdict == "refuted"
    passes = c1(evidence)  # C1: one cell in sixteen is above 95% by Bonferroni's correction
    summary = pd.read_csv(FOLDER / "summary.csv")
    noise, _ = _noise(results, summary)
    for number, model in enumerate(("SimpleNN", "MediumNN", "ComplexNN")):
        cell = summary[(summary["model"] == model) & (summary["lr"] == 1e-4)].iloc[0]
        rows = results[(results[CELL] == cell[CELL].tolist()).all(axis=1)]
        low, high = _interval(rows["val_accuracy"], np.stack(rows["right"].to_list()))
        student = t.ppf(0.975, SEEDS - 1) * sem(rows["val_accuracy"])
        pictures = math.sqrt(((high - low) / 2) ** 2 - student**2) / norm.ppf(0.975)
        variance, df = noise[:, cell["rank"] - 1]
        error = (1 - cell["mean"]) * math.sqrt(variance / SEEDS)
        whole = math.hypot(error, pictures)
        p = 2 * t.sf((cell["mean"] - 0.95) / whole, df * (whole / error) ** 4)
        assert passes.numbers[model] == pytest.approx(cell["mean"])
        assert p * 16 < 0.05 and passes.parts[number].outcome == "confirmed"
