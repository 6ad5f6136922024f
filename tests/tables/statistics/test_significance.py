"""Scores by seed and by picture, and two networks told apart, with known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from tune_mnist.tables.statistics.significance import (
    Right,
    Sample,
    Score,
    accuracies_of,
    adjusted,
    compare_networks,
    from_one,
    mcnemar,
    mcnemar_p,
    right_of,
    score,
    share_right,
)
from tune_mnist.training.packing import pack_bits, unpack_bits


def sample(*accuracies: float) -> Sample:
    return {seed: Score(accuracy, None) for seed, accuracy in enumerate(accuracies)}


def flags(right: int, wrong: int) -> Right:
    return right_of(np.repeat([True, False], [right, wrong]))


@pytest.mark.parametrize("n", [1, 8, 1001])
def test_packed_predictions_come_back_with_their_number(n: int) -> None:
    correct = np.random.default_rng(0).random(n) < 0.9
    correct[0] = True
    again = score(float(correct.mean()), pack_bits(correct)).correct
    assert again is not None
    assert again.pictures == n and again.hits == correct.sum()
    np.testing.assert_array_equal(again.flags, correct)
    assert not unpack_bits(pack_bits(correct))[n:].any()


@pytest.mark.parametrize(("accuracy", "packed"), [(0.5, None), (0.0, "unread"), (math.nan, "unread"), (0.5, math.nan)])
def test_a_score_without_known_predictions_has_none(accuracy: float, packed: object) -> None:
    assert score(accuracy, packed).correct is None


def test_mcnemar_is_the_binomial_test_of_the_discordant_pictures() -> None:
    # 2 · P(X ≤ 5), X binomial of 20 at one half, is 0.04138947
    first = np.repeat([True, True, False, False], [70, 5, 15, 10])
    second = np.repeat([True, False, True, False], [70, 5, 15, 10])
    assert mcnemar(right_of(first), right_of(second)) == pytest.approx(0.04138947)
    assert mcnemar(right_of(first), right_of(first)) == 1


def test_many_mcnemar_tests_at_once_are_the_binomial_tests_to_the_last_bit() -> None:
    chance = np.random.default_rng(0)
    both = chance.integers(1, [5, 40, 400, 9000], size=(60, 4)).ravel()
    first = chance.binomial(both, chance.random(len(both)))
    expected = [binomtest(int(k), int(n)).pvalue for k, n in zip(first, both, strict=True)]
    np.testing.assert_array_equal(mcnemar_p(first, both - first), expected)
    assert mcnemar_p(np.array([0]), np.array([0])).tolist() == [1.0]


def test_all_cells_against_one_are_what_each_is_by_itself() -> None:
    chance = np.random.default_rng(1)
    made: list[Sample] = [{0: Score(float(f.mean()), right_of(f))} for f in chance.random((7, 1001)) < 0.9]
    made += [{1: made[0][0]}, {0: Score(0.8, None)}, {0: Score(0.5, flags(50, 50))}]  # of another seed, or pictures
    table = from_one(made, made[2])
    for place, each in enumerate(made):
        alone = compare_networks(each, made[2])
        np.testing.assert_array_equal(table.loc[place].to_numpy(), [alone["difference"], alone["p"]])


def test_scores_become_a_table_with_gaps_and_shares_per_picture() -> None:
    samples: list[Sample] = [sample(0.9, 0.8), {1: Score(0.7, None), 2: Score(0.6, None)}]
    np.testing.assert_array_equal(accuracies_of(samples), [[0.9, 0.8, np.nan], [np.nan, 0.7, 0.6]])
    both = {0: Score(0.5, right_of(np.array([True, False]))), 1: Score(1.0, right_of(np.array([True, True])))}
    np.testing.assert_array_equal(share_right(both), [1.0, 0.5])
    assert share_right(samples[0]) is None and share_right({}) is None


def test_which_test_tells_two_networks_apart() -> None:
    first, second = Score(0.9, flags(90, 10)), Score(0.8, flags(80, 20))
    same = compare_networks({0: first}, {0: second})
    assert same["test"] == "McNemar" and same["p"] == pytest.approx(2 * 0.5**10)
    assert same["difference"] == pytest.approx(0.1)
    assert same["ci_low"] == pytest.approx(0.1 - 1.96 * 0.03, abs=0.001)  # 10 of 100 pictures differ, all one way
    apart = compare_networks({0: first}, {1: second})
    assert apart["test"] == "Fisher" and 0.01 < apart["p"] < 0.2
    assert compare_networks({0: first}, {0: second}, same_pictures=False)["test"] == "Fisher"
    unknown = compare_networks(sample(0.9), sample(0.8))
    assert unknown["test"] == "" and math.isnan(unknown["p"]) and unknown["difference"] == pytest.approx(0.1)


def test_what_could_not_be_tested_takes_no_part_in_the_correction() -> None:
    first, second = {0: Score(0.9, flags(90, 10))}, {0: Score(0.8, flags(80, 20))}
    found = adjusted([compare_networks(sample(0.9), sample(0.8)), compare_networks(first, second)])
    assert math.isnan(found["p_adjusted"][0])
    assert found["p_adjusted"][1] == found["p"][1]
    assert adjusted([]).empty
