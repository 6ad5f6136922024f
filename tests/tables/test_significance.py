"""The tests between cells: known answers, and what they find and leave on made tables."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import false_discovery_control, ttest_rel

from tune_mnist.tables.significance import (
    Noise,
    Sample,
    Score,
    adjusted,
    alike,
    compare,
    estimate_noise,
    holm,
    mcnemar,
    paired_t,
    score,
    wilson,
)
from tune_mnist.training.packing import pack_bits, unpack_bits


def sample(*accuracies: float) -> Sample:
    return {seed: Score(accuracy, None) for seed, accuracy in enumerate(accuracies)}


def flags(right: int, wrong: int) -> np.ndarray:
    return np.repeat([True, False], [right, wrong])


@pytest.mark.parametrize("n", [1, 8, 1001])
def test_packed_predictions_come_back_with_their_number(n: int) -> None:
    correct = np.random.default_rng(0).random(n) < 0.9
    correct[0] = True
    again = score(float(correct.mean()), pack_bits(correct)).correct
    assert again is not None
    np.testing.assert_array_equal(again, correct)
    assert not unpack_bits(pack_bits(correct))[n:].any()


@pytest.mark.parametrize(("accuracy", "packed"), [(0.5, None), (0.0, "unread"), (math.nan, "unread"), (0.5, math.nan)])
def test_a_score_without_known_predictions_has_none(accuracy: float, packed: object) -> None:
    assert score(accuracy, packed).correct is None


def test_mcnemar_is_the_binomial_test_of_the_discordant_pictures() -> None:
    first = np.repeat([True, True, False, False], [70, 5, 15, 10])
    second = np.repeat([True, False, True, False], [70, 5, 15, 10])
    assert mcnemar(first, second) == pytest.approx(0.04138947)  # 2 · P(X ≤ 5), X binomial of 20 at one half
    assert mcnemar(first, first) == 1


def test_wilson_interval_of_a_known_share() -> None:
    assert wilson(Score(0.9, flags(90, 10))) == pytest.approx((0.8256343, 0.9447709), abs=1e-6)
    assert all(math.isnan(end) for end in wilson(Score(0.9, None)))


def test_holm_of_a_known_family() -> None:
    p = np.array([0.01, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(holm(p), [0.03, 0.06, 0.06, 0.02])
    assert (holm(p) >= false_discovery_control(p)).all()
    assert len(holm(np.array([]))) == 0


def test_without_known_noise_the_paired_t_test_is_scipy_s() -> None:
    first, second = np.array([0.981, 0.979, 0.982]), np.array([0.978, 0.979, 0.977])
    expected = ttest_rel(first, second)
    tested = paired_t(first - second, Noise())
    assert tested["p"] == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval()
    assert (tested["ci_low"], tested["ci_high"]) == pytest.approx((low, high))


def test_known_noise_moves_the_variance_towards_it_by_degrees_of_freedom() -> None:
    differences = np.array([0.01, 0.02, 0.03])
    own, known = 1e-4, 4e-4
    tested = paired_t(differences, Noise(known, 6.0))
    error = math.sqrt((2 * own + 6 * known) / 8 / 3)
    assert tested["ci_high"] - tested["difference"] == pytest.approx(2.306004 * error)  # t(0.975; 2 + 6)


def test_noise_is_recovered_from_cells_that_share_it() -> None:
    chance = np.random.default_rng(1)
    cells = [sample(*(0.98 - 1e-5 * place + 0.0015 * chance.normal(size=4))) for place in range(400)]
    noise = estimate_noise(cells)
    assert math.sqrt(noise.variance / 2) == pytest.approx(0.0015, rel=0.1)
    assert noise.df > 10
    assert estimate_noise(cells[:5]) == Noise()
    assert estimate_noise([sample(0.9)] * 20) == Noise()


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("uneven", [0.0, 0.4])
def test_true_ties_are_called_ties_and_a_point_is_found(seeds: int, uneven: float) -> None:
    """Of 96 cells 30 are as good as the third and the others 1 point or more worse; noise as from seed to seed."""
    chance = np.random.default_rng(seeds)
    means = np.concatenate([np.full(31, 0.98), np.linspace(0.97, 0.1, 65)])
    ties, points = [], []
    for _ in range(40):
        deviation = 0.0015 * np.exp(uneven * chance.normal(size=(len(means), 1)))
        drawn = means[:, None] + 0.0005 * chance.normal(size=seeds) + deviation * chance.normal(size=(96, seeds))
        order = np.argsort(-drawn.mean(1))
        cells = [sample(*row) for row in drawn[order]]
        noise = estimate_noise(cells)
        tested = adjusted([alike(cell, cells[2], noise) for cell in cells[3:]])["p_adjusted"].to_numpy()
        truth = means[order][3:]
        ties.append((tested[truth == 0.98] > 0.05).mean())
        points.append(tested[np.isclose(truth, 0.97)] < 0.05)
    assert np.mean(ties) >= 0.95
    assert np.mean(points) >= (0.95 if seeds == 5 else 0.85)


def test_a_cell_that_fails_with_one_seed_is_unlike_the_steady_ones() -> None:
    chance = np.random.default_rng(7)
    steady = [sample(*(0.98 + 0.0015 * chance.normal(size=3))) for _ in range(40)]
    noise, failing = estimate_noise(steady), sample(0.98, 0.979, 0.6)
    assert compare(failing, steady[2], noise)["p"] > 0.05
    unlike = alike(failing, steady[2], noise)
    assert unlike["p"] < 1e-6 and unlike["difference"] < -0.1
    assert alike(failing, steady[2], Noise()) == compare(failing, steady[2], Noise())


def test_which_test_is_used() -> None:
    first, second = Score(0.9, flags(90, 10)), Score(0.8, flags(80, 20))
    many = {0: first, 1: Score(0.92, flags(92, 8))}, {0: second, 1: second}
    assert compare(*many, Noise())["test"] == "t"
    one = compare({0: first}, {0: second}, Noise())
    assert one["test"] == "McNemar" and one["p"] == pytest.approx(2 * 0.5**10)
    assert one["difference"] == pytest.approx(0.1)
    apart = compare({0: first}, {1: second}, Noise())
    assert apart["test"] == "Fisher" and 0.01 < apart["p"] < 0.2
    elsewhere = compare(*many, Noise(), same_pictures=False)
    assert elsewhere["test"] == "Fisher" and elsewhere["difference"] == pytest.approx(0.11)
    unknown = compare(sample(0.9), sample(0.8), Noise())
    assert unknown["test"] == "" and math.isnan(unknown["p"])


def test_what_could_not_be_tested_takes_no_part_in_the_correction() -> None:
    pairs = [(sample(0.9), sample(0.8)), (sample(0.9, 0.91), sample(0.8, 0.82))]
    tested = adjusted([compare(*pair, Noise()) for pair in pairs])
    assert math.isnan(tested["p_adjusted"][0])
    assert tested["p_adjusted"][1] == tested["p"][1]
    assert adjusted([]).empty
