"""Drivers and workers killed, stopped and started twice, in the middle of real runs."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from pathlib import Path

from chaos.harness import AT_ONCE, Lab, Run, check_work, kill, snapshot, tables

STOPPED = (130, -signal.SIGINT)  # -SIGINT: a shell shows it as 130, too


def kill_drivers(lab: Lab, count: int) -> str:
    """SIGKILL the driver at random instants and resume; then compare with an undisturbed run."""
    reference = lab.reference()
    name, log = f"driver-kills-{count}", lab.folder / f"driver-kills-{count}.log"
    chaos = {"log": str(log), "slow": 0.4}
    times, kills = [], 0
    while True:
        run = lab.start(name, chaos=chaos)
        early = lab.random.random() < 0.3
        seconds = lab.random.uniform(0, 3) if early else lab.random.uniform(3, 15)
        if kills == count or not run_is_killed(run, seconds):
            run.wait()
            run.clear()
            assert run.code == 0, run.stderr[-3000:]
            if kills == count:
                break
        else:
            kills += 1
            times.append(seconds)
    assert tables(lab.study(name)) == tables(reference)
    again = check_work(log, kills * AT_ONCE * lab.in_step())
    within = sum(seconds < 3 for seconds in times)
    return f"{kills} kills, {within} within 3 s of the start; same bytes; {again} epochs begun again"


def run_is_killed(run: Run, seconds: float) -> bool:
    """Kill the driver, and it alone, after so many seconds, unless it ends before."""
    while time.monotonic() < run.started + seconds:
        if run.code is not None:
            return False
        time.sleep(0.02)
    run.process.kill()
    return run.process.wait() == -signal.SIGKILL


def kill_workers(lab: Lab, count: int) -> str:
    """SIGKILL random worker processes of one run."""
    reference = lab.reference()
    name, log = f"worker-kills-{count}", lab.folder / f"worker-kills-{count}.log"
    # Chance may hit one training more often than the default allows.
    run = lab.start(name, "--max-failures", str(count), chaos={"log": str(log), "slow": 0.6})
    run.wait_for(log.exists)
    for _ in range(count):
        time.sleep(lab.random.uniform(0.2, 1.2))
        run.wait_for(run.workers)
        kill(lab.random.choice(run.workers()))
    run.wait()
    assert run.code == 0, run.stderr[-3000:]
    assert tables(lab.study(name)) == tables(reference)
    assert b"failed" not in (lab.study(name) / "results.csv").read_bytes()
    return f"{count} kills; same bytes; {check_work(log, count * lab.in_step())} epochs begun again"


def stop(lab: Lab, count: int) -> str:
    """SIGINT and SIGTERM at random instants, to the driver or, as Ctrl-C does, to all; at times a second one."""
    slowest, twice = 0.0, 0
    for _ in range(count):
        run = lab.start("stopped", "--epochs", "1", "50", chaos={"dashboard": True})
        time.sleep(lab.random.uniform(1.5, 15))
        number, to_all = lab.random.choice([signal.SIGINT, signal.SIGTERM]), lab.random.random() < 0.5
        send = os.killpg if to_all and number == signal.SIGINT else os.kill
        began = time.monotonic()
        send(run.process.pid, number)
        if lab.random.random() < 0.3:
            time.sleep(lab.random.uniform(0, 2))
            if run.code is None:
                twice += 1
                send(run.process.pid, number)
        run.wait(30)
        slowest = max(slowest, time.monotonic() - began)
        assert run.code in STOPPED, f"ended with {run.code}: {run.stderr[-3000:]}"
        assert "Traceback" not in run.stderr, run.stderr[-3000:]
        if "trainings" in run.stderr:
            assert "goes on from" in run.stderr.splitlines()[-1], run.stderr[-3000:]
        run.clear()
    assert slowest < 10, f"{slowest:.1f} s until stopped"
    return f"{count} stops, {twice} of them twice; all 130; at most {slowest:.1f} s"


def kill_writes(lab: Lab, count: int) -> str:
    """Kill a process at each change of the disk in turn; there are as many as there are, `count` is not needed."""
    from support.kills import kill_at_each_write

    with tempfile.TemporaryDirectory(dir=lab.folder) as scratch:
        return f"{sum(1 for _ in kill_at_each_write(Path(scratch)))} kills, one at each write; never torn"


def two_drivers(lab: Lab, count: int) -> str:
    """Start two drivers at once, and two more, one with --fresh, on the study of a running one."""
    reference = lab.reference()
    slowest = 0.0
    for number in range(count):
        name = f"two-drivers-{count}-{number}"
        runs = [lab.start(name), lab.start(name)]
        while all(run.code is None for run in runs):
            time.sleep(0.02)
        refused, runner = sorted(runs, key=lambda run: run.code is None)
        check_refused(refused, runner)
        slowest = max(slowest, refuse_late(lab, name, runner))
        assert runner.wait().code == 0, runner.stderr[-3000:]
        runner.clear()
        assert tables(lab.study(name)) == tables(reference)
    return f"{count} pairs: one ran, one refused; late ones refused in at most {slowest:.1f} s; no byte changed"


def check_refused(refused: Run, runner: Run) -> None:
    assert refused.code == 2 and refused.stdout == "", refused.stderr
    assert f"is in use by process {runner.process.pid} on " in refused.stderr and refused.stderr.count("\n") == 1


def refuse_late(lab: Lab, name: str, runner: Run) -> float:
    """Start drivers while the runner stands still, so that any change would be theirs; the slowest's seconds."""
    seconds = []
    for pid in runner.processes():
        kill(pid, signal.SIGSTOP)
    before = snapshot(lab.study(name))
    for words in ([], ["--fresh"], ["--lr", "0.5"]):
        refused = lab.start(name, *words).wait()
        seconds.append(time.monotonic() - refused.started)
        check_refused(refused, runner)
    assert snapshot(lab.study(name)) == before
    for pid in runner.processes():
        kill(pid, signal.SIGCONT)
    return max(seconds)
