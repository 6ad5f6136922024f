"""Tests of a trained model's folder: what is saved is loaded, and nothing else is, nor run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from support.own import net
from tune_mnist.deploy import trained
from tune_mnist.deploy.trained import load_metrics, load_trained, save_trained
from tune_mnist.spec.errors import UserError
from tune_mnist.spec.training import TrainingConfig
from tune_mnist.study.files import digest, read_json, write_json
from tune_mnist.training.models import build_model

CONFIG = TrainingConfig(model="SimpleNN", lr=1e-3, batch_size=32, seed=7, dropout=0.5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_trained(tmp_path / "best", build_model(CONFIG).state_dict(), CONFIG, {"test_accuracy": 0.5})
    return tmp_path / "best"


def put(folder: Path, content: object) -> None:
    """Replace the weights by anything torch can save, with the checksum that fits."""
    torch.save(content, folder / "model.pt")
    about = read_json(folder / "config.json")
    write_json(folder / "config.json", about | {"weights": digest((folder / "model.pt").read_bytes())})


def weights(**changed: torch.Tensor) -> dict[str, torch.Tensor]:
    return build_model(CONFIG).state_dict() | {name.replace("__", "."): value for name, value in changed.items()}


def test_what_was_saved_is_loaded(folder: Path) -> None:
    loaded = load_trained(folder)
    assert loaded.config == CONFIG and not loaded.model.training
    for name, tensor in build_model(CONFIG).state_dict().items():
        torch.testing.assert_close(loaded.model.state_dict()[name], tensor, rtol=0, atol=0)
    assert load_metrics(folder) == {"test_accuracy": 0.5}


def test_saving_again_gives_the_same_bytes_and_leaves_nothing_else(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    save_trained(folder, build_model(CONFIG).state_dict(), CONFIG, {"test_accuracy": 0.5})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert set(before) == {"model.pt", "config.json", "metrics.json"}


def test_views_of_a_large_buffer_are_saved_small(tmp_path: Path) -> None:
    flat = torch.zeros(10**7)
    views = {name: flat[: tensor.numel()].view(tensor.shape) for name, tensor in weights().items()}
    save_trained(tmp_path, views, CONFIG, {})
    assert (tmp_path / "model.pt").stat().st_size < 500_000


@pytest.mark.parametrize("head", ["logits", "softmax"])
def test_probabilities_sum_to_one_however_many_pictures(tmp_path: Path, head: Any) -> None:
    config = TrainingConfig(model="CNN", lr=1e-3, batch_size=32, head=head)
    save_trained(tmp_path, build_model(config).state_dict(), config, {})
    pictures = np.random.default_rng(0).integers(0, 256, (7, 28, 28), dtype=np.uint8)
    loaded = load_trained(tmp_path)
    probabilities = loaded.probabilities(pictures)
    assert probabilities.shape == (7, 10) and probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(loaded.probabilities(pictures[3:4])[0], probabilities[3], atol=1e-6)


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.path),)


def test_code_in_the_weights_is_not_run(folder: Path, tmp_path: Path) -> None:
    for content in (Hostile(tmp_path / "ran"), weights() | {"more": Hostile(tmp_path / "ran")}):
        put(folder, content)
        with pytest.raises(UserError, match="does not hold weights alone and is not loaded: name by --model"):
            load_trained(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [
    [1, 2], {}, weights(linears__0__weight=torch.zeros(128, 783)), weights(more=torch.zeros(1)),
    {name: 0.0 for name in weights()},
    weights(linears__1__bias=torch.zeros(10, dtype=torch.float64)),
])
def test_weights_of_another_shape_are_refused(folder: Path, content: object) -> None:
    put(folder, content)
    with pytest.raises(UserError, match="model.pt do not have the shapes of SimpleNN: name by --model"):
        load_trained(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_neither_loaded_nor_saved(folder: Path, tmp_path: Path, value: float) -> None:
    bad = weights(linears__1__bias=torch.full((10,), value))
    put(folder, bad)
    with pytest.raises(UserError, match="model.pt are not all finite: the training diverged"):
        load_trained(folder)
    with pytest.raises(UserError, match="the weights to save are not all finite"):
        save_trained(tmp_path / "new", bad, CONFIG, {})
    assert not (tmp_path / "new").exists()


def test_every_truncation_and_any_flipped_byte_is_noticed(folder: Path) -> None:
    for path in (folder / "model.pt", folder / "config.json"):
        whole = path.read_bytes()
        for size in (0, 1, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:size])
            with pytest.raises(UserError, match=f"{path.name} is damaged: it does not match"):
                load_trained(folder)
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(UserError, match=f"{path.name} is damaged: it does not match"):
            load_trained(folder)
        path.write_bytes(whole)
    load_trained(folder)


@pytest.mark.parametrize("name", ["model.pt", "config.json"])
def test_a_missing_file_or_a_folder_in_its_place_is_told(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"no trained model: cannot read .*{name}: No such file"):
        load_trained(folder)
    (folder / name).mkdir()
    with pytest.raises(UserError, match=f"no trained model: cannot read .*{name}: Is a directory"):
        load_trained(folder)


def test_a_foreign_config_is_refused(folder: Path) -> None:
    about = read_json(folder / "config.json")
    write_json(folder / "config.json", {"anything": 1})
    with pytest.raises(UserError, match="config.json is not a trained model's"):
        load_trained(folder)
    write_json(folder / "config.json", about | {"config": about["config"] | {"model": "Huge"}})
    with pytest.raises(UserError, match="config.json: .*model is one of SimpleNN"):
        load_trained(folder)


def test_weights_that_unpack_to_more_than_any_model_are_not_unpacked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trained, "MOST_BYTES", 1000)
    with pytest.raises(UserError, match="does not hold weights alone and is not loaded"):
        load_trained(folder)


def test_a_model_of_ones_own_is_kept_with_its_source_and_runs_only_if_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNE_MNIST_CACHE", str(tmp_path / "cache"))
    model = net(tmp_path / "a")
    config = TrainingConfig(model=model.name, source=model, lr=1e-3, batch_size=8, model_settings={"width": 4})
    names = tuple("ABC")
    weights = build_model(config, 3).state_dict()
    save_trained(tmp_path / "kept", weights, config, {}, names)
    with pytest.raises(UserError, match="would run the code in .*source/net.py"):
        load_trained(tmp_path / "kept")
    loaded = load_trained(tmp_path / "kept", trusted=True)
    assert loaded.classes == names and loaded.config == config
    assert loaded.probabilities(np.zeros((2, 28, 28), np.uint8)).shape == (2, 3)
    (tmp_path / "kept" / "source" / "net.py").write_text("raise SystemExit(1)")
    with pytest.raises(UserError, match="is damaged"):
        load_trained(tmp_path / "kept", trusted=True)
