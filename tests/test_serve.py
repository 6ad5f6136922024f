"""Test of serve: a real server, asked by many at once."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from test_predict import digits, saved

IN_FLIGHT = 200
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(address: str, body: bytes | None = None) -> tuple[int, bytes]:
    try:
        with DIRECT.open(urllib.request.Request(address, data=body), timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.mark.slow
def test_every_request_is_answered_and_the_page_is_there(tmp_path: Path) -> None:
    pytest.importorskip("starlette", reason="needs the extra `serve`")
    files = [(saved(picture, "16-bit", tmp_path / f"{n}"), label) for n, (picture, label) in enumerate(digits(20))]
    command = [sys.executable, "-m", "tune_mnist.serve", "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env={**os.environ})
    try:
        assert server.stdout is not None
        (address,) = re.findall(r"on (http://127\.0\.0\.1:\d+);", server.stdout.readline())
        asked = [files[n % len(files)] for n in range(IN_FLIGHT)]
        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            answers = list(pool.map(lambda one: ask(f"{address}/predict", one[0].read_bytes()), asked))
        assert [status for status, _ in answers] == [200] * IN_FLIGHT
        right = [json.loads(body)["digit"] == label for (_, body), (_, label) in zip(answers, asked, strict=True)]
        assert sum(right) >= 0.95 * IN_FLIGHT
        status, page = ask(address)
        assert status == 200 and b"<canvas" in page
        assert ask(f"{address}/predict", b"no picture")[0] == 400
        assert ask(f"{address}/predict", bytes(2**21))[0] == 413
        assert ask(f"{address}/nowhere")[0] == 404
    finally:
        server.send_signal(signal.SIGINT)
        code = server.wait(30)
    assert code == 130
