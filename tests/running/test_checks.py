"""The doctor: a sound machine is ready, and each thing that is not right has its remedy beside it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tune_mnist.doctor import DoctorArgs, main
from tune_mnist.running import checks
from tune_mnist.running.checks import Check, machine_checks, package_checks
from tune_mnist.running.gpu_check import check
from tune_mnist.running.gpu_check.scale import Finding
from tune_mnist.spec.errors import UserError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without a token."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def by_name(found: Iterator[Check]) -> dict[str, Check]:
    return {check.name: check for check in found}


def test_one_screen_with_versions_cores_memory_gpus_checksums_storage_and_token(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checks, "LEAST_MEMORY_GIB", 0.0)
    monkeypatch.setattr(checks, "LEAST_SHARED_GIB", 0.0)
    before = sorted(home.rglob("*"))
    status = main(["--storage", str(home / "ray_results")])
    told = capsys.readouterr().out
    for word in ("Python", "torch", "ray", "optuna", "cores", "memory", "GPUs", "60,000 + 10,000", "storage", "token"):
        assert word in told
    assert told.count("\n") <= 24 and "\x1b" not in told
    assert status == 0 and told.rstrip().endswith("ready")
    assert sorted(home.rglob("*")) == before


def test_json_has_the_same_checks(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--json", "--storage", str(home)])
    told = json.loads(capsys.readouterr().out)
    assert told["ready"] is (status == 0) and told["ready"] is all(c["remedy"] is None for c in told["checks"])
    assert [c["name"] for c in told["checks"]] == [c.name for c in machine_checks(home)]


def test_what_is_not_right_has_a_remedy_and_status_1(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "file").write_text("")
    token = home / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("secret")
    token.chmod(0o644)
    monkeypatch.setattr(checks, "LEAST_MEMORY_GIB", 1e9)
    monkeypatch.setattr(checks, "LEAST_SHARED_GIB", 1e9)
    monkeypatch.setattr(checks, "gpus", lambda: None)
    monkeypatch.setattr(sys, "version_info", (3, 9, 0))
    found = by_name(machine_checks(home / "file" / "studies"))
    problems = {name: check.remedy for name, check in found.items() if check.remedy is not None}
    assert problems.keys() == {"Python", "memory", "shared memory", "GPUs", "storage", "token"}
    assert "choose another --storage" in str(problems["storage"]) and "Not a directory" in found["storage"].value
    assert problems["token"] == f"chmod 600 {token}: others can read it"
    assert main(["--storage", str(home / "file" / "studies")]) == 1
    told = capsys.readouterr().out
    assert "not ready" in told and "enlarge /dev/shm" in told and "secret" not in told


def test_missing_and_old_packages_are_named_with_the_command_that_mends_them(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {"tune-mnist": ["torch>=2.5", "ray[default]>=2.52", "rich>=13", "tomli; python_version < '3'"],
              "ray": ["aiohttp-cors; extra == 'default'", "gymnasium; extra == 'rllib'", "click"]}
    there = {"torch": "2.4.1", "ray": "2.60.0", "optuna": "5.0.0"}
    monkeypatch.setattr("importlib.metadata.requires", wanted.get)
    monkeypatch.setattr(checks, "version_of", there.get)
    found = by_name(package_checks(there))
    assert found["torch"] == Check("torch", "2.4.1", 'pip install "torch>=2.5"')
    assert found["ray"].remedy is None and found["optuna"].remedy is None
    assert found["rich"] == Check("rich", "missing", 'pip install "rich>=13"')
    assert found["aiohttp-cors"].remedy == 'pip install "aiohttp-cors"'
    assert found.keys() == {"torch", "ray", "optuna", "rich", "aiohttp-cors", "click"}
    assert by_name(package_checks({"torch": None}))["torch"].value == "missing"


def test_damaged_data_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged() -> Any:
        raise UserError("`MD5 is a` must hold, but got b: install the package again")

    monkeypatch.setattr("tune_mnist.training.dataset.load_dataset", damaged)
    check = by_name(machine_checks(home))["MNIST"]
    assert "MD5 is a" in check.value and check.remedy == "install the package again"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--address", "nonsense"], "address is auto or HOST:PORT"),
        (["--address", "ray://head:10001"], "address is auto or HOST:PORT"),
        (["--storage", "ftp://server/studies"], "storage is a folder or s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://"),
        (["--storage", "z\udce9ro"], r"storage has a name in UTF-8, as Ray asks for` must hold, but got 'z\udce9ro'"),
        (["--storag", "x"], "did you mean `--storage`"),
    ],
)
def test_bad_input_is_one_line(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    shown = capsys.readouterr()
    assert told in shown.err and shown.err.count("\n") == 1 and shown.out == ""


def test_addresses_and_folders_are_checked_when_made() -> None:
    with pytest.raises(UserError, match="storage is a folder or s3://.*, but got http:/bucket"):
        DoctorArgs(storage=Path("http://bucket"))
    assert DoctorArgs(storage=Path("s3://bucket/x")).storage == Path("s3://bucket/x")
    assert DoctorArgs(address="head:6379", storage=Path("C/x")).address == "head:6379"


@pytest.mark.parametrize("listens", [False, True])
def test_an_address_where_no_ray_is_costs_no_half_minute(listens: bool, tmp_path: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if listens:  # and never says a word
            server.listen()
        port = server.getsockname()[1]
        command = [sys.executable, "-m", "tune_mnist.doctor", "--json", "--address", f"127.0.0.1:{port}"]
        start = time.monotonic()
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, env={**os.environ})
        seconds = time.monotonic() - start
    assert done.returncode == 1, done.stderr
    (check,) = [check for check in json.loads(done.stdout)["checks"] if check["name"] == "cluster"]
    assert f"no Ray cluster to join at 127.0.0.1:{port}" in check["value"] and check["remedy"] == "check --address"
    assert done.stderr == "" and seconds < 30


def test_what_looks_like_markup_is_shown_as_it_is(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "[red] [/x]").mkdir(parents=True)
    main(["--storage", str(home / "[red] [/x]")])
    assert "[red] [/x] can be written to" in capsys.readouterr().out


def test_the_doctor_looks_at_what_a_run_will_use(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processors, Ray's folder, limits and the token come from what a run calls, with its own remedies."""
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    monkeypatch.setattr("tune_mnist.running.access.SHORT_FOLDERS", ())
    monkeypatch.setattr("tempfile.tempdir", str(home / ("x" * 200)))
    monkeypatch.setattr("tune_mnist.running.surroundings.LEAST_THREADS", 10**9)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "")
    found = by_name(machine_checks(home))
    assert found["cores"].value == "1"
    assert str(found["Ray's folder"].remedy).startswith("set it to a folder of")
    assert found["limits"].remedy == "raise the limit (ulimit -u)"


def test_without_a_gpu_the_check_of_one_says_so_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["--gpu"]) == 1
    told = capsys.readouterr()
    assert told.out == "" and told.err == "no GPU that torch can use: run it where there is one\n"


def test_the_check_of_a_gpu_is_not_a_clusters() -> None:
    with pytest.raises(UserError, match="--gpu looks at this machine.* got --address: drop one of them"):
        DoctorArgs(gpu=True, address="auto")


@pytest.mark.parametrize(("right", "status"), [(True, 0), (None, 0), (False, 1)])
def test_the_check_of_a_gpu_ends_as_its_findings_are(
    right: bool | None, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(check, "check_gpu", lambda scale: iter([Finding("bits", right, "the same again")]))
    assert main(["--gpu"]) == status
    assert "the same again" in capsys.readouterr().out
