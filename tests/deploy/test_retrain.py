"""Tests of retraining: exact resumes in the middle of an epoch, kills, what is chosen, and robustness."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from support.idx import random_arrays, write_folder
from support.slices import dense, evaluation_slice, train_slice
from support.studies import ABOUT, made_records
from tune_mnist.deploy.retrain_seeds import run_retrain
from tune_mnist.deploy.retraining import CHECKPOINTS, KEPT_CHECKPOINTS, Retraining, RetrainProgress, prepare, retrain
from tune_mnist.deploy.robustness import (
    DISTORTIONS,
    blurred,
    inverted,
    measure,
    noisy,
    rotated,
    scaled,
    shifted,
    with_contrast,
)
from tune_mnist.deploy.trained import load_metrics, load_trained
from tune_mnist.retrain import main
from tune_mnist.spec.errors import Damaged, UserError
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import MODEL_NAMES, Context, TrainingConfig, training_key
from tune_mnist.study.study import Study
from tune_mnist.study.training_folder import Progress
from tune_mnist.training.dataset import Dataset, load_dataset, training_data
from tune_mnist.training.loop import Training
from tune_mnist.training.steps.base import CheckpointedSteps
from tune_mnist.training.steps.choose import make_steps

AUGMENTED = {"rotation": 10, "translation": 2, "scaling": 0.1, "shear": 5}
EVERYTHING = {"dropout": 0.3, "ema_decay": 0.9, "schedule": "cosine", "budget": 2, "weight_decay": 0.1, **AUGMENTED}
RECIPES: dict[str, dict[str, Any]] = {
    **{model: {"model": model} for model in MODEL_NAMES},
    "sparse": {"dropout": 0.3, "batch_size": 16},
    "softmax": {"head": "softmax", "ema_decay": 0.9},
    "everything": {"model": "MediumNN", **EVERYTHING},
    "CNN, everything": {"model": "CNN", "batch_size": 16, "label_smoothing": 0.1, "precision": "bf16", **EVERYTHING},
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def config(**values: Any) -> TrainingConfig:
    return dataclasses.replace(TrainingConfig(model="SimpleNN", lr=1e-3, batch_size=32), **values)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_dataset(folder=write_folder(tmp_path_factory.mktemp("idx"), random_arrays(train=130, test=40)))


def job(dataset: Dataset, folder: Path, epochs: int = 2, **values: Any) -> Retraining:
    return prepare(config(**values), epochs, dataset, folder)


def files(folder: Path) -> dict[str, bytes]:
    """What a finished retraining wrote, but for its seconds and the checkpoints, which hold seconds too."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != "timings.json"}


def as_bytes(state: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_state_from_the_middle_of_an_epoch_goes_on_to_the_same_bits(recipe: str) -> None:
    wanted = config(**RECIPES[recipe])
    pictures = train_slice(40)

    def new() -> CheckpointedSteps:
        steps = make_steps(wanted, pictures if recipe != "everything" else dense(pictures))
        assert isinstance(steps, CheckpointedSteps)
        return steps

    plain, whole = new(), new()
    middles: list[bytes] = []
    losses = [plain.train_epoch(1), plain.train_epoch(2)]
    watched = [whole.train_epoch(1, lambda done: middles.append(as_bytes(whole.state()))), whole.train_epoch(2)]
    assert watched == losses and as_bytes(whole.state()) == as_bytes(plain.state())
    assert len(middles) == -(-40 // wanted.batch_size)
    for middle in middles:
        resumed = new()
        torch.manual_seed(9)
        resumed.load(torch.load(io.BytesIO(middle), weights_only=True))
        assert as_bytes(resumed.state()) == middle
        assert [resumed.train_epoch(1), resumed.train_epoch(2)] == losses
        assert as_bytes(resumed.state()) == as_bytes(plain.state())


@pytest.mark.parametrize("values", [{}, {"model": "CNN", **EVERYTHING}])
def test_the_retrained_model_is_the_engines_and_so_are_its_metrics(
    dataset: Dataset, tmp_path: Path, values: dict[str, Any]
) -> None:
    one = job(dataset, tmp_path / "best", **values)
    metrics = retrain(one, 2)
    training = Training(one.config, one.train, one.test)
    epochs = [training.run_epoch() for _ in range(2)]
    assert metrics["train_loss"] == [epoch.train_loss for epoch in epochs]
    for name in ("accuracy", "loss", "precision", "recall", "f1"):
        assert metrics[name] == pytest.approx(getattr(epochs[-1].evaluation, name))
    trained = load_trained(one.folder)
    for name, tensor in training.module().state_dict().items():
        assert torch.equal(trained.model.state_dict()[name], tensor)
    confusion = np.array(metrics["confusion"])
    assert confusion.sum() == 40 == metrics["tested_on"] and metrics["trained_on"] == 130
    assert [row["pictures"] for row in metrics["per_class"]] == confusion.sum(1).tolist()
    predicted = np.maximum(confusion.sum(0), 1)
    assert [row["precision"] for row in metrics["per_class"]] == pytest.approx(confusion.diagonal() / predicted)
    assert load_metrics(one.folder) == metrics


class Stopped(Exception):
    pass


@pytest.mark.parametrize("values", [{"dropout": 0.3}, {"model": "CNN", **EVERYTHING}])
def test_stopped_anywhere_and_run_again_it_gives_the_same_bytes(
    dataset: Dataset, tmp_path: Path, values: dict[str, Any]
) -> None:
    whole = job(dataset, tmp_path / "whole", **values)
    retrain(whole, 3)
    for stop in (2, 7, whole.steps):
        part = dataclasses.replace(whole, folder=tmp_path / f"part-{stop}")
        seen: list[int] = []

        def watch(progress: RetrainProgress, stop: int = stop, seen: list[int] = seen) -> None:
            seen.append(progress.step)
            if seen == list(range(1, stop + 1)):
                raise Stopped(f"at {stop}")

        with pytest.raises(Stopped, match=f"at {stop}"):
            retrain(part, 3, watch)
        retrain(part, 3, watch)
        saved = stop if stop == whole.steps else stop - stop % 3
        assert seen[stop:] == list(range(saved + 1, whole.steps + 1))
        assert files(part.folder) == files(whole.folder)


def test_ten_checkpoints_are_kept_and_a_damaged_one_is_set_aside(dataset: Dataset, tmp_path: Path) -> None:
    one = job(dataset, tmp_path / "best", epochs=4, batch_size=10)
    retrain(one, 4)
    kept = sorted((one.folder / CHECKPOINTS).glob("*.pt"))
    assert len(kept) == KEPT_CHECKPOINTS and kept[-1].name.startswith("step-00000052")
    before = files(one.folder)
    kept[-1].write_bytes(kept[-1].read_bytes()[:-1])
    kept[-2].write_bytes(kept[-3].read_bytes())
    (one.folder / "model.pt").unlink()
    with pytest.warns(Damaged, match="does not match its checksum"):
        retrain(one, 4)
    assert files(one.folder) == before


def test_another_training_is_set_aside_not_gone_on_from(dataset: Dataset, tmp_path: Path) -> None:
    first = job(dataset, tmp_path / "best")
    retrain(first, 3)
    retrain(job(dataset, tmp_path / "best", lr=1e-2), 3)
    assert load_trained(tmp_path / "best").config.lr == 1e-2
    assert load_trained(tmp_path / "best.aside-1").config.lr == 1e-3


def test_a_diverged_training_ends_in_one_line(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="training loss of epoch . is finite.*lower the learning rate"):
        retrain(job(dataset, tmp_path / "best", lr=1e30, model="MediumNN"), 3)
    assert not (tmp_path / "best" / "model.pt").exists()


CELL = ("--models", "SimpleNN", "--lr", "1e-3", "--batch-size", "4", "--epochs", "8", "--dropout", "0.2")


@pytest.mark.slow
def test_killed_in_its_middle_the_command_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data", random_arrays(train=400, test=40))
    words = ("--data", str(data), *CELL, "--checkpoint-every", "40", "--storage", str(tmp_path))
    assert main([*words, "--name", "whole"]) == 0
    command = [sys.executable, "-m", "tune_mnist.retrain", *words, "--name", "killed"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    checkpoints = tmp_path / "killed" / "best" / CHECKPOINTS
    until = time.monotonic() + 60
    while running.poll() is None and len(list(checkpoints.glob("*.pt"))) < 2 and time.monotonic() < until:
        time.sleep(0.005)
    running.kill()
    running.communicate()
    reached = max(int(path.name[5:13]) for path in checkpoints.glob("*.pt"))
    assert 80 <= reached < 800, "killed too late"
    again = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    assert files(tmp_path / "killed" / "best") == files(tmp_path / "whole" / "best")


def test_run_again_the_command_finds_it_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_folder(tmp_path / "data", random_arrays(train=130, test=40))
    spec = tmp_path / "fine.toml"
    cell = 'models = ["SimpleNN"]\nlr = [1e-3]\nbatch_size = [32]\nepochs = [2]\n'
    spec.write_text(f'{cell}seeds = 2\ndata = "{data}"\n')
    words = [str(spec), "--storage", str(tmp_path), "--json"]
    assert main(words) == 0
    first = capsys.readouterr()
    folders = tmp_path / "fine" / "best", tmp_path / "fine" / "best-seed-1"
    outcomes = json.loads(first.out)
    assert [outcome["folder"] for outcome in outcomes] == [str(folder) for folder in folders]
    assert [outcome["config"]["seed"] for outcome in outcomes] == [0, 1]
    times = [path.stat().st_mtime_ns for folder in folders for path in sorted(folder.rglob("*"))]
    assert main(words) == 0
    again = capsys.readouterr()
    assert again.out == first.out and again.err.count("done already") == 2
    assert times == [path.stat().st_mtime_ns for folder in folders for path in sorted(folder.rglob("*"))]
    assert main(words[:-1]) == 0
    assert "over 2 seeds" in capsys.readouterr().out


def study_on_data(folder: Path) -> Study:
    """A made study of three learning rates, the middle one best, over data that are really there."""
    data = write_folder(folder / "data", random_arrays(train=130, test=40))
    spec = StudySpec(models=("SimpleNN",), lr=(1e-4, 1e-3, 1e-2), batch_size=(32,), epochs=(1, 2), seeds=2, data=data)
    study = Study(folder / "study")
    study.folder.mkdir()
    study.create()
    sha256 = training_data(load_dataset(folder=data), spec.protocol).sha256
    context = Context(protocol=spec.protocol, data_sha256=sha256)
    study.add(spec, context, ABOUT)
    best = {1e-4: 0.8, 1e-3: 0.9, 1e-2: 0.7}
    for record in made_records(spec, lambda config, epoch: best[config.lr] + 0.01 * epoch):
        training = study.training(training_key(record.config, context))
        training.begin(record.config, context)
        training.save(Progress(list(record.epochs), list(record.timings)))
    return study


def test_a_studys_best_a_rank_or_a_key_is_retrained(tmp_path: Path) -> None:
    study = study_on_data(tmp_path)
    (best,) = run_retrain(study.folder)
    assert best["folder"] == str(study.folder / "best")
    assert (best["config"]["lr"], best["config"]["seed"], best["metrics"]["epochs"]) == (1e-3, 0, 2)
    (third,) = run_retrain(study.folder, rank=3)
    assert (third["config"]["lr"], third["metrics"]["epochs"]) == (1e-4, 2)
    assert third["folder"] == str(study.folder / "rank-3")
    key = training_key(config(lr=1e-2, seed=1), study.context())
    (keyed,) = run_retrain(study.folder, key=key)
    assert (keyed["config"]["lr"], keyed["config"]["seed"]) == (1e-2, 1)
    with pytest.raises(UserError, match="rank <= 6.*7"):
        run_retrain(study.folder, rank=7)
    with pytest.raises(UserError, match="no training with key 0123"):
        run_retrain(study.folder, key="0123")
    write_folder(tmp_path / "data", random_arrays(train=130, test=40, seed=1))
    with pytest.raises(UserError, match="data of study study have SHA-256"):
        run_retrain(study.folder)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([], "exactly one cell is named.*192.*name a study's folder"),
        (["nowhere"], "not a study"),
        (["nowhere", "--lr", "1"], "a study's config is its own"),
        (["--rank", "2"], "rank and key are a study's"),
        (["nowhere", "--rank", "0"], "rank >= 1"),
        (["nowhere", "--rank", "2", "--key", "ab"], "one of rank and key"),
        ([*CELL, "--checkpoint-every", "0"], "checkpoint_every >= 1"),
        ([*CELL[:4], "--batch-size", "70000", "--epochs", "1"], "batch_size <= 60000"),
        ([*CELL, "--name", "../up"], "name matches"),
        ([*CELL, "--sort", "1"], "unknown flag"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    words: list[str], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1 and told.err.startswith("error: ")
    assert re.search(problem, told.err)
    assert not list((tmp_path / "ray_results").rglob("*.pt"))


def test_robustness_compares_with_a_twin_trained_without_augmentation(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data", random_arrays(train=130, test=40))
    spec = StudySpec(
        models=("SimpleNN",), lr=(1e-3,), batch_size=(32,), epochs=(1,), data=data,
        rotation=10.0,
    )
    (outcome,) = run_retrain(spec=spec, storage=tmp_path, robustness=True)
    folder = Path(outcome["folder"])
    assert load_trained(folder / "plain").config == dataclasses.replace(load_trained(folder).config, rotation=0.0)
    assert (folder / "robustness.png").read_bytes().startswith(b"\x89PNG")
    table = pd.read_csv(folder / "robustness.csv")
    levels = sum(len(levels) for _, _, levels in DISTORTIONS.values())
    assert len(table) == 2 * levels and set(table["training"]) == {"augmented", "plain"}


def test_distortions_do_what_they_say() -> None:
    pictures = evaluation_slice(8).pixels.reshape(-1, 28, 28)
    for distort, _, levels in DISTORTIONS.values():
        unchanged = [level for level in levels if np.array_equal(distort(pictures, level), pictures)]
        assert unchanged == [1.0 if 1 in levels and 0 not in levels else 0.0]
        assert all(distort(pictures, level).dtype == np.uint8 for level in levels)
    left, right, up, down = shifted(pictures, 3)[:4]
    assert np.array_equal(left[:, :-3], pictures[0, :, 3:]) and not left[:, -3:].any()
    assert np.array_equal(right[:, 3:], pictures[1, :, :-3]) and not right[:, :3].any()
    assert np.array_equal(up[:-3], pictures[2, 3:]) and not up[-3:].any()
    assert np.array_equal(down[3:], pictures[3, :-3]) and not down[:3].any()
    assert np.array_equal(rotated(pictures, 90), np.rot90(pictures, -1, axes=(1, 2)))  # clockwise
    square = np.zeros((1, 28, 28), np.uint8)
    square[:, 10:18, 10:18] = 255
    assert np.argwhere(scaled(square, 1.5)[0] > 127).min(0).tolist() == [8, 8]  # 12 by 12 pixels
    assert (scaled(square, 1.5) > 127).sum() == 144 and (scaled(square, 0.5) > 127).sum() == 16
    grey = np.full((50, 28, 28), 128, np.uint8)
    noise = noisy(grey, 0.1)
    assert np.array_equal(noisy(grey, 0.1), noise) and noise.std() == pytest.approx(25.5, rel=0.02)
    assert blurred(square, 1).sum() == pytest.approx(square.sum(), rel=0.01) and blurred(square, 1).max() <= 255
    assert with_contrast(square, 0.5).min() == 64 and with_contrast(square, 0.5).max() == 191
    assert np.array_equal(inverted(inverted(pictures, 1), 1), pictures) and inverted(square, 1)[0, 0, 0] == 255


def test_robustness_at_the_level_that_does_nothing_is_the_accuracy(dataset: Dataset, tmp_path: Path) -> None:
    one = job(dataset, tmp_path / "best")
    accuracy = retrain(one, 100)["accuracy"]
    table = measure({"plain": load_trained(one.folder)}, dataset.test_images, dataset.test_labels)
    nothing = {name: 1 if 1 in levels and 0 not in levels else 0 for name, (_, _, levels) in DISTORTIONS.items()}
    clean = table[table["level"] == table["distortion"].map(nothing)]
    assert clean["distortion"].tolist() == list(DISTORTIONS)
    assert clean["accuracy"].tolist() == pytest.approx([accuracy] * len(DISTORTIONS))
    assert table["accuracy"].nunique() > 1, "no distortion changes anything"
    low, high = zip(*(proportion_ci(share, 40) for share in table["accuracy"]), strict=True)
    assert table["ci_low"].tolist() == pytest.approx(low) and table["ci_high"].tolist() == pytest.approx(high)
    assert (table["n"] == 40).all()


def proportion_ci(share: float, n: int) -> tuple[float, float]:
    """Wilson's 95% interval, by its formula."""
    z = 1.959963984540054
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return middle - half, middle + half


@pytest.mark.parametrize("words", [[], ["--name", "thesis"]])
def test_a_folder_of_someone_elses_is_refused_and_left_as_it_is(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A best/ with files that no retraining made, and a folder of results with one's own."""
    monkeypatch.chdir(tmp_path)
    name = "thesis" if words else "retrain/best"
    folder = tmp_path / "ray_results" / name
    folder.mkdir(parents=True)
    (folder / "model.pt").write_text("mine")
    assert main([*CELL, *words]) == 2
    told = capsys.readouterr().err
    assert f"{folder} is not empty" in told or f"{folder.parent} is not empty" in told
    assert told.count("\n") == 1 and [path for path in tmp_path.rglob("*") if path.is_file()] == [folder / "model.pt"]


def test_no_sparse_form_is_made_for_a_gpu(dataset: Dataset, tmp_path: Path) -> None:
    on_gpu = prepare(config(), 1, dataset, tmp_path, device="cuda")
    assert on_gpu.train.nonzero is None and on_gpu.test.nonzero is None
