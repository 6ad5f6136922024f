"""Runs of the grid command on a small data set, to be killed, disturbed and compared."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.idx import NAMES, random_arrays, write_folder
from support.plain import plain_study
from support.slices import mnist
from tune_mnist.grid import GridArgs
from tune_mnist.running.runner import packed
from tune_mnist.shell.arguments import parse
from tune_mnist.spec.study import StudySpec

__all__ = ["NAMES", "Lab", "Run", "random_arrays", "write_folder"]

HERE = Path(__file__).parent
TABLES = ("epochs.csv", "results.csv", "summary.csv", "top3.csv")
EPOCHS = 2
BUDGETS = tuple(range(1, EPOCHS + 1))
AT_ONCE = 2  # trials that run at the same time on the two processors of the smallest machine
SECONDS = 600.0  # after which a run counts as hung


class Run:
    """A started command and all the processes it starts, found by a mark in their environment."""

    def __init__(self, words: list[str], folder: Path, chaos: Mapping[str, Any], env: Mapping[str, str]) -> None:
        self.mark = uuid.uuid4().hex
        path = os.pathsep.join([str(HERE / "faults"), os.environ.get("PYTHONPATH", "")])
        disturbance = json.dumps({"figures": False, "dashboard": False, **chaos})
        more = {"CHAOS": disturbance, "CHAOS_MARK": self.mark, "PYTHONPATH": path.rstrip(os.pathsep)}
        self.outputs = Path(tempfile.mkdtemp(dir=folder, prefix="output-"))
        self.started = time.monotonic()
        with open(self.outputs / "stdout", "xb") as out, open(self.outputs / "stderr", "xb") as err:
            self.process = subprocess.Popen(
                [sys.executable, *words], cwd=folder, env={**os.environ, **more, **env}, stdout=out, stderr=err,
                start_new_session=True,
            )

    def processes(self) -> dict[int, str]:
        """The command lines of the live processes that belong to this run."""
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and self.mark.encode() in (entry / "environ").read_bytes():
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                    if line:  # a zombie has none
                        found[int(entry.name)] = line
            except OSError:
                continue
        return found

    def workers(self) -> list[int]:
        """The processes that run trials."""
        return [pid for pid, line in self.processes().items() if line.startswith("ray::") and "Agent" not in line]

    def wait(self, seconds: float = SECONDS) -> Run:
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running after {seconds:g} seconds: {self.stderr[-2000:]}") from None
        return self

    def wait_for(self, happens: Any, seconds: float = SECONDS) -> None:
        """Wait until `happens()`; an error if the command ends before."""
        until = time.monotonic() + seconds
        while not happens():
            assert time.monotonic() < until, f"waited {seconds:g} seconds in vain: {self.stderr[-2000:]}"
            assert self.process.poll() is None, f"ended with {self.code}: {self.stderr[-2000:]}"
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL to all that belongs to the run."""
        while left := self.processes():
            for pid in left:
                kill(pid)
            time.sleep(0.1)
        self.process.wait()

    def clear(self) -> None:
        """Give what a killed driver left a moment to go by itself, then kill it."""
        until = time.monotonic() + 3
        while self.processes() and time.monotonic() < until:
            time.sleep(0.1)
        self.kill()

    @property
    def code(self) -> int | None:
        return self.process.poll()

    @property
    def stdout(self) -> str:
        return (self.outputs / "stdout").read_text()

    @property
    def stderr(self) -> str:
        return (self.outputs / "stderr").read_text()


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


@dataclass
class Lab:
    """A folder with a small data set, in which runs land in `ray_results`; `random` is seeded."""

    folder: Path
    seed: int = 0
    spec: tuple[str, ...] = ()
    """Words that make a run without words of its own smaller than 48 trainings."""
    random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        full = mnist()
        arrays = {"train_images": full.train_images[:1200], "train_labels": full.train_labels[:1200]}
        arrays |= {"test_images": full.test_images[:300], "test_labels": full.test_labels[:300]}
        write_folder(self.folder / "data", arrays)

    def study(self, name: str) -> Path:
        return self.folder / "ray_results" / name

    def start(
        self, name: str, *words: str, chaos: Mapping[str, Any] | None = None, env: Mapping[str, str] | None = None
    ) -> Run:
        """Start the grid command on the small data; without further words: `spec`, two epochs."""
        command = ["-m", "tune_mnist.grid", "--data", "data", "--name", name]
        if "--models" not in words:
            command += self.spec
        if "--epochs" not in words:
            command += ["--epochs", *map(str, BUDGETS)]
        return Run([*command, *words], self.folder, chaos or {}, env or {})

    def run(self, name: str, *words: str, code: int = 0, **kwargs: Any) -> Run:
        """Run the grid command to its end, which must be `code`."""
        run = self.start(name, *words, **kwargs).wait()
        assert run.code == code, f"ended with {run.code}, not {code}: {run.stderr[-3000:]}"
        return run

    def reference(self) -> Path:
        """An undisturbed study."""
        if not self.study("undisturbed").exists():
            self.run("undisturbed")
        return self.study("undisturbed")

    def expected(self, name: str, *words: str) -> Path:
        """The study that these words make, made by plain loops instead of a run."""
        if not self.study(name).exists():
            plain_study(self.parsed(*words, "--data", str(self.folder / "data")), self.study(name))
        return self.study(name)

    def parsed(self, *words: str) -> StudySpec:
        """The spec that these words ask for."""
        epochs = () if "--epochs" in words else ("--epochs", *map(str, BUDGETS))
        return parse(GridArgs, (*words, *epochs), prog="grid", description="").spec

    def in_step(self) -> int:
        """How many trainings at most are one trial of the reference's run: their epochs are saved together."""
        return max(map(len, packed(self.parsed(*self.spec).trainings(), "cpu", AT_ONCE)))


def tables(study: Path) -> dict[str, bytes]:
    return {name: (study / name).read_bytes() for name in TABLES}


def trainings(study: Path) -> dict[str, bytes]:
    """Each training's history and newest state, which holds every weight."""
    paths = [*study.glob("trainings/**/history.json"), *study.glob("trainings/**/state-*.pt")]
    return {str(path.relative_to(study)): path.read_bytes() for path in paths}


def snapshot(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file's size, time of change and content."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns, p.read_bytes()) for p in paths}


def lines(log: Path) -> Iterator[tuple[str, str, int]]:
    for line in log.read_text().splitlines():
        what, name, epoch = line.split()
        yield what, name, int(epoch)


def check_work(log: Path, at_most: int) -> int:
    """Check that no training ended twice and at most so many epochs were begun again; returns how many were."""
    begun = Counter((name, epoch) for what, name, epoch in lines(log) if what == "start")
    ended = Counter(name for what, name, epoch in lines(log) if what == "saved" and epoch == EPOCHS)
    twice = [name for name, times in ended.items() if times > 1]
    assert not twice, f"run twice to the end: {twice}"
    again = sum(begun.values()) - len(begun)
    assert again <= at_most, f"{again} epochs begun again, allowed are {at_most}"
    return again
