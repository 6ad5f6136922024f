"""Tests of Ctrl-C and SIGTERM, each in a process of its own that sends itself the signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
AT_ONCE = "stopped at once; the same command goes on from the last finished epochs\n"
# `send(NAME)` sends this process a signal, which Python handles before the next line;
# `say` cannot be cut off by one. A raise that was dropped comes again after 0.1 s.
PRELUDE = """
import os, signal, threading, time
from tune_mnist.shell import signals
from tune_mnist.shell.signals import deferring, reinstate, stops_on_signals, unwinding

signals.AGAIN_SECONDS = 0.1
number = signal.{name}

def send():
    os.kill(os.getpid(), number)
    time.sleep(0)

def say(word):
    os.write(1, word.encode() + b"\\n")
"""


def child(code: str, name: str = "SIGINT") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PRELUDE.format(name=name) + code], capture_output=True, text=True, timeout=60,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_the_first_signal_raises_once(name: str) -> None:
    done = child("""
with stops_on_signals():
    try:
        send()
        say("not reached")
    except KeyboardInterrupt:
        unwinding()
        say("caught")
    time.sleep(0.3)
    say("in peace")
time.sleep(0.3)
say("after the block")
""", name)
    assert (done.returncode, done.stdout, done.stderr) == (0, "caught\nin peace\nafter the block\n", "")


def test_leaving_the_block_is_seeing_the_interrupt_too() -> None:
    done = child("""
try:
    with stops_on_signals():
        send()
except KeyboardInterrupt:
    say("caught")
time.sleep(0.3)
say("in peace")
""")
    assert (done.returncode, done.stdout, done.stderr) == (0, "caught\nin peace\n", "")


def test_an_interrupt_that_a_destructor_swallowed_is_raised_again_until_it_is_seen() -> None:
    done = child("""
class Swallowing:
    def __del__(self):
        say("swallowing")
        try:
            send() if not signals._stopping.is_set() else time.sleep(10)
        finally:
            say("swallowed")

with stops_on_signals():
    try:
        for _ in range(2):
            Swallowing()
        time.sleep(10)
        say("not reached")
    except KeyboardInterrupt:
        say("caught")
""")
    assert (done.returncode, done.stdout) == (0, "swallowing\nswallowed\n" * 2 + "caught\n")
    assert done.stderr.count("Exception ignored") == 2


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_the_second_signal_ends_the_process_at_once(name: str) -> None:
    done = child("""
with stops_on_signals():
    try:
        send()
    except KeyboardInterrupt:
        unwinding()
        say("first")
        send()
        say("not reached")
    finally:
        say("nor is this")
""", name)
    assert (done.returncode, done.stdout, done.stderr) == (130, "first\n", AT_ONCE)


def test_after_a_stop_a_second_signal_still_means_at_once() -> None:
    done = child("""
try:
    with stops_on_signals():
        send()
except KeyboardInterrupt:
    say("first")
send()
say("not reached")
""")
    assert (done.returncode, done.stdout, done.stderr) == (130, "first\n", AT_ONCE)


def test_a_deferred_interrupt_waits_for_the_end_of_the_block_and_no_longer() -> None:
    done = child("""
with stops_on_signals():
    try:
        with deferring(30):
            send()
            time.sleep(0.3)
            say("end of the block")
        say("not reached")
    except KeyboardInterrupt:
        say("caught")
""")
    assert (done.returncode, done.stdout, done.stderr) == (0, "end of the block\ncaught\n", "")


def test_a_deferred_interrupt_waits_no_longer_than_its_seconds() -> None:
    done = child("""
with stops_on_signals():
    try:
        with deferring(0.5):
            start = time.monotonic()
            send()
            say("deferred")
            time.sleep(30)
            say("not reached")
    except KeyboardInterrupt:
        say("in time" if 0.4 < time.monotonic() - start < 20 else "at the wrong time")
""")
    assert (done.returncode, done.stdout, done.stderr) == (0, "deferred\nin time\n", "")


def test_a_second_signal_does_not_wait_for_a_deferring_block() -> None:
    done = child("""
with stops_on_signals(), deferring(30):
    send()
    say("deferred")
    send()
    say("not reached")
""")
    assert (done.returncode, done.stdout, done.stderr) == (130, "deferred\n", AT_ONCE)


def test_what_fails_in_a_deferring_block_is_the_interrupt_s_doing_only_after_one() -> None:
    done = child("""
with stops_on_signals():
    try:
        with deferring(30):
            raise OSError("no fault of a signal")
    except OSError:
        say("an error")
    try:
        with deferring(30):
            send()
            raise OSError("a child process is gone")
    except KeyboardInterrupt:
        say("an interrupt")
""")
    assert (done.returncode, done.stdout, done.stderr) == (0, "an error\nan interrupt\n", "")


def test_after_a_deferring_block_an_interrupt_is_raised_at_once_again() -> None:
    done = child("""
with stops_on_signals():
    with deferring(30):
        pass
    try:
        send()
        say("not reached")
    except KeyboardInterrupt:
        say("caught")
""")
    assert (done.returncode, done.stdout, done.stderr) == (0, "caught\n", "")


def test_the_handlers_are_restored_unless_the_process_is_about_to_end() -> None:
    done = child("""
numbers = signal.SIGINT, signal.SIGTERM, signal.SIGALRM
for own in numbers:
    signal.signal(own, lambda *_: None)
before = [signal.getsignal(own) for own in numbers]
for error in (None, ValueError):
    try:
        with stops_on_signals():
            assert not {*before} & {signal.getsignal(own) for own in numbers}
            if error:
                raise error
    except ValueError:
        pass
    assert [signal.getsignal(own) for own in numbers] == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
say("restored")
""")
    assert (done.returncode, done.stdout, done.stderr) == (0, "restored\n", "")


def test_outside_the_main_thread_nothing_happens() -> None:
    done = child("""
before = signal.getsignal(signal.SIGINT)

def other():
    with stops_on_signals():
        assert signal.getsignal(signal.SIGINT) is before
        unwinding()
        reinstate()
        say("other thread")

thread = threading.Thread(target=other)
thread.start()
thread.join()
assert signal.getsignal(signal.SIGINT) is before
""")
    assert (done.returncode, done.stdout, done.stderr) == (0, "other thread\n", "")


def test_a_handler_that_a_library_put_beneath_python_s_is_put_back() -> None:
    done = child("""
import ctypes

with stops_on_signals():
    ctypes.CDLL(None).signal(signal.SIGTERM, 1)  # SIG_IGN
    send()
    say("ignored")
    reinstate()
    try:
        send()
        say("not reached")
    except KeyboardInterrupt:
        say("caught")
""", "SIGTERM")
    assert (done.returncode, done.stdout, done.stderr) == (0, "ignored\ncaught\n", "")


def test_without_the_block_signals_are_python_s_own() -> None:
    assert child("send()\n").returncode == -signal.SIGINT
    assert child("send()\n", "SIGTERM").returncode == -signal.SIGTERM
