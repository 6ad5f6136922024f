"""Tests of packs: a member trains as it would alone, whoever it is packed with."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import io
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tune_mnist.spec.training import TrainingConfig
from tune_mnist.training.batches import Pictures, make_pictures
from tune_mnist.training.dataset import load_dataset
from tune_mnist.training.metrics import evaluate
from tune_mnist.training.models import build_model
from tune_mnist.training.steps import pack as pack_module
from tune_mnist.training.steps.autograd import AutogradSteps
from tune_mnist.training.steps.pack import PIECE, SLOTS, PackOfOne, PackSteps

EPOCHS = 2
AUGMENTED: dict[str, Any] = {
    "rotation": 10.0, "translation": 2.0, "scaling": 0.1, "shear": 5.0, "label_smoothing": 0.1, "weight_decay": 0.1,
    "ema_decay": 0.9, "schedule": "cosine", "warmup_epochs": 0.5, "budget": EPOCHS,
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@functools.cache
def mnist(start: int, count: int) -> Pictures:
    dataset = load_dataset()
    part = slice(start, start + count)
    return make_pictures(dataset.train_images[part].reshape(count, -1), dataset.train_labels[part])


def held_out() -> Pictures:
    return mnist(50_000, 100)


def members(*own: tuple[float, int], model: str = "SimpleNN", **common: Any) -> list[TrainingConfig]:
    """Configs of one pack, their (lr, seed) given."""
    return [TrainingConfig(**{"model": model, "batch_size": 32, **common}, lr=lr, seed=seed) for lr, seed in own]


def run(steps: Any, first: int = 1, last: int = EPOCHS) -> list[Any]:
    """The losses of epochs `first` to `last`."""
    return [steps.train_epoch(epoch) for epoch in range(first, last + 1)]


def assert_trains_as_alone(
    configs: Sequence[TrainingConfig], train: Pictures, *, device: str = "cpu", dtype: torch.dtype = torch.float64,
    rtol: float = 1e-6,
) -> None:
    """Each member's losses after each epoch, its outputs and its accuracy are those of `AutogradSteps`."""
    pack = PackSteps(configs, train, device, dtype)
    losses = run(pack)
    outputs = pack.outputs(held_out())
    assert outputs.shape == (len(configs), 100, 10) and outputs.dtype == torch.float32
    for k, config in enumerate(configs):
        alone = AutogradSteps(config, build_model(config), train, device, dtype)
        assert [epoch[k] for epoch in losses] == pytest.approx(run(alone), rel=rtol)
        expected = alone.outputs(held_out())
        torch.testing.assert_close(outputs[k], expected, rtol=max(rtol, 1e-5), atol=10 * rtol)
        labels = held_out().labels
        assert evaluate(outputs[k], labels).accuracy == pytest.approx(
            evaluate(expected, labels).accuracy, abs=1e-6 if dtype == torch.float64 else 0.02
        )


FOUR = ((1e-4, 0), (1e-3, 0), (1e-2, 1), (3e-3, 2))


@pytest.mark.parametrize(
    ("model", "count", "recipe"),
    [
        ("SimpleNN", 1000, {}),
        ("SimpleNN", 1024, {"head": "softmax"}),
        ("ComplexNN", 1000, {}),
        ("CNN", 40, {}),
        ("SimpleNN", 1000, AUGMENTED),
        ("CNN", 40, AUGMENTED),
        ("MediumNN", 500, {"dropout": 0.3, "head": "softmax"}),
        ("SimpleNN", 20, {}),
    ],
    ids=lambda value: "recipe" if isinstance(value, dict) else str(value),
)
def test_each_member_trains_as_alone(model: str, count: int, recipe: dict[str, Any]) -> None:
    assert_trains_as_alone(members(*FOUR, model=model, **recipe), mnist(0, count))


@pytest.mark.parametrize(("model", "count"), [("ComplexNN", 1000), ("CNN", 40)])
def test_in_float32_members_agree_within_rounding_noise(model: str, count: int) -> None:
    configs = members((1e-4, 0), (1e-3, 1), model=model)
    assert_trains_as_alone(configs, mnist(0, count), dtype=torch.float32, rtol=1e-3)


def test_bf16_convolutions_stay_near_float32_and_are_not_it() -> None:
    losses = [
        run(PackSteps(members((1e-3, 0), (1e-4, 1), model="CNN", precision=precision), mnist(0, 32)), last=1)[0]
        for precision in ("fp32", "bf16")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2) and losses[0] != losses[1]


def test_a_member_alone_has_the_same_numbers() -> None:
    configs = members(*FOUR, model="ComplexNN", dropout=0.3)
    together = PackSteps(configs, mnist(0, 1000), dtype=torch.float64)
    losses = run(together)
    for k, config in enumerate(configs):
        alone = PackSteps([config], mnist(0, 1000), dtype=torch.float64)
        assert [epoch[0] for epoch in run(alone)] == pytest.approx([epoch[k] for epoch in losses], rel=1e-6)
        torch.testing.assert_close(alone.outputs(held_out())[0], together.outputs(held_out())[k], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("model", "count"), [("SimpleNN", 1000), ("CNN", 40)])
def test_neither_place_nor_neighbours_nor_their_divergence_change_a_member(model: str, count: int) -> None:
    own = (1e-3, 3)
    packs = [
        PackSteps(members(*others, model=model, dropout=0.2, ema_decay=0.9), mnist(0, count))
        for others in ((own, (1e-4, 0), (1e-2, 0)), ((1e30, 3), (3e-3, 1), own))
    ]
    first, second = (run(pack) for pack in packs)
    assert [epoch[0] for epoch in first] == [epoch[2] for epoch in second]
    assert torch.equal(packs[0].outputs(held_out())[0], packs[1].outputs(held_out())[2])
    assert same(packs[0].state(0), packs[1].state(2))
    assert not second[-1][0] < 1e6 and second[-1][1] < 10  # nan or huge, and a neighbour that is neither


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def through_disk(state: dict[str, Tensor]) -> dict[str, Tensor]:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    size = sum(tensor.nbytes for tensor in state.values())
    assert buffer.tell() < size + 10_000, "a member's state holds its own numbers only"
    buffer.seek(0)
    loaded: dict[str, Tensor] = torch.load(buffer, weights_only=True)
    return loaded


def check_resume(configs: Sequence[TrainingConfig], train: Pictures, device: str = "cpu") -> None:
    """Members that go on one by one in other packs end as in the uninterrupted one, bit for bit."""
    whole = PackSteps(configs, train, device)
    losses = run(whole, last=3)
    begun = PackSteps(configs, train, device)
    run(begun, last=1)
    states = [through_disk(begun.state(k)) for k in range(len(configs))]
    going_on = PackSteps([*configs[1:], configs[0]], train, device)
    run(going_on, 2, 2)  # whatever a slot did before, a state replaces it
    for k, state in enumerate(states):
        going_on.load((k - 1) % len(configs), state)
    rest = run(going_on, 2, 3)
    for k in range(len(configs)):
        slot = (k - 1) % len(configs)
        assert [epoch[slot] for epoch in rest] == [epoch[k] for epoch in losses[1:]]
        assert same(going_on.state(slot), whole.state(k))


@pytest.mark.parametrize(
    ("model", "count", "recipe"),
    [("SimpleNN", 1000, {**AUGMENTED, "budget": 3, "dropout": 0.3}), ("CNN", 40, {"dropout": 0.3})],
    ids=["SimpleNN", "CNN"],
)
def test_going_on_in_another_pack_equals_an_uninterrupted_run(model: str, count: int, recipe: dict[str, Any]) -> None:
    check_resume(members((1e-3, 0), (1e-2, 1), (3e-3, 0), model=model, **recipe), mnist(0, count))


def test_dropout_is_of_the_seed_and_the_epoch() -> None:
    configs = members((1e-3, 0), (1e-2, 0), (1e-3, 1), dropout=0.5)
    pack = PackSteps(configs, mnist(0, 200))
    epochs = []
    for epoch in (1, 2, 1):
        pack._begin(epoch)
        epochs.append(pack._masks(64))
    (first,), (second,), (again,) = epochs  # SimpleNN has one hidden layer
    assert first.shape == (2, 64, 128) and set(first.unique().tolist()) == {0.0, 2.0}
    assert first.mean() == pytest.approx(1, abs=0.05)
    assert torch.equal(first, again) and not torch.equal(first, second) and not torch.equal(first[0], first[1])
    without = [dataclasses.replace(config, dropout=0.0) for config in configs]
    losses = [run(PackSteps(pack, mnist(0, 200))) for pack in (configs, configs, without)]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize(("model", "recipe"), [("MediumNN", {"head": "softmax"}), ("CNN", {"ema_decay": 0.5})])
def test_a_members_module_computes_its_outputs(model: str, recipe: dict[str, Any]) -> None:
    pack = PackSteps(members((1e-3, 0), (1e-2, 1), model=model, dropout=0.2, **recipe), mnist(0, 40))
    run(pack)
    pictures = torch.from_numpy(held_out().pixels).float() / 127.5 - 1
    for k, outputs in enumerate(pack.outputs(held_out())):
        torch.testing.assert_close(pack.module(k)(pictures), outputs, rtol=1e-3, atol=1e-4)


def test_a_pack_of_one_is_any_full_pack() -> None:
    configs = members(*FOUR, dropout=0.2)
    assert len(configs) == SLOTS
    alone, pack = PackOfOne(configs[1], mnist(0, 500)), PackSteps(configs, mnist(0, 500))
    assert run(alone) == [epoch[1] for epoch in run(pack)]
    assert torch.equal(alone.outputs(held_out()), pack.outputs(held_out())[1])
    assert same(alone.state(), pack.state(1))
    other = PackOfOne(configs[1], mnist(0, 500))
    other.load(alone.state())
    assert all(torch.equal(a, b) for a, b in zip(other.module().parameters(), alone.module().parameters(), strict=True))


def test_configs_of_different_trainings_make_no_pack() -> None:
    small, large = members((1e-3, 0))[0], members((1e-3, 0), model="ComplexNN")[0]
    for other in (large, dataclasses.replace(small, batch_size=64), dataclasses.replace(small, dropout=0.1)):
        with pytest.raises(ValueError, match="differ in lr and seed only"):
            PackSteps([small, other], mnist(0, 100))


class Watcher(TorchDispatchMode):
    """Notes the devices of every operation's tensors; skips AdamW, which the meta device lacks."""

    def __init__(self) -> None:
        super().__init__()
        self.devices: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = None if "_fused_adamw_" in str(func) else func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
        self.devices += [tensor.device.type for tensor in tensors]
        return result


@pytest.mark.parametrize("model", ["ComplexNN", "CNN"])
def test_a_step_neither_waits_for_the_device_nor_reads_from_the_host(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a CUDA graph requires. The meta device has no values: to ask for one raises."""
    recipe = {**AUGMENTED, "dropout": 0.3, "head": "softmax"}
    pack = PackSteps(members((1e-3, 0), (1e-2, 1), (1e-3, 1), model=model, **recipe), mnist(0, 100))
    for name, value in vars(pack).items():
        if isinstance(value, Tensor):
            setattr(pack, name, value.to("meta"))
    pack.device = torch.device("meta")
    monkeypatch.setattr(torch, "autocast", lambda *args, **options: contextlib.nullcontext())  # knows no meta device
    with torch.no_grad(), Watcher() as watcher:
        pack._advance(32)
    assert len(watcher.devices) > 100 and set(watcher.devices) == {"meta"}


def powers(model: str, **recipe: Any) -> list[TrainingConfig]:
    """Members whose lr is the same in float32 and float64."""
    return members((2.0**-13, 0), (2.0**-10, 0), (2.0**-7, 1), (2.0**-9, 2), model=model, **recipe)


@pytest.mark.parametrize("model", ["SimpleNN", "ComplexNN"])
def test_adamw_in_pieces_gives_the_bits_of_adamw_on_whole_rows(model: str) -> None:
    configs = members(*FOUR, model=model, weight_decay=0.1, ema_decay=0.9)
    whole, pieces = (PackSteps(configs, mnist(0, 200)) for _ in range(2))
    pieces.piece = PIECE
    assert whole.piece >= whole.weights.shape[1] > PIECE
    assert run(whole) == run(pieces)
    assert all(same(whole.state(k), pieces.state(k)) for k in range(SLOTS))


def test_a_snapshot_stays_what_it_was_while_training_goes_on() -> None:
    pack = PackSteps(members(*FOUR), mnist(0, 100))
    run(pack, last=1)
    snapshot, state = pack.snapshot(1), pack.state(1)
    run(pack, 2, 2)
    assert same(snapshot(), state) and not same(pack.state(1), state)


def test_evaluation_pictures_go_to_the_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pack = PackSteps(members(*FOUR), mnist(0, 50))
    seen: list[Any] = []

    def noted(array: Any) -> Tensor:
        seen.append(array)
        return torch.from_numpy(array)

    monkeypatch.setattr(pack_module, "as_tensor", noted)
    first, again = pack.outputs(held_out()), pack.outputs(held_out())
    assert torch.equal(first, again) and len(seen) == 1
    pack.outputs(mnist(0, 50))
    assert len(seen) == 2


@pytest.mark.parametrize("model", ["SimpleNN", "CNN"])
def test_nothing_but_its_user_keeps_a_pack(model: str) -> None:
    """No circle of references: its memory on a GPU would stay taken until garbage is collected."""
    run(PackSteps(members(*FOUR), mnist(0, 40)), last=1)  # what torch imports then leaves circles
    gc.collect()
    gc.disable()
    try:
        pack = PackSteps(members(*FOUR, model=model, dropout=0.3), mnist(0, 40))
        run(pack, last=1)
        pack.outputs(held_out())
        kept = weakref.ref(pack), weakref.ref(pack.model), weakref.ref(pack.weights)
        del pack
        assert [one() for one in kept] == [None, None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize("steps", [AutogradSteps, PackOfOne])
def test_the_users_random_numbers_are_left_alone(steps: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`torch.manual_seed` seeds the generators of all GPUs."""
    def refuse(seed: int) -> None:
        raise AssertionError("the generators of all devices are seeded")

    for name in ("manual_seed", "manual_seed_all"):
        monkeypatch.setattr(torch.cuda, name, refuse)
    monkeypatch.setattr(torch.random, "manual_seed", refuse)
    monkeypatch.setattr(torch, "manual_seed", refuse)
    before = torch.get_rng_state()
    config = members((1e-3, 0), dropout=0.3)[0]
    own = steps(config, build_model(config), mnist(0, 40)) if steps is AutogradSteps else steps(config, mnist(0, 40))
    own.train_epoch(1)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.gpu
class TestOnCuda:
    """The same comparisons with CUDA graphs."""

    @pytest.mark.parametrize(
        ("model", "count", "recipe"),
        [
            ("SimpleNN", 1000, {}), ("ComplexNN", 1000, {"head": "softmax"}), ("CNN", 40, {}), ("SimpleNN", 1024, {}),
            ("SimpleNN", 20, {}), ("SimpleNN", 1000, {**AUGMENTED, "schedule": "constant", "warmup_epochs": 0.0}),
        ],
    )
    def test_each_member_trains_as_alone(self, model: str, count: int, recipe: dict[str, Any]) -> None:
        assert_trains_as_alone(powers(model, **recipe), mnist(0, count), device="cuda")

    @pytest.mark.parametrize("model", ["SimpleNN", "CNN"])
    def test_in_float32_with_everything_on(self, model: str) -> None:
        configs = powers(model, **AUGMENTED)[:2]
        assert_trains_as_alone(configs, mnist(0, 1000), device="cuda", dtype=torch.float32, rtol=2e-2)

    @pytest.mark.parametrize("model", ["SimpleNN", "CNN"])
    def test_it_agrees_with_the_cpu(self, model: str) -> None:
        losses = [run(PackSteps(powers(model), mnist(0, 300), device, torch.float64)) for device in ("cpu", "cuda")]
        torch.testing.assert_close(torch.tensor(losses[0]), torch.tensor(losses[1]), rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("model", ["SimpleNN", "CNN"])
    def test_graphs_replay_what_the_eager_step_computes(self, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
        recipe = {**AUGMENTED, "dropout": 0.3}
        graphs, eager = (PackSteps(powers(model, **recipe), mnist(0, 300), "cuda") for _ in range(2))
        replayed = run(graphs)
        assert set(graphs.graphs) == {(32, 8), (32, 1), (300 % 32, 1)}
        monkeypatch.setattr(PackSteps, "_capture", lambda self: None)
        torch.testing.assert_close(torch.tensor(run(eager)), torch.tensor(replayed), rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("model", ["SimpleNN", "CNN"])
    def test_going_on_in_another_pack_equals_an_uninterrupted_run(self, model: str) -> None:
        check_resume(powers(model, **{**AUGMENTED, "budget": 3, "dropout": 0.3}), mnist(0, 300), "cuda")

    def test_neither_neighbours_nor_their_divergence_change_a_member(self) -> None:
        calm, wild = members((1e-3, 0), (1e-2, 1), dropout=0.2), members((1e30, 7), (1e-2, 1), dropout=0.2)
        packs = [PackSteps(configs, mnist(0, 1000), "cuda") for configs in (calm, wild)]
        first, second = (run(pack) for pack in packs)
        assert [epoch[1] for epoch in first] == [epoch[1] for epoch in second]
        assert same(packs[0].state(1), packs[1].state(1)) and not second[-1][0] < 1e6

    def test_bf16_trains(self) -> None:
        losses = run(PackSteps(powers("CNN", precision="bf16"), mnist(0, 1000), "cuda"), last=3)
        assert losses[-1][1] < losses[0][1]

    def test_packs_at_once_on_streams_of_their_own_give_the_bits_of_each_alone(self) -> None:
        own = [powers(model) for model in ("SimpleNN", "MediumNN", "ComplexNN")]
        alone = [PackSteps(configs, mnist(0, 1000), "cuda") for configs in own]
        expected = [run(pack) for pack in alone]
        together = [PackSteps(configs, mnist(0, 1000), "cuda") for configs in own]
        with ThreadPoolExecutor(len(own)) as threads:
            assert list(threads.map(run, together)) == expected
        assert len({pack.stream.cuda_stream for pack in together if pack.stream is not None}) == len(own)
        assert all(same(a.state(1), b.state(1)) for a, b in zip(alone, together, strict=True))

    def test_tf32_is_not_used_where_it_is_asked_for(self) -> None:
        expected = run(PackSteps(powers("ComplexNN"), mnist(0, 300), "cuda"))
        torch.set_float32_matmul_precision("high")
        try:
            assert run(PackSteps(powers("ComplexNN"), mnist(0, 300), "cuda")) == expected
        finally:
            torch.set_float32_matmul_precision("highest")

    def test_dropout_leaves_the_users_generator_alone(self) -> None:
        config = members((1e-3, 0), dropout=0.3)[0]
        torch.cuda.manual_seed(7)
        before = torch.cuda.get_rng_state()
        AutogradSteps(config, build_model(config), mnist(0, 40), "cuda").train_epoch(1)
        PackOfOne(config, mnist(0, 40), "cuda").train_epoch(1)
        assert torch.equal(torch.cuda.get_rng_state(), before)
