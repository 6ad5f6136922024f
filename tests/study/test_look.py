"""Tests of the status command: what it says of studies, and that it leaves them as they are."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from support.stored import CONFIG, CONTEXT, KEY, SPEC, advance, begun, damage, tree
from support.studies import ABOUT, made_study
from tune_mnist.running.watching.status_view import json_of
from tune_mnist.spec.errors import UserError
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import training_key
from tune_mnist.status import main
from tune_mnist.study import heartbeat
from tune_mnist.study.files import write_json
from tune_mnist.study.heartbeat import STALE_SECONDS
from tune_mnist.study.lock import study_lock
from tune_mnist.study.look import Look, newest_study
from tune_mnist.study.study import Study

ROOT = Path(__file__).parents[2]
HOUR_AGO = time.time() - 3600


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A study of two trainings of three epochs, neither begun."""
    made = Study(tmp_path / "ray_results" / "mine")
    made.folder.mkdir(parents=True)
    made.create()
    made.add(SPEC, CONTEXT, ABOUT)
    return made


def seen(study: Study) -> dict[str, Any]:
    return json.loads(json.dumps(json_of(Look(study)()), allow_nan=False))


def held_by(study: Study, **told: Any) -> None:
    """A lock file as a holder of this host and process would have left it, but for `told`."""
    lock = study.folder / "lock"
    lock.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "command": "grid.py"} | told))


def command(*words: str, folder: Path, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tune_mnist.status", *words], cwd=folder, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)}, **options,
    )


def test_a_finished_study_is_done_and_its_numbers_are_those_of_its_records(tmp_path: Path) -> None:
    spec = StudySpec(models=("SimpleNN", "MediumNN"), lr=(1e-3, 1e-2), batch_size=(32,), epochs=(1, 4))
    made = made_study(tmp_path / "done", spec)
    (made.folder / "results.csv").touch()
    told, records = seen(made), made.records(made.planned(), made.context())
    assert told["state"] == "done" and told["trainings"] == {"complete": 4} and told["holder"] is None
    assert told["model_epochs"] == {"done": 16, "planned": 16} and told["eta_seconds"] is None
    best = max(row["val_accuracy"] for record in records for row in record.epochs)
    assert told["best"]["val_accuracy"] == best and told["running"] == [] and told["failures"] == {}


def test_a_search_is_finished_when_its_trials_are_over_though_some_were_stopped_early(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    begun(study.training(KEY), 2)
    study.record_search("the command", over=False)
    (study.folder / "results.csv").touch()
    assert seen(study)["state"] == "stopped" and seen(study)["trainings"] == {"begun": 1, "waiting": 1}
    other = next(plan.config for plan in SPEC.trainings() if plan.config != CONFIG)
    folder = study.training(training_key(other, CONTEXT))
    advance(folder, folder.begin(other, CONTEXT), 3)
    study.record_search("the command", over=True)
    told = seen(study)
    assert told["state"] == "done" and told["trainings"] == {"complete": 1, "stopped early": 1}
    assert told["model_epochs"] == {"done": 6, "planned": 6}
    assert main([str(study.folder)]) == 0
    assert capsys.readouterr().out.startswith("mine: finished\n")


def test_before_its_tables_are_written_a_study_is_not_done(tmp_path: Path) -> None:
    assert seen(made_study(tmp_path / "untold", SPEC))["state"] == "stopped"


def test_a_running_study_tells_its_holder_its_trainings_and_the_time_left(study: Study) -> None:
    with study_lock(study.folder):
        begun(study.training(KEY), 2)
        told = seen(study)
    assert told["state"] == "running" and told["holder"]["pid"] == os.getpid()
    assert told["trainings"] == {"begun": 1, "waiting": 1}
    assert told["running"] == [{"training": CONFIG.label, "epoch": 2, "train_loss": 0.5, "val_accuracy": 0.9}]
    assert told["model_epochs"] == {"done": 2, "planned": 6}
    assert told["eta_seconds"] == pytest.approx(4 * 1.1)  # epochs to go, at the seconds of those done, one at a time
    assert told["idle_seconds"] < 60


def test_what_an_earlier_run_left_unfinished_is_not_running(study: Study) -> None:
    begun(study.training(KEY), 2)
    for path in study.training(KEY).folder.iterdir():
        os.utime(path, (HOUR_AGO, HOUR_AGO))
    study.add(SPEC, CONTEXT, ABOUT | {"started": "2026-01-01T00:00:00+00:00"})
    with study_lock(study.folder):
        assert len(seen(study)["running"]) == 1
        soon = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
        study.add(SPEC, CONTEXT, ABOUT | {"started": soon})
        assert seen(study)["running"] == [] and seen(study)["eta_seconds"] is None


def test_a_dead_study_says_who_died_and_how_to_go_on(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    begun(study.training(KEY), 1)
    study.add(SPEC, CONTEXT, ABOUT | {"command": ["grid.py", "--name", "two words"]})
    gone = subprocess.Popen(["true"])
    gone.wait()
    held_by(study, pid=gone.pid)
    assert main([str(study.folder)]) == 0
    out, err = capsys.readouterr()
    assert f"mine: stopped, process {gone.pid} on {socket.gethostname()} died" in out and err == ""
    assert "17%  1/6 model-epochs, 0/2 trainings" in out and "1 begun, 1 not begun" in out
    assert "to go on: python -m tune_mnist.grid --name 'two words'" in out


@pytest.mark.parametrize(
    ("told", "age", "lives"),
    [
        ({}, 0, True),
        ({}, STALE_SECONDS + 1, False),
        ({"pid": "?"}, 0, False),
        ({"host": "elsewhere", "pid": 1}, 0, True),
        ({"host": "elsewhere", "pid": 1}, STALE_SECONDS + 1, False),
    ],
)
def test_a_holder_lives_by_its_heartbeat_and_here_by_its_process(
    study: Study, told: dict[str, Any], age: float, lives: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "LOOK_SECONDS", 0.2)
    held_by(study, **told)
    os.utime(study.folder / "lock", (time.time() - age,) * 2)
    assert seen(study)["state"] == ("running" if lives else "stopped")


@pytest.mark.parametrize("skew_seconds", [3600, -3600])
def test_a_holder_by_another_clock_lives_while_its_lock_moves_and_no_longer(
    skew_seconds: float, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_by(study, host="elsewhere", pid=1)
    look, lock = Look(study), study.folder / "lock"

    def beat() -> None:
        os.utime(lock, (time.time() + skew_seconds,) * 2)

    beat()
    monkeypatch.setattr(heartbeat, "LOOK_SECONDS", 5.0)
    soon = threading.Timer(0.3, beat)
    soon.start()
    assert look().state == "running"
    soon.join()
    monkeypatch.setattr(heartbeat, "LOOK_SECONDS", 0.2)
    assert look().state == "stopped"
    monkeypatch.setattr("tune_mnist.study.lock.seen_to_beat", lambda path: pytest.fail("it looks long again"))
    assert look().state == "stopped"


def test_failures_and_divergence_are_told(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    study.training(KEY).fail("OSError: no such device", "a traceback")
    other = next(plan.config for plan in study.planned() if plan.config != CONFIG)
    folder = study.training(training_key(other, CONTEXT))
    progress = folder.begin(other, CONTEXT)
    progress.rows = [{"epoch": 1, "train_loss": None, "val_loss": None, "val_accuracy": 0.1}]
    folder.save(progress)
    told = seen(study)
    assert told["trainings"] == {"failed": 1, "diverged": 1}
    assert told["failures"] == {CONFIG.label: "OSError: no such device"}
    assert main([str(study.folder)]) == 0
    assert f"failed: {CONFIG.label}: OSError: no such device" in capsys.readouterr().out


def test_looking_changes_nothing_not_even_what_is_damaged(study: Study) -> None:
    folder = begun(study.training(KEY), 2).folder
    damage(folder / "timings.json")
    (folder / "failure.json").write_text("{}")
    before = tree(study.folder)
    study.folder.chmod(0o500)
    look = Look(study)
    assert look().progress.done_epochs == 2 and look().progress.eta_seconds() is None
    damage(folder / "history.json")
    assert look().progress.done_epochs == 0  # as if it were not there
    study.folder.chmod(0o700)
    damage(folder / "history.json")
    assert tree(study.folder) == before


def test_another_look_sees_what_came_and_went(study: Study) -> None:
    look = Look(study)
    assert look().progress.done_epochs == 0
    folder = begun(study.training(KEY), 1)
    assert look().progress.done_epochs == 1
    begun(folder, 3)
    assert look().progress.done_epochs == 3 and look().trainings == {"complete": 1, "waiting": 1}
    shutil.rmtree(folder.folder)
    assert look().progress.done_epochs == 0
    study.add(StudySpec(models=("CNN",), lr=(1e-3,), batch_size=(64,), epochs=(5,)), CONTEXT, ABOUT)
    assert look().progress.total_epochs == 11
    shutil.rmtree(study.folder)
    with pytest.raises(UserError, match="is not a study: name a folder that holds a study.json"):
        look()


def test_the_newest_study_is_the_one_that_ran_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = (made_study(tmp_path / "ray_results" / name, SPEC) for name in ("b", "a"))
    os.utime(old.folder / "study.json", (HOUR_AGO, HOUR_AGO))
    assert newest_study(tmp_path / "ray_results") == new.folder
    with study_lock(old.folder):
        os.utime(new.folder / "study.json", (HOUR_AGO + 1, HOUR_AGO + 1))
        assert newest_study(tmp_path / "ray_results") == old.folder
    monkeypatch.chdir(tmp_path)
    assert main(["--json"]) == 0


def test_no_study_and_a_foreign_folder_are_one_line_each(
    tmp_path: Path, study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = {"sha256": "", "content": {"specs": []}}
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "study.json").write_text(json.dumps(content))
    newer = made_study(tmp_path / "newer", SPEC)
    described = newer.describe()
    described["context"]["unheard_of"] = 1
    status_json = newer.folder / "study.json"
    write_json(status_json, described)
    monkeypatch.chdir(tmp_path / "newer")
    for words, told in {
        (): "`ray_results has a study` must hold, but got none: run `python -m tune_mnist.grid`",
        ("gone",): "gone is not a study: name a folder that holds a study.json",
        (str(tmp_path / "ray_results"),): "ray_results is not a study",
        (str(status_json),): "study.json is not a study",
        (str(tmp_path / "torn"),): "does not match its checksum",
        (str(newer.folder),): "its study.json is of another version",
        (str(study.folder), "--every", "0"): "0 < every <= 3600",
        ("a", "b"): "unexpected argument",
    }.items():
        assert main(words) == 2, words
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("error: ") and err.count("\n") == 1 and told in err, err


def test_watching_without_a_terminal_tells_changes_line_by_line_and_ends_with_the_run(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = study_lock(study.folder)
    folder = study.training(KEY)
    steps = iter([lambda: None, lambda: begun(folder, 1), lambda: None, lambda: begun(folder, 2)])

    def step(seconds: float) -> None:
        assert seconds == 0.5
        next(steps, lambda: lock.__exit__(None, None, None))()

    monkeypatch.setattr(time, "sleep", step)
    lock.__enter__()
    assert main([str(study.folder), "--watch", "--every", "0.5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert ["model-epochs" in line for line in lines] == [True] * 3 + [False, True, False, False][: len(lines) - 3]
    assert [line.split()[2] for line in lines[:3]] == ["0/6", "1/6", "2/6"] and lines[3] == "mine: stopped"


def test_watching_in_json_is_one_object_a_line(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(study.folder), "--watch", "--json"]) == 0  # nobody runs it
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["state"] == "stopped"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_leaving_the_watch_is_quiet_and_no_failure(study: Study, number: signal.Signals) -> None:
    with study_lock(study.folder):
        watch = command(str(study.folder), "--watch", folder=ROOT)
        assert watch.stdout is not None and "0/6 model-epochs" in watch.stdout.readline()
        watch.send_signal(number)
        out, err = watch.communicate(timeout=20)
    assert (watch.returncode, out, err) == (0, "", "")


def test_on_a_terminal_the_watch_is_a_live_table(study: Study) -> None:
    import pty

    ours, theirs = pty.openpty()
    with study_lock(study.folder):
        begun(study.training(KEY), 2)
        watch = subprocess.Popen(
            [sys.executable, "-m", "tune_mnist.status", str(study.folder), "--watch", "--every", "0.1"], stdin=theirs,
            stdout=theirs, stderr=theirs, env=os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120"},
        )
        os.close(theirs)
        shown = read_until(ours, "90.00%")
        watch.send_signal(signal.SIGINT)
        shown += read_until(ours, None)
    os.close(ours)
    assert watch.wait(20) == 0 and "Traceback" not in shown
    assert "mine: running, by process" in shown and "train loss" in shown and "33%" in shown


def read_until(terminal: int, text: str | None) -> str:
    """What a terminal shows until `text` comes, or to its end."""
    shown = ""
    while text is None or text not in shown:
        try:
            got = os.read(terminal, 65536).decode(errors="replace")
        except OSError:  # the other end was closed
            break
        if not got:
            break
        shown += got
    return shown


def test_it_starts_fast_without_ray_or_torch(study: Study) -> None:
    code = "import sys, tune_mnist.status as s; s.main(sys.argv[1:])"
    code += "; print(*{'ray', 'torch', 'pandas'} & {*sys.modules})"
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, str(study.folder), "--json"], capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    line, loaded = done.stdout.splitlines()
    assert json.loads(line)["study"] == "mine" and loaded == ""
    assert time.monotonic() - started < 5  # about half a second on an idle machine
