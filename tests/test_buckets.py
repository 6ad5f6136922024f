"""Tests of the commands on a study in a bucket: what they say and write is what they do of a folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from support.buckets import KEYS
from support.faults import FaultyServer, Refusal
from support.idx import random_arrays, write_folder
from support.studies import made_study
from tune_mnist import analysis, claims, compare, doctor, grid, report, retrain, search, status, verify
from tune_mnist.experiment import check_experiment
from tune_mnist.grid_experiment import run_grid
from tune_mnist.running.resources import Resources
from tune_mnist.spec.places import shown
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import training_key
from tune_mnist.study.storage.bucket.objects import Bucket
from tune_mnist.study.storage.bucket.storage import BucketStorage
from tune_mnist.study.study import Study
from tune_mnist.tables.of_study import load_study

SPEC = StudySpec(models=("SimpleNN", "MediumNN"), lr=(1e-3, 1e-4), batch_size=(32,), epochs=(1, 2), seeds=2)
Main = Callable[[Sequence[str]], int]


@pytest.fixture(autouse=True)
def one_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw none, which takes most of the time, and have a made-up one."""
    monkeypatch.setattr("tune_mnist.reporting.publish.cell_figures", lambda tables: {"heatmap": b"a figure"})
    monkeypatch.setattr("tune_mnist.reporting.publish._further_figures", lambda *args: iter(()))


@pytest.fixture
def folder(tmp_path: Path) -> Study:
    """A study in a folder whose name is that of the one in the bucket."""
    return made_study(tmp_path / "mine", SPEC, scored=3)


@pytest.fixture
def kept(folder: Study, uri: str) -> str:
    """The same study in a bucket."""
    return keep(folder, uri)


def keep(folder: Study, uri: str) -> str:
    with (storage := BucketStorage(uri)).hold():
        shutil.copytree(folder.folder, storage.folder, dirs_exist_ok=True)
        study = Study(storage)
        storage.keep([storage.folder / "study.json"])
        for plan in study.planned():
            study.training(training_key(plan.config, study.context())).keep_copied()
    return uri


def said(main: Main, words: Sequence[str], capsys: pytest.CaptureFixture[str], status: int = 0) -> str:
    assert main(words) == status
    shown = capsys.readouterr()
    assert shown.err == "" or status
    return shown.out + shown.err


def test_analysis_writes_the_same_tables_and_figures_into_the_bucket(
    folder: Study, kept: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said(analysis.main, [str(folder.folder)], capsys)
    paths = said(analysis.main, [kept], capsys).split()
    names = ["results.csv", "figures/heatmap.png", "report.html"]
    assert {f"{kept}/{name}" for name in names} <= {*paths} and len(paths) == 7
    for path in paths:
        name = path.removeprefix(f"{kept}/")
        assert Bucket(kept).read(name) == (folder.folder / name).read_bytes()
    assert load_study(kept).results.equals(load_study(folder.folder).results)


def test_a_complete_study_is_written_again_for_few_requests(
    uri: str, tmp_path: Path, faults: FaultyServer
) -> None:
    """Each epoch apart, which is an object, and each training, which is listed, a run costs no more than this."""
    data = write_folder(tmp_path / "data", random_arrays())
    spec = StudySpec(
        models=("SimpleNN",), lr=(1e-3, 1e-2), batch_size=(16,), epochs=(1, 2), protocol="report", data=data
    )
    loaded = check_experiment(spec, Resources())
    labels = loaded.dataset.test_labels
    made: dict[str, Any] = {"context": loaded.context, "pictures": len(labels), "scored": 4, "test_labels": labels}
    keep(made_study(tmp_path / "mine", spec, **made), uri)
    faults.seen.clear()
    result = run_grid(spec, name="mine", storage=Path(uri).parent, console=Console(quiet=True))
    assert shown(result.folder) == uri and result.result_grid is None
    assert set(load_study(uri).results["status"]) == {"complete"} and faults.paid() < 40
    bucket = Bucket(uri)
    assert not any(KEYS["AWS_SECRET_ACCESS_KEY"].encode() in bucket.read(each.name) for each in bucket.list())


def test_claims_and_comparisons_are_those_of_the_folder(
    folder: Study, kept: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(claims.main, [kept, "--json"], capsys) == said(claims.main, [str(folder.folder), "--json"], capsys)
    told = said(compare.main, [kept, str(folder.folder)], capsys)
    assert "0 of 8 shared cells differ beyond noise" in told


def test_a_copy_is_a_study_in_a_folder_and_nothing_is_written_to_the_bucket(
    folder: Study, kept: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], faults: FaultyServer
) -> None:
    said(analysis.main, [str(folder.folder)], capsys)
    before = Bucket(kept).list()
    faults.rule = lambda seen: Refusal(403, "AccessDenied") if seen.method != "GET" else None  # may only read
    assert said(report.main, [kept, "--to", str(tmp_path / "copy")], capsys) == f"{tmp_path}/copy/report.html\n"
    assert Bucket(kept).list() == before
    for name in ("results.csv", "epochs.csv", "summary.csv", "top3.csv"):
        assert (tmp_path / "copy" / name).read_bytes() == (folder.folder / name).read_bytes()
    assert "nothing is wrong: 8 trainings" in said(verify.main, [str(tmp_path / "copy")], capsys)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "mine.txt").touch()
    told = said(report.main, [kept, "--to", str(tmp_path / "thesis")], capsys, status=2)
    assert "is not empty and not a study" in told


@pytest.mark.filterwarnings("ignore::tune_mnist.spec.errors.Damaged")  # said on stderr, too
def test_verify_finds_a_changed_byte_in_an_object_and_a_changed_table(
    kept: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said(analysis.main, [kept], capsys)
    assert "mine: nothing is wrong: 8 trainings and the tables" in said(verify.main, [kept], capsys)
    bucket = Bucket(kept)
    bucket.write("results.csv", bucket.read("results.csv").replace(b"SimpleNN", b"simpleNN", 1))
    assert "results.csv is not what the trainings say" in said(verify.main, [kept], capsys, status=1)
    name = bucket.list("trainings")[0].name
    bucket.write(name, bucket.read(name)[:-1] + b"x")
    assert f"{name} does not match its checksum" in said(verify.main, [kept], capsys, status=1)


def test_status_tells_where_a_study_in_a_bucket_stands(kept: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(said(status.main, [kept, "--json"], capsys))["state"] == "stopped"
    said(analysis.main, [kept], capsys)
    told = json.loads(said(status.main, [kept, "--json"], capsys))
    assert told["state"] == "done" and told["folder"] == kept and told["model_epochs"] == {"done": 16, "planned": 16}
    with BucketStorage(kept).hold():
        assert "mine: running, by process" in said(status.main, [kept], capsys)
        assert "study mine is in use by process" in said(verify.main, [kept], capsys, status=2)


def test_retraining_goes_on_from_its_checkpoints_in_the_bucket(
    uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "data", random_arrays(train=130, test=40))
    words = ["--models", "SimpleNN", "--lr", "1e-3", "--batch-size", "32", "--epochs", "3", "--data"]
    words += [str(tmp_path / "data"), "--checkpoint-every", "2", "--json", "--name", "mine"]
    assert retrain.main([*words, "--storage", str(tmp_path / "folder")]) == 0
    capsys.readouterr()
    mirror, calls = BucketStorage.mirror, []

    def stopped(self: BucketStorage, folder: Path) -> None:
        mirror(self, folder)
        calls.append(folder)
        if len(calls) == 3:
            raise KeyboardInterrupt

    storage = uri.rpartition("/")[0]
    monkeypatch.setattr(BucketStorage, "mirror", stopped)
    told = said(retrain.main, [*words, "--storage", storage], capsys, status=130)
    assert f"stopped; checkpoints are in {uri}/best: the same command goes on from the last of them" in told
    monkeypatch.setattr(BucketStorage, "mirror", mirror)
    assert retrain.main([*words, "--storage", storage]) == 0
    (outcome,) = json.loads(capsys.readouterr().out)
    assert outcome["folder"] == f"{uri}/best"
    for name in ("model.pt", "metrics.json", "config.json", "training_loss.png"):
        assert Bucket(uri).read(f"best/{name}") == (tmp_path / "folder" / "mine" / "best" / name).read_bytes()


@pytest.mark.parametrize("command", ["grid", "search", "retrain"])
def test_every_command_that_writes_says_in_one_line_what_is_wrong(
    command: str, uri: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, faults: FaultyServer
) -> None:
    main = {"grid": grid.main, "search": search.main, "retrain": retrain.main}[command]
    data = write_folder(tmp_path / "data", random_arrays(train=130, test=40))
    words = ["--data", str(data), "--models", "SimpleNN", "--lr", "1e-3", "--batch-size", "16", "--epochs", "1"]
    words += ["--name", "mine"]
    told = said(main, [*words, "--storage", "s3://nowhere/x"], capsys, status=2)
    assert told == "error: no bucket nowhere: make it or change --storage\n"
    faults.rule = lambda seen: "unconditional"
    told = said(main, [*words, "--storage", uri], capsys, status=2)
    assert told.startswith("error: this store ignores If-None-Match: two runs could mix: ") and told.count("\n") == 1


def test_the_doctor_looks_at_a_bucket(
    uri: str, faults: FaultyServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def check() -> dict[str, str]:
        doctor.main(["--storage", uri, "--json"])
        checks = json.loads(capsys.readouterr().out)["checks"]
        return next(check for check in checks if check["name"] == "storage")

    assert check()["remedy"] is None and "conditions honoured; clocks" in check()["value"]
    faults.rule = lambda seen: Refusal(403, "InvalidAccessKeyId")
    assert check() == {
        "name": "storage", "value": f"not allowed to read {uri}", "remedy": "needs GetObject, ListBucket",
    }
