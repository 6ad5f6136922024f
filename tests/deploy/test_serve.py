"""Tests of serve: a real server, asked by many at once, and drawn on in a real browser."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import math
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ray.exceptions import GetTimeoutError

from support.browser import find_browser, open_page
from support.photos import row
from support.pictures import digits, saved
from tune_mnist.deploy.serving import STARTING
from tune_mnist.deploy.trained import PRETRAINED
from tune_mnist.serve import main
from tune_mnist.spec.errors import UserError

IN_FLIGHT = 200
STROKES = {  # points in shares of the paper's sides
    "7": [(0.28, 0.25), (0.45, 0.25), (0.7, 0.25), (0.62, 0.42), (0.54, 0.6), (0.46, 0.8)],
    "0": [(0.5 + 0.2 * math.cos(0.3 * turn), 0.5 + 0.28 * math.sin(0.3 * turn)) for turn in range(22)],
    "1": [(0.52, 0.2), (0.51, 0.4), (0.5, 0.6), (0.49, 0.8)],
}
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(address: str, body: bytes | None = None, content_type: str | None = None) -> tuple[int, bytes]:
    headers = {"Content-Type": content_type} if content_type else {}
    try:
        with DIRECT.open(urllib.request.Request(address, data=body, headers=headers), timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the package's model, which must end well when interrupted."""
    pytest.importorskip("starlette", reason="needs the extra `serve`")
    command = [sys.executable, "-m", "tune_mnist.serve", "--port", "0"]
    folder = tmp_path_factory.mktemp("server")
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder)
    try:
        assert server.stdout is not None
        (found,) = re.findall(r"on (http://127\.0\.0\.1:\d+);", server.stdout.readline())
        yield found
    finally:
        server.send_signal(signal.SIGINT)
        code = server.wait(30)
    assert code == 130


@pytest.mark.parametrize(("words", "told"), [
    (["--port", "70000"], "`0 <= port < 65536` must hold, but got 70000: change --port"),
    (["--model", "nowhere"], "no trained model: cannot read"),
    (["--host", "192.0.2.1"], "cannot listen on 192.0.2.1:8000"),
])
def test_bad_input_is_one_line_before_ray_starts(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("starlette", reason="needs the extra `serve`")
    assert main(words) == 2
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if line != STARTING]
    assert said.out == "" and len(lines) == 1 and told in lines[0]


def test_a_port_that_is_taken_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("starlette", reason="needs the extra `serve`")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 2
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use: change" in capsys.readouterr().err


def test_a_ray_whose_replicas_answer_to_anyone_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tune_mnist.deploy.serving.LEAST_RAY", "999")
    assert main([]) == 2
    assert "Ray of at least 999" in capsys.readouterr().err


@pytest.mark.slow
def test_every_request_is_answered_and_the_page_is_there(address: str, tmp_path: Path) -> None:
    files = [(saved(picture, "16-bit", tmp_path / f"{n}"), label) for n, (picture, label) in enumerate(digits(20))]
    asked = [files[n % len(files)] for n in range(IN_FLIGHT)]
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        answers = list(pool.map(lambda one: ask(f"{address}/predict", one[0].read_bytes()), asked))
    assert [status for status, _ in answers] == [200] * IN_FLIGHT
    right = [json.loads(body)["digit"] == label for (_, body), (_, label) in zip(answers, asked, strict=True)]
    assert sum(right) >= 0.95 * IN_FLIGHT
    status, page = ask(address)
    assert status == 200 and b"<canvas" in page
    for path, body, refused in (
        ("predict", b"no picture", 400), ("predict", bytes(2**25 + 1), 413), ("predict", None, 405),
        ("nowhere", None, 404),
    ):
        status, said = ask(f"{address}/{path}", body)
        assert status == refused and set(json.loads(said)) == {"error"}


def form(body: bytes, name: str = 'name="file"; filename="photo.jpg"') -> tuple[bytes, str]:
    """A form with a field and a file, and its content type."""
    parts = f"--line\r\nContent-Disposition: form-data; {name}\r\n\r\n".encode() + body + b"\r\n"
    field = b'--line\r\nContent-Disposition: form-data; name="note"\r\n\r\nhere\r\n'
    return field + parts + b"--line--\r\n", "multipart/form-data; boundary=line"


def test_a_forms_file_is_taken_out_to_the_byte() -> None:
    pytest.importorskip("starlette", reason="needs the extra `serve`")
    from tune_mnist.deploy.server import form_file

    content = b"\x00--line\r\n\r\n--lin\xff\n" + bytes(range(256)) + b"\r\n"
    assert form_file(*form(content)) == content
    assert form_file(*form(content, 'name="note2"')) is None
    assert form_file(content, "multipart/form-data") is None


@pytest.mark.slow
def test_a_phones_photo_is_read_as_a_body_and_as_a_form(address: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    levels, labels = row(rng, 3)
    small = Image.fromarray(np.rint(255 * levels.clip(0, 1)).astype(np.uint8)).convert("RGB")
    for side, size in (("12", (3000, 4000)), ("50", (6120, 8160))):
        grain = Image.effect_noise(size, 8).convert("RGB")
        Image.blend(small.resize(size), grain, 0.3).save(tmp_path / f"{side}.jpg", quality=90)
        body = (tmp_path / f"{side}.jpg").read_bytes()
        assert 2**20 < len(body) < 2**25
        for sent, content_type in ((body, None), form(body)):
            status, answer = ask(f"{address}/predict", sent, content_type)
            assert status == 200, answer
            digits = json.loads(answer)["digits"]
            assert [digit["digit"] for digit in digits] == labels
            assert all(a["box"][0] < b["box"][0] <= size[0] for a, b in itertools.pairwise(digits))
    buffer = io.BytesIO()
    Image.new("1", (6000, 6000)).save(buffer, "PNG")
    status, said = ask(f"{address}/predict", buffer.getvalue())
    assert status == 400 and "`width × height <= 16777216` must hold" in json.loads(said)["error"]
    status, said = ask(f"{address}/predict", *form(b"", 'name="file"'))
    assert status == 400 and b"a form without a file" in said


@pytest.mark.slow
def test_what_mouse_and_finger_draw_is_read_live(address: str) -> None:
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium on this machine")
    pytest.importorskip("aiohttp", reason="drives the browser")
    asyncio.run(draw_and_check(program, address))


async def draw_and_check(program: str, address: str) -> None:
    shown = "document.getElementById('digit').textContent"
    async with open_page(program, address) as page:
        for width, scheme, digit in ((400, "dark", "7"), (1400, "light", "0"), (400, "light", "1")):
            await page.look(width, 800, scheme)
            await page.draw(STROKES[digit], "#paper", finger=width == 400)
            await page.until(f"{shown} === '{digit}' && !busy")
            assert await page.value("document.documentElement.scrollWidth") <= width
            bars = await page.value("[...document.querySelectorAll('#bars i')].map(bar => parseFloat(bar.style.width))")
            assert len(bars) == 10 and sum(bars) == pytest.approx(100, abs=0.1)
            assert max(range(10), key=bars.__getitem__) == int(digit)
            if width == 1400:  # and a second digit beside it
                await page.draw([(0.9, 0.25), (0.9, 0.4), (0.9, 0.6), (0.89, 0.78)], "#paper")
                await page.until(f"{shown} === '{digit} 1' && !busy")
            await page.value("document.getElementById('clear').click()")
            await page.until(f"{shown} === '–'")


@pytest.mark.parametrize("failing", ["start", "run"])
@pytest.mark.parametrize(
    ("error", "why"),
    [(GetTimeoutError("Get timed out\nafter a while."), r"Get timed out"), (TimeoutError(), "TimeoutError")],
)
def test_what_ray_serve_is_too_slow_for_is_told_in_a_line(
    failing: str, error: Exception, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = pytest.importorskip("tune_mnist.deploy.server", reason="needs the extra `serve`")

    def fail(*_: object, **__: object) -> None:
        raise error

    for name in ("start", "run"):
        monkeypatch.setattr(server.serve, name, fail if name == failing else lambda *_, **__: None)
    with pytest.raises(UserError, match=rf"^Ray Serve did not start \({why}\): try again once the machine is less"):
        server.deploy(PRETRAINED, "127.0.0.1", 8000)
