"""Kills a study at each of its writes, checks what is left, and resumes it.

Run as a script: it forks a process for each kill, which takes a process without threads.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import shutil
import signal
import stat
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from support.stored import CONTEXT, KEY, OTHER, SPEC, train, tree
from tune_mnist.study.files import read_json
from tune_mnist.study.study import Study

SPECS = [json.loads(json.dumps(spec.content(), default=str)) for spec in (SPEC, OTHER)]
VARYING = {"timings.json", "study.json"}  # times, and how many runs there were


def job(folder: Path) -> None:
    """What a run does to a study, without Ray: add a spec, and train one training of three epochs."""
    study = Study(folder)
    study.create()
    study.add(OTHER, CONTEXT, {})
    train(study.training(KEY))


def kill_before(call: int) -> None:
    """Let this process be killed just before its `call`-th change of the disk; what is not fsynced is half lost."""
    calls = itertools.count(1)

    def guarded(name: str, real: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if next(calls) == call:
            if name == "fsync" and stat.S_ISREG(os.fstat(args[0]).st_mode):
                os.ftruncate(args[0], os.fstat(args[0]).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)

    for name in ("fsync", "replace", "rename", "unlink", "mkdir"):
        setattr(os, name, functools.partial(guarded, name, getattr(os, name)))


def killed_at(call: int, folder: Path) -> bool:
    """Do the job in a forked process that is killed at `call`; whether it was."""
    child = os.fork()
    if not child:
        kill_before(call)
        job(folder)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), status
    return status != 0


def check_whole(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Everything on disk is a whole old or new file, and at most one epoch is lost."""
    assert Study(folder).describe()["specs"] in (SPECS[:1], SPECS)
    training = Study(folder).training(KEY)
    for path in folder.rglob("*.json"):
        read_json(path)
    progress = training.progress(with_state=True)
    assert progress.rows == rows[: len(progress.rows)] and progress.state_epoch >= len(progress.rows) - 1


def final(folder: Path) -> dict[str, bytes]:
    """A study's files but for those that may differ."""
    return {name: content for name, content in tree(folder).items() if Path(name).name not in VARYING}


def kill_at_each_write(scratch: Path) -> Iterator[int]:
    """Kill the job at every change of the disk, check what is left, resume and compare; yields each kill."""
    warnings.simplefilter("error")
    start = Study(scratch / "start")
    start.folder.mkdir()
    start.create()
    start.add(SPEC, CONTEXT, {})
    shutil.copytree(start.folder, scratch / "undisturbed")
    job(scratch / "undisturbed")
    rows = Study(scratch / "undisturbed").training(KEY).progress().rows
    for call in itertools.count(1):
        folder = scratch / "killed"
        shutil.copytree(start.folder, folder)
        killed = killed_at(call, folder)
        check_whole(folder, rows)
        job(folder)
        assert final(folder) == final(scratch / "undisturbed"), call
        shutil.rmtree(folder)
        if not killed:
            return
        yield call


if __name__ == "__main__":
    print(sum(1 for _ in kill_at_each_write(Path(sys.argv[1]))))
