"""A stop is acknowledged at once, whatever the process is doing, unless it is over before a word is needed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tune_mnist.shell.signals import STOPPING, ending, stops_on_signals

ROOT = Path(__file__).parents[2]
SLOW_END = """
import time
from tune_mnist.shell.cli import run
def body():
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        time.sleep(1)
raise SystemExit(run(body))
"""
DEEP_IN_A_LIBRARY = """
import hashlib
from tune_mnist.shell.cli import run
def body():
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha512", b"", b"", 2_000_000)  # seconds in which no handler of Python's is called
    return 0
raise SystemExit(run(body))
"""
AT_ONCE = """
import time
from tune_mnist.shell.cli import run
def body():
    print("ready", flush=True)
    time.sleep(60)
raise SystemExit(run(body))
"""


def stopped(code: str, number: int) -> tuple[float, bytes]:
    """The seconds until `code`, told to stop, says a word, and all that it says."""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    sent = time.monotonic()
    first = process.stderr.readline()
    seconds = time.monotonic() - sent
    told = first + process.communicate(timeout=30)[1]
    assert process.returncode == 130, told
    return seconds, told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("code", [SLOW_END, DEEP_IN_A_LIBRARY], ids=["slow end", "deep in a library"])
def test_a_stop_that_takes_a_while_is_acknowledged_soon(code: str, number: int) -> None:
    seconds, told = min(stopped(code, number) for _ in range(2))  # others may hold the processors
    assert seconds < 0.3
    assert told == STOPPING + b"interrupted\n"


def test_a_stop_that_is_over_at_once_needs_no_word() -> None:
    seconds, told = min((stopped(AT_ONCE, signal.SIGINT) for _ in range(2)), key=lambda each: len(each[1]))
    assert told == b"interrupted\n"


def test_what_was_set_before_is_set_after() -> None:
    before = signal.set_wakeup_fd(-1)
    for _ in range(3):
        with stops_on_signals():
            assert not ending()
    assert signal.set_wakeup_fd(before) == -1
    assert len(os.listdir("/proc/self/fd")) < 100
