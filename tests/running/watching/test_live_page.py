"""Tests of the live page's server: what it answers, to whom, and that it follows a study and leaves it as it is."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from support.stored import CONFIG, CONTEXT, KEY, SPEC, begun, tree
from support.studies import ABOUT, made_study
from tune_mnist.running.watching import live_page
from tune_mnist.running.watching.live_page import PageServer, served
from tune_mnist.spec.errors import UserError
from tune_mnist.spec.study import StudySpec
from tune_mnist.study.lock import study_lock
from tune_mnist.study.study import Study
from tune_mnist.watch import main

ROOT = Path(__file__).parents[3]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A study of two trainings of three epochs, neither begun."""
    made = Study(tmp_path / "ray_results" / "mine")
    made.folder.mkdir(parents=True)
    made.create()
    made.add(SPEC, CONTEXT, ABOUT)
    return made


@pytest.fixture
def server(study: Study, monkeypatch: pytest.MonkeyPatch) -> Iterator[PageServer]:
    """A server of the study, which looks at it whenever it is asked."""
    monkeypatch.setattr(live_page, "LEAST_SECONDS", 0.0)
    with served(study) as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def ask(server: PageServer, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", server.server_address[1], timeout=20)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


def news(server: PageServer, since: str = "", **filters: Any) -> dict[str, Any]:
    status, body = ask(server, f"/study?since={since}&filters={quote(json.dumps(filters))}")
    assert status == 200, body
    return dict(json.loads(body))


def test_the_page_follows_a_study_and_is_told_only_what_is_new(server: PageServer, study: Study) -> None:
    with study_lock(study.folder):
        told = news(server)
        assert told["state"] == "running" and told["drawn"] == [] and told["model_epochs"] == {"done": 0, "planned": 6}
        begun(study.training(KEY), 1)
        told = news(server, told["version"])
        ((number, change),) = told["drawn"]
        assert "drawn" not in news(server, told["version"])
        begun(study.training(KEY), 2)
        after = news(server, told["version"])
        assert after["drawn"][0][0] == number and after["drawn"][0][1] > change
        assert after["listed"][0]["status"] == "running" and after["listed"][0]["epochs"] == 2
        status, body = ask(server, f"/curves?of={number}")
        assert status == 200 and json.loads(body)[0] == {
            "number": number, "change": after["drawn"][0][1], "values": ["0.001"], "epochs": [1, 2],
            "train_loss": [0.5, 0.5], "loss": [0.5, 0.5], "accuracy": [0.9, 0.9],
        }
        assert "drawn" in news(server, "0.1")  # of another server
    told = news(server)
    assert told["state"] == "stopped" and told["listed"][0]["status"] == "begun"
    assert told["best"] == {"val_accuracy": 0.9, "training": CONFIG.label, "epoch": 1}
    assert news(server, lr=["0.01"])["passing"] == 0 and news(server, lr={"most": 0.005})["passing"] == 1


def test_a_finished_study_is_shown_whole_and_left_as_it_is(tmp_path: Path) -> None:
    spec = StudySpec(models=("SimpleNN", "MediumNN"), lr=(1e-3, 1e-2), batch_size=(32,), epochs=(1, 4))
    made = made_study(tmp_path / "done", spec)
    (made.folder / "results.csv").touch()
    before = tree(made.folder)
    with served(made) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        told = news(server)
        assert told["state"] == "done" and told["passing"] == len(told["drawn"]) == len(told["listed"]) == 4
        assert told["wait_seconds"] >= live_page.IDLE_SECONDS
        best = max(row["val_accuracy"] for r in made.records(made.planned(), made.context()) for row in r.epochs)
        assert told["listed"][0]["best"] == told["best"]["val_accuracy"] == best
        server.shutdown()
    assert tree(made.folder) == before


def test_a_study_begun_anew_is_counted_anew(server: PageServer, study: Study) -> None:
    begun(study.training(KEY), 2)
    first = news(server)
    shutil.rmtree(study.training(KEY).folder)
    told = news(server, first["version"])
    assert told["passing"] == 0
    begun(study.training(KEY), 1)
    assert news(server, told["version"])["listed"][0]["epochs"] == 1
    shutil.rmtree(study.folder)
    study.folder.mkdir()
    study.create()
    study.add(dataclasses.replace(SPEC, lr=(1e-3,)), CONTEXT, ABOUT)
    told = news(server, told["version"])
    assert told["drawn"] == [] and told["model_epochs"]["planned"] == 3 and told["session"] != first["session"]
    shutil.rmtree(study.folder)
    assert ask(server, "/study") == (400, json.dumps({"error": f"{study.folder} is not a study: name a folder that "
                                                                "holds a study.json"}))


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "::1", ""])
def test_only_who_names_this_machine_is_answered(host: str, server: PageServer) -> None:
    for path in ("/", "/study", "/curves?of=1"):
        status, body = ask(server, path, Host=host)
        assert (status, json.loads(body)) == (403, {"error": f"open {server.address}"})
    for own in ("localhost", "LOCALHOST:9", "127.0.0.1:1"):
        assert ask(server, "/", Host=own)[0] == 200


def test_it_listens_on_this_machine_alone(server: PageServer) -> None:
    assert server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize(("path", "refused", "told"), [
    ("/study.json", 404, "no such page"), ("/../study.json", 404, "no such page"),
    ("/%2e%2e/study.json", 404, "no such page"), ("//etc/passwd", 404, "no such page"),
    ("/curves/../../lock", 404, "no such page"),
    ("/study?filters=[", 400, "`filters are a JSON object` must hold"),
    ("/study?filters=" + 3000 * "[", 400, "`filters are a JSON object` must hold"),
    ("/study?filters={%22lr%22:1}", 400, "`a filter is a list of texts, or limits` must hold"),
    ("/curves", 400, "`of is at most 200 numbers, separated by commas` must hold"),
    ("/curves?of=-1", 400, "`of is at most 200 numbers"), ("/curves?of=" + 200 * "1," + "1", 400, "`of is at most 200"),
])
def test_what_it_does_not_know_is_refused(path: str, refused: int, told: str, server: PageServer) -> None:
    status, body = ask(server, path)
    assert status == refused and told in json.loads(body)["error"]


def test_it_writes_nothing_takes_nothing_and_logs_nothing(
    server: PageServer, study: Study, capfd: pytest.CaptureFixture[str]
) -> None:
    before = tree(study.folder)
    for method in ("POST", "PUT", "DELETE"):
        assert ask(server, "/study", method)[0] == 501
    assert ask(server, "/curves?of=999")[1] == "[]"
    with socket.create_connection(("127.0.0.1", server.server_address[1])) as hasty:
        hasty.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        hasty.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0, 0, 0, 0, 0]))  # gone with a reset
    assert news(server)["study"] == "mine"
    assert tree(study.folder) == before
    assert capfd.readouterr() == ("", "")


def test_the_page_loads_nothing_from_elsewhere_and_no_text_becomes_markup(server: PageServer) -> None:
    connection = HTTPConnection("127.0.0.1", server.server_address[1])
    connection.request("GET", "/")
    answer = connection.getresponse()
    page = answer.read().decode()
    connection.close()
    assert "default-src 'none'" in str(answer.headers["Content-Security-Policy"])
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|https?://", page)


def test_a_port_that_is_taken_and_a_study_that_is_none_are_one_line_each(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path / "ray_results" / "mine")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for words, told in {
            (): "`ray_results has a study` must hold, but got none",
            ("gone",): "gone is not a study: name a folder that holds a study.json",
            ("--port", "65536"): "`0 <= port < 65536` must hold, but got 65536: change --port",
            (str(study.folder), "--port", port): f"cannot listen on 127.0.0.1:{port}: Address already in use: change",
        }.items():
            assert main(words) == 2, words
            out, err = capsys.readouterr()
            lines = [line for line in err.splitlines() if not line.startswith("reading ")]
            assert out == "" and len(lines) == 1 and lines[0].startswith("error: ") and told in lines[0], err
    with pytest.raises(UserError, match="is not a study"), served(Study(tmp_path)):
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_newest_study_is_watched_until_a_signal_without_ray_or_torch(study: Study, number: signal.Signals) -> None:
    code = "import sys, tune_mnist.watch as w; code = w.main(['--port', '0'])"
    code += "; print(code, *{'ray', 'torch', 'pandas'} & {*sys.modules})"
    started = time.monotonic()
    watch = subprocess.Popen(
        [sys.executable, "-c", code], cwd=study.folder.parents[1], text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert watch.stdout is not None
    line = watch.stdout.readline()
    assert re.fullmatch(r"Watch mine on http://127\.0\.0\.1:\d+; Ctrl-C ends it\n", line)
    assert time.monotonic() - started < 5  # about half a second on an idle machine
    watch.send_signal(number)
    assert watch.communicate(timeout=20) == ("0\n", f"reading {study.folder}\n") and watch.returncode == 0
