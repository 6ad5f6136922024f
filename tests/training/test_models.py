"""Tests of the models and of how one is built."""

from __future__ import annotations

import dataclasses
import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from support.slices import evaluation_slice
from tune_mnist.spec.training import FULLY_CONNECTED, MODEL_NAMES, TrainingConfig
from tune_mnist.training.batches import normalise
from tune_mnist.training.models import CNN, build_model

PICTURES = normalise(torch.from_numpy(evaluation_slice(40).pixels))


def config(model: str, **values: Any) -> TrainingConfig:
    return dataclasses.replace(TrainingConfig(model=model, lr=1e-3, batch_size=16), **values)


# The report's models, as shapes of weights: (out, in) and, of convolutions, (out, in, height, width).
WEIGHTS: dict[str, list[tuple[int, ...]]] = {
    "SimpleNN": [(128, 784), (10, 128)],
    "MediumNN": [(256, 784), (128, 256), (10, 128)],
    "ComplexNN": [(512, 784), (256, 512), (128, 256), (64, 128), (10, 64)],
    "MLP": [(128, 784), (10, 128)],
    "CNN": [(32, 1, 3, 3), (64, 32, 3, 3), (128, 64, 3, 3), (128, 6272), (10, 128)],
}


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_a_model_has_the_stated_layers_and_starts_in_float32_on_the_cpu(name: str) -> None:
    model = build_model(config(name))
    shapes = [tuple(parameter.shape) for parameter in model.parameters()]
    assert shapes[::2] == WEIGHTS[name]
    assert shapes[1::2] == [weight[:1] for weight in WEIGHTS[name]]  # a bias for every unit
    assert all(p.dtype == torch.float32 and p.device.type == "cpu" and p.requires_grad for p in model.parameters())
    assert not list(model.buffers())


@pytest.mark.parametrize("head", ["logits", "softmax"])
@pytest.mark.parametrize("name", MODEL_NAMES)
def test_flat_and_square_pictures_give_the_same_ten_outputs(name: str, head: str) -> None:
    model = build_model(config(name, head=head))
    outputs = model(PICTURES)
    assert outputs.shape == (40, 10)
    assert torch.equal(outputs, model(PICTURES.reshape(40, 1, 28, 28)))
    assert torch.allclose(model(PICTURES[:1]), outputs[:1], atol=1e-6)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_the_softmax_head_is_the_softmax_of_the_logits(name: str) -> None:
    logits = build_model(config(name))(PICTURES)
    probabilities = build_model(config(name, head="softmax"))(PICTURES)
    assert torch.allclose(probabilities.sum(1), torch.ones(40), atol=1e-6) and bool((probabilities > 0).all())
    assert torch.allclose(probabilities, logits.softmax(1), atol=1e-7)
    assert not torch.allclose(logits.sum(1), torch.ones(40), atol=1e-2)


def test_a_fully_connected_model_is_its_linear_layers_with_relu_between() -> None:
    for name in FULLY_CONNECTED:
        model = build_model(config(name))
        layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
        parts: list[nn.Module] = list(itertools.chain(*((layer, nn.ReLU()) for layer in layers)))[:-1]
        assert torch.equal(nn.Sequential(*parts)(PICTURES), model(PICTURES))


def test_pooling_before_relu_changes_no_bit() -> None:
    model = build_model(config("CNN"))
    assert isinstance(model, CNN)
    conv1, conv2, conv3 = (layer for layer in model.modules() if isinstance(layer, nn.Conv2d))
    x = model.pool(conv1(PICTURES.reshape(-1, 1, 28, 28)).relu())
    x = model.pool(conv2(x).relu())
    x = conv3(x).relu().flatten(1)
    assert torch.equal(model.linear2(model.linear1(x).relu()), model(PICTURES))


def dropped(model: nn.Module) -> list[tuple[float, Tensor, Tensor]]:
    """For every dropout layer, in the order of use: its rate, input and output."""
    seen: list[tuple[float, Tensor, Tensor]] = []
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.register_forward_hook(lambda layer, inputs, output: seen.append((layer.p, inputs[0], output)))
    model(PICTURES)
    return seen


@pytest.mark.parametrize(
    ("name", "rates"), [("SimpleNN", [0.4]), ("MediumNN", [0.4] * 2), ("ComplexNN", [0.4] * 4), ("CNN", [0.2, 0.4])]
)
def test_dropout_zeroes_its_share_of_every_hidden_layer_and_scales_the_rest(name: str, rates: list[float]) -> None:
    torch.manual_seed(0)
    seen = dropped(build_model(config(name, dropout=0.4)).train())
    assert [rate for rate, _, _ in seen] == rates
    for rate, before, after in seen:
        active = before > 0
        kept = active & (after != 0)
        assert torch.allclose(after[kept], before[kept] / (1 - rate))
        assert kept.sum() / active.sum() == pytest.approx(1 - rate, abs=0.06)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_dropout_is_off_in_evaluation_and_at_rate_0(name: str) -> None:
    plain, dropping = build_model(config(name)), build_model(config(name, dropout=0.5))
    expected = plain.eval()(PICTURES)
    assert torch.equal(plain.train()(PICTURES), expected)
    assert not torch.equal(dropping.train()(PICTURES), expected)
    assert torch.equal(dropping.eval()(PICTURES), expected)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_the_seed_alone_determines_the_initial_weights(name: str) -> None:
    def weights(**values: Any) -> Tensor:
        return nn.utils.parameters_to_vector(build_model(config(name, **values)).parameters())

    torch.manual_seed(1)
    first = weights(seed=7)
    torch.manual_seed(2)
    assert torch.equal(weights(seed=7), first)
    assert torch.equal(weights(seed=7, lr=0.1, batch_size=128, dropout=0.5, head="softmax", ema_decay=0.9), first)
    assert not torch.equal(weights(seed=8), first)


def test_building_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    for name in MODEL_NAMES:
        build_model(config(name))
    assert torch.equal(torch.get_rng_state(), before)


def test_initial_outputs_are_near_chance_for_every_model() -> None:
    heads: tuple[Literal["logits", "softmax"], ...] = ("logits", "softmax")
    for name, head in itertools.product(MODEL_NAMES, heads):
        loss = nn.functional.cross_entropy(
            build_model(config(name, head=head))(PICTURES), torch.from_numpy(evaluation_slice(40).labels)
        )
        assert loss.item() == pytest.approx(2.3026, abs=0.1)


def test_models_built_by_several_threads_at_once_start_as_each_alone() -> None:
    """Their weights are drawn from one generator, which all threads share."""
    configs = [config("SimpleNN", seed=seed) for seed in range(16)]
    alone = [build_model(one) for one in configs]
    with ThreadPoolExecutor(8) as threads:
        for mine, theirs in zip(alone, threads.map(build_model, configs), strict=True):
            assert all(torch.equal(a, b) for a, b in zip(mine.parameters(), theirs.parameters(), strict=True))
