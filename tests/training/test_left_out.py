"""Tests of what the compiled steps leave out, zeros and dormant units: the bits are those of the whole sums."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, cast

import numba
import numpy as np
import pytest
import torch

from support.slices import dense, evaluation_slice, train_slice
from support.whole import bits, whole_epoch
from tune_mnist.spec.training import FULLY_CONNECTED, TrainingConfig
from tune_mnist.training.batches import Pictures, sparse_rows
from tune_mnist.training.jit import OPTIONS
from tune_mnist.training.models import FullyConnected, build_model
from tune_mnist.training.steps import linear
from tune_mnist.training.steps.adamw import Rate
from tune_mnist.training.steps.alive import list_alive, pack
from tune_mnist.training.steps.dormant import find_dormant
from tune_mnist.training.steps.linear import LinearSteps
from tune_mnist.training.steps.moves import move
from tune_mnist.training.steps.products import multiply

TRAIN = train_slice(500)


@pytest.fixture(autouse=True)
def denormals_flushed() -> Iterator[None]:
    torch.set_flush_denormal(True)
    yield
    torch.set_flush_denormal(False)


def make(model: str = "MediumNN", train: Pictures = TRAIN, **values: Any) -> LinearSteps:
    config = TrainingConfig(**{"model": model, "lr": 1e-2, "batch_size": 16} | values)  # type: ignore[arg-type]
    return LinearSteps(config, cast(FullyConnected, build_model(config)), train)


def assert_together(ours: LinearSteps, whole: LinearSteps) -> None:
    """Train both for two epochs and compare every bit of losses, states and outputs."""
    for epoch in (1, 2):
        loss, expected = ours.train_epoch(epoch), whole_epoch(whole, epoch)
        assert loss == expected or (loss != loss and expected != expected)
        assert bits(ours) == bits(whole)
        outputs = [steps.outputs(evaluation_slice(100)).nan_to_num() for steps in (ours, whole)]
        assert torch.equal(*outputs)


RECIPES: list[dict[str, Any]] = [
    {}, {"lr": 1e-1}, {"lr": 1e-4}, {"head": "softmax"}, {"dropout": 0.5}, {"batch_size": 1}, {"batch_size": 64},
    {"weight_decay": 0.1}, {"ema_decay": 0.9}, {"label_smoothing": 0.1}, {"rotation": 10.0, "dropout": 0.2},
    {"lr": 1e10}, {"lr": 1e19}, {"lr": 1e30}, {"lr": 1e37}, {"lr": 1e38, "dropout": 0.5},
]


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
@pytest.mark.parametrize("model", FULLY_CONNECTED)
def test_the_bits_are_those_of_the_whole_sums(model: str, recipe: dict[str, Any]) -> None:
    """500 pictures: but for a batch of one the last is short. What diverges does so at the same step."""
    assert_together(make(model, **recipe), make(model, **recipe))


def test_so_they_are_of_dense_pictures() -> None:
    assert_together(make(train=dense(TRAIN)), make(train=dense(TRAIN)))


def test_a_network_all_dead_trains_its_last_biases_alone() -> None:
    pair = make("ComplexNN"), make("ComplexNN")
    for steps in pair:
        for layer in linear.layers_of(steps.flat, steps.model.sizes)[:-1]:
            layer.bias.fill_(-1000)
    before = pair[0].flat.clone()
    assert_together(*pair)
    moved = (pair[0].flat != before).nonzero().flatten()
    assert len(moved) == 10 and moved[0] == len(before) - 16


@pytest.mark.parametrize("bad", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("place", ["into", "out of", "bias"])
def test_no_number_beside_a_dead_unit_is_still_seen(bad: float, place: str) -> None:
    """0 times infinity is no number: every loss must say so, as it does where nothing is left out."""
    pair = make(), make()
    for steps in pair:
        first, second, _ = linear.layers_of(steps.flat, steps.model.sizes)
        first.bias[:50] = -1000  # dead, whatever the picture
        {"into": second.weight[:, 7], "out of": second.weight[20], "bias": second.bias[3:4]}[place].fill_(bad)
    ours, whole = pair
    loss, expected = ours.train_epoch(1), whole_epoch(whole, 1)
    assert np.array_equal(loss, expected, equal_nan=True)
    assert math.isnan(loss) or (place, bad) == ("bias", -math.inf)  # which ReLU makes 0
    outputs, whole_outputs = (steps.outputs(evaluation_slice(100)).numpy() for steps in pair)
    assert np.array_equal(outputs, whole_outputs, equal_nan=True)


def slowly_dying(**values: Any) -> LinearSteps:
    return make(train=train_slice(1000), **{"batch_size": 2, "lr": 3e-2} | values)


@pytest.mark.parametrize("recipe", [{}, {"head": "softmax"}, {"dropout": 0.3}, {"model": "SimpleNN"}], ids=str)
def test_a_network_without_its_dormant_units_takes_the_same_steps(
    recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, whole = slowly_dying(**recipe), slowly_dying(**recipe)
    widths = []
    for epoch in (1, 2, 3, 4):
        record = ours.begin(epoch, ours.order(epoch))
        widths.append(ours.sizes[1] if record.core is None else int(record.core.network.sizes[1]))
        with monkeypatch.context() as patch:
            patch.setattr(LinearSteps, "_core", lambda _: None)
            expected = whole.train_epoch(epoch)
        assert ours.train_epoch(epoch) == expected
        assert bits(ours) == bits(whole)
    assert widths[0] == ours.sizes[1] and 0 < widths[-1] <= 0.7 * widths[0]


@pytest.mark.parametrize("kept_whole", [{"weight_decay": 0.1}, {"ema_decay": 0.9}, {"rotation": 5.0}], ids=str)
def test_where_dormant_units_move_all_the_same_nothing_is_left_out(kept_whole: dict[str, Any]) -> None:
    steps = slowly_dying(**kept_whole)
    for epoch in (1, 2, 3):
        assert steps.begin(epoch, steps.order(epoch)).core is None
        steps.train_epoch(epoch)


def test_what_a_picture_wakes_or_what_still_moves_is_not_dormant() -> None:
    steps = make()
    rows = sparse_rows(cast(Any, TRAIN.nonzero))
    layers = linear.layers_of(steps.flat, steps.model.sizes)
    moments = linear.layers_of(steps.means, steps.model.sizes)
    layers[0].bias[:30] = -1000

    def dormant() -> set[int]:
        found = find_dormant(steps._network(), rows, np.zeros(256, bool))
        return set(np.flatnonzero(found).tolist())

    assert dormant() >= set(range(30))
    layers[0].weight[:, 3], layers[0].bias[3] = 0, 1e-6  # alive
    layers[0].bias[4] = float("nan")
    moments[0].weight[100, 5] = 1e-30
    moments[0].bias[6] = -1e-30
    moments[1].weight[7, 2] = 1e-30
    layers[1].weight[8, 2] = float("inf")
    linear.layers_of(steps.squares, steps.model.sizes)[1].weight[9, 0] = float("nan")
    assert dormant() & set(range(30)) == set(range(30)) - {3, 4, 5, 6, 7, 8, 9}
    known = np.zeros(256, bool)
    known[[3, 5]] = True  # believed of the first, which would have to be tried, but seen of the second
    assert find_dormant(steps._network(), rows, known)[[3, 4, 5, 10]].tolist() == [True, False, False, True]


@pytest.mark.parametrize("shape", [(1, 16, 16), (5, 48, 80), (16, 32, 64), (33, 112, 144)])
def test_terms_that_are_0_may_be_left_out(shape: tuple[int, int, int]) -> None:
    rows, depth, columns = shape
    rng = np.random.default_rng(0)
    left, right, start = (rng.normal(size=size).astype(np.float32) for size in (
        (rows, depth), (depth, columns), (rows, columns)
    ))
    left[:, rng.random(depth) < 0.6] = 0
    numbers, every = np.zeros(depth, np.int32), np.arange(max(rows, depth), dtype=np.int32)
    count, finite = list_alive(left, True, np.empty(depth, np.float32), numbers)
    assert finite and 0 < count < depth
    some, whole = start.copy(), start.copy()
    multiply(some, left, right, every, numbers, count)
    multiply(whole, left, right, every, every, depth)
    assert some.tobytes() == whole.tobytes()
    assert np.allclose(whole, start + left @ right, atol=1e-4)
    turned = np.ascontiguousarray(start[::-1].copy())
    multiply(turned, left, right, np.arange(rows, dtype=np.int32)[::-1].copy(), numbers, count)
    assert turned.tobytes() == some[::-1].tobytes()


def test_all_is_listed_where_nothing_may_be_skipped_and_infinities_are_told() -> None:
    values = np.zeros((3, 16), np.float32)
    values[1, 4] = -1
    numbers, space = np.zeros(16, np.int32), np.empty(16, np.float32)
    assert list_alive(values, True, space, numbers) == (1, True) and numbers[0] == 4
    assert list_alive(values, False, space, numbers) == (16, True) and numbers.tolist() == list(range(16))
    for bad in (np.inf, -np.inf, np.nan):
        values[2, 7] = bad
        count, finite = list_alive(values, True, space, numbers)
        assert count == 2 and not finite and numbers[:2].tolist() == [4, 7]


def _moved(
    flat: Any, means: Any, squares: Any, place: int, width: int, gradient: Any, packed: bool, starts: Any, lanes: Any,
    rest: Any, rate: Any, may_rest: bool,
) -> bool:
    return bool(move(flat, means, squares, place, width, gradient, packed, starts, lanes, rest, rate, may_rest))


moved: Any = numba.njit(**OPTIONS)(_moved)


def by_numpy(flat: Any, means: Any, squares: Any, g: Any, lr: Any, root: Any, kept: Any) -> list[Any]:
    """AdamW as its paper has it, each operation rounded."""
    number = flat.dtype.type
    means = means * number(0.9) + g * number(1 - 0.9)
    squares = squares * number(0.999) + g * g * number(1 - 0.999)
    return [flat * kept - lr * means / (np.sqrt(squares) * root + number(1e-8)), means, squares]


@pytest.mark.parametrize("rests", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("share", [0.0, 0.03, 0.5, 1.0])
def test_packed_gradients_move_parameters_as_whole_ones_do(share: float, dtype: Any, rests: bool) -> None:
    width, rng = 160, np.random.default_rng(1)
    gradient = rng.normal(size=(1, width)).astype(dtype)
    gradient[:, rng.random(width) >= share] = 0
    arrays = [rng.normal(size=width + 32).astype(dtype) ** 2 for _ in range(3)]
    arrays[1][40:160] = 0  # means at rest
    arrays[1][50], arrays[1][60] = -0.0, -1e-5
    numbers, starts, lanes = (np.zeros(size, np.int32) for size in (width, width // 16, width // 16))
    count, _ = list_alive(gradient, True, np.empty(width, dtype), numbers)
    packed = pack(gradient, numbers, count, np.empty(width, dtype), starts, lanes)
    assert count == np.count_nonzero(gradient) and packed.shape[1] % 16 == 0
    rate = Rate(dtype(1e-3), dtype(1.5), dtype(1))
    expected = [array.copy() for array in arrays]
    flat, means, squares = (array[16:-16] for array in arrays)
    for array, part in zip(expected, by_numpy(flat, means, squares, gradient[0], *rate), strict=True):
        array[16:-16] = part
    for is_packed, given in ((False, gradient[0]), (True, packed.reshape(-1))):
        found = [array.copy() for array in arrays]
        assert moved(*found, 16, width, given, is_packed, starts, lanes, dtype(0), rate, rests)
        assert [a.tobytes() for a in found] == [a.tobytes() for a in expected]


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_parameters_that_are_no_longer_finite_are_told(bad: float) -> None:
    arrays = [np.ones(32, np.float32) for _ in range(3)]
    arrays[0][21] = bad
    none = np.zeros(2, np.int32)
    one = np.float32(1)
    rest = (np.ones(32, np.float32), False, none, none, one, Rate(one, one, one), True)
    assert not moved(*arrays, 0, 32, *rest)
    assert moved(*arrays, 0, 16, *rest)
