"""Files of a study damaged, planted, or refused by the disk."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from chaos.harness import Lab, snapshot, tables, trainings
from tune_mnist.reporting.verification import problems
from tune_mnist.study.layout import entries
from tune_mnist.study.study import Study
from tune_mnist.study.training_folder import TrainingFolder

AT_A_TIME = 10
# Each run makes these whole again, whatever was there; Ray's own files are never read.
REWRITTEN = ("figures", "report.html", "made.json", "ray", "lock")


def truncate(path: Path, lab: Lab) -> None:
    os.truncate(path, lab.random.randrange(max(1, path.stat().st_size)))


def flip(path: Path, lab: Lab) -> None:
    content = bytearray(path.read_bytes())
    content[lab.random.randrange(len(content))] ^= 1 << lab.random.randrange(8)
    path.write_bytes(content)


def zero(path: Path, lab: Lab) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def delete(path: Path, lab: Lab) -> None:
    path.unlink()


def corrupt(lab: Lab, count: int) -> str:
    """Damage random files of a finished study; all is detected or harmless, and gone after one more run.

    A finished training's state is the exception: it is verified when it is about to be used, so that it stays as it is.
    """
    reference = lab.reference()
    study = Study(lab.study(f"corrupt-{count}"))
    shutil.copytree(reference, study.folder)
    detected = harmless = 0
    for start in range(0, count, AT_A_TIME):
        hit: set[Path] = set()  # a second blow to one file would tell nothing new
        for _ in range(min(AT_A_TIME, count - start)):
            path = any_file(study.folder, lab, hit)
            hit.add(path)
            before = set(problems(study))
            lab.random.choice([truncate, flip, zero, delete])(path, lab)
            if set(problems(study)) - before:
                detected += 1
            else:
                assert is_harmless(path.relative_to(study.folder), path), f"undetected: {path}"
                harmless += 1
        lab.run(study.name)
        assert tables(study.folder) == tables(reference)
        left = [problem for problem in problems_but_tables(study) if "/state-" not in problem.replace(": ", "/")]
        assert not left, left
        for path in hit:
            if path.name.startswith("state-") and path.exists():
                shutil.copy(reference / path.relative_to(study.folder), path)
        assert not list(problems(study)), list(problems(study))
    return f"{detected} detected, {harmless} harmless; same bytes after one more run"


def any_file(folder: Path, lab: Lab, hit: set[Path]) -> Path:
    """A random file, not empty, set aside or hit already; of each kind of file equally often."""
    kinds: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path not in hit and path.stat().st_size and ".aside-" not in path.name:
            part = path.relative_to(folder).parts[0]
            kind = path.name.split("-")[0] if part == "trainings" else part
            kinds.setdefault(kind, []).append(path)
    return lab.random.choice(kinds[lab.random.choice(sorted(kinds))])


def is_harmless(name: Path, path: Path) -> bool:
    """Whether the next run makes it good unasked: it writes the file anew, or sees that a training's is gone."""
    rewritten = name.parts[0] in REWRITTEN or name.suffix == ".csv"
    return rewritten or (name.parts[0] == "trainings" and not path.exists())


class Hostile:
    """Unpickling this makes a file."""

    def __init__(self, call: Callable[..., Any], *args: Any) -> None:
        self.call, self.args = call, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call, self.args


def hostile_states(canary: Path) -> Iterator[bytes]:
    """States that run code when unpickled, in several dresses, and would touch `canary` then."""
    calls = [Hostile(os.system, f"touch {canary}"), Hostile(Path.touch, canary), Hostile(open, str(canary), "w"),
             Hostile(exec, f"open({str(canary)!r}, 'w')"), Hostile(os.mkdir, str(canary))]
    for zipped in (True, False):
        for call in calls:
            buffer = io.BytesIO()
            torch.save({"epoch": 2, "steps": call}, buffer, _use_new_zipfile_serialization=zipped)
            yield buffer.getvalue()


def plant(lab: Lab, count: int) -> str:
    """Plant hostile states with good checksums where the next run will load them."""
    words, canary = ("--models", "SimpleNN", "--lr", "1e-4", "1e-3", "1e-2"), lab.folder / "canary"
    longer = (*words, "--epochs", "1", "2", "3")
    reference, name = lab.expected("longer", *longer), f"hostile-{count}"
    shutil.copytree(lab.expected("shorter", *words), lab.study(name))
    folders = sorted(entries(lab.study(name) / "trainings"))
    states = list(hostile_states(canary))[:count]
    for folder, state in zip(lab.random.sample(folders, count), states, strict=True):
        for path in folder.glob("state-*.pt"):
            path.unlink()
        (folder / TrainingFolder(folder).states.name(2, state)).write_bytes(state)
    run = lab.run(name, *longer)
    assert not canary.exists()
    assert run.stderr.count("is not a state of this training; kept as") == count, run.stderr
    assert (tables(lab.study(name)), trainings(lab.study(name))) == (tables(reference), trainings(reference))
    return f"{count} planted, none executed, each named; same bytes"


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """A file system of its own size at `folder`; needs root."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def refuse_writes(lab: Lab, count: int) -> str:
    """Fill the disk, make it read-only, and remove the study in the middle of a study, and go on after each."""
    reference = lab.reference()
    ways = [removed, full, read_only] if os.geteuid() == 0 else [removed]
    return "; ".join(way(lab, reference) for way in ways[:count]) + "; same bytes on going on"


def check_one_line(run: Any, says: str) -> None:
    assert run.code == 2, f"ended with {run.code}: {run.stderr[-3000:]}"
    assert "Traceback" not in run.stderr and run.stdout == "", run.stderr[-3000:]
    last = run.stderr.splitlines()[-1]
    assert last.startswith("error: cannot write ") and says in last, run.stderr[-3000:]


def removed(lab: Lab, reference: Path) -> str:
    log = lab.folder / "removed.log"
    run = lab.start("removed", chaos={"log": str(log), "slow": 0.3})
    run.wait_for(lambda: log.exists() and log.read_text().count("saved") > 5)
    lab.study("removed").rename(lab.folder / "gone")  # at once: workers would fill what is deleted bit by bit
    check_one_line(run.wait(), "No such file")
    lab.run("removed")
    assert tables(lab.study("removed")) == tables(reference)
    return "folder removed: one line"


def full(lab: Lab, reference: Path) -> str:
    storage = lab.folder / "small"
    with small_disk(storage, 60):
        check_one_line(lab.start("full", "--storage", str(storage)).wait(), "No space left")
        done = snapshot(storage / "full" / "trainings")
        assert not list(problems_but_tables(Study(storage / "full")))
        subprocess.run(["mount", "-o", "remount,size=400m", storage], check=True)
        lab.run("full", "--storage", str(storage))
        assert tables(storage / "full") == tables(reference)
        kept = sum(snapshot(storage / "full" / "trainings").get(name) == was for name, was in done.items())
    assert kept > 10
    return "disk full: one line"


def read_only(lab: Lab, reference: Path) -> str:
    storage, log = lab.folder / "read-only", lab.folder / "read-only.log"
    words = ("--storage", str(storage))
    with small_disk(storage, 400):
        run = lab.start("ro", *words, chaos={"log": str(log), "slow": 0.3})
        run.wait_for(lambda: log.exists() and log.read_text().count("saved") > 5)
        run.kill()
        subprocess.run(["mount", "-o", "remount,ro", storage], check=True)
        check_one_line(lab.start("ro", *words).wait(), "Read-only")
        subprocess.run(["mount", "-o", "remount,rw", storage], check=True)
        lab.run("ro", *words)
        assert tables(storage / "ro") == tables(reference)
    return "disk read-only: one line"


def problems_but_tables(study: Study) -> list[str]:
    return [problem for problem in problems(study) if ".csv" not in problem]
