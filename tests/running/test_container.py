"""In surroundings as containers, clusters and editors make them everything works, or ends in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from support.idx import random_arrays, write_folder

ROOT = Path(__file__).parents[2]
UNKNOWN = ["unshare", "--user", "--map-user=12345", "--map-group=12345"]
ONE_PROCESSOR = ["taskset", "-c", "0"]
GRID = ("--models", "SimpleNN", "--lr", "1e-3", "--batch-size", "64", "--epochs", "1")
CASES = (
    "unknown uid, no home", "read-only home", "one processor", "long TMPDIR", "odd path of the environment",
    "ASCII terminal", "all together",
)


def works(*command: str) -> bool:
    """Whether a command is there and may be used."""
    try:
        return subprocess.run([*command, "true"], capture_output=True).returncode == 0
    except OSError:
        return False


class Surroundings:
    """The project's commands run as `case` has it, in the folder `work`."""

    def __init__(self, case: str, folder: Path) -> None:
        every = case == "all together"
        self.work = folder / "it's wörk"
        self.work.mkdir()
        self.prefix: list[str] = []
        self.python = sys.executable
        self.environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), sysconfig.get_path("purelib")])}
        if every or case in CASES[:2]:
            self.prefix += UNKNOWN
            for name in ("HOME", "USER", "LOGNAME"):
                self.environment.pop(name, None)
        if every or case == "read-only home":
            (folder / "home").mkdir(mode=0o555)
            self.environment["HOME"] = str(folder / "home")
        if every or case == "one processor":
            self.prefix += ONE_PROCESSOR
        if every or case == "long TMPDIR":
            long = folder / "folders" / "zz" / ("x" * 60)
            long.mkdir(parents=True)
            self.environment["TMPDIR"] = str(long)
        if every or case == "odd path of the environment":
            venv = folder / "my 'new' önv"
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
            self.python = str(venv / "bin" / "python")
        if every or case == "ASCII terminal":
            self.environment |= {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}

    def start(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [*self.prefix, self.python, "-m", "tune_mnist", *words], capture_output=True, text=True, timeout=280,
            cwd=self.work, env=self.environment, errors="surrogateescape",
        )

    def run(self, *words: str, status: int = 0) -> str:
        """What a command prints to stdout; it ends with `status`, and tells no warning of a library's."""
        done = self.start(*words)
        assert done.returncode == status, done.stderr[-3000:]
        for word in ("Traceback", "Warning", "atplotlib"):
            assert word not in done.stderr, done.stderr[-3000:]
        return done.stdout


needs_both = pytest.mark.skipif(not (works(*UNKNOWN) and works(*ONE_PROCESSOR)), reason="no unshare or taskset here")


@pytest.mark.slow
@needs_both
@pytest.mark.parametrize("case", CASES)
def test_doctor_which_does_what_a_run_does_finds_nothing_amiss(case: str, tmp_path: Path) -> None:
    here = Surroundings(case, tmp_path)
    checks = {check["name"]: check for check in json.loads(here.run("doctor", "--json"))["checks"]}
    assert checks["Ray's folder"]["remedy"] is None and checks["token"]["remedy"] is None
    if here.prefix[-3:] == ONE_PROCESSOR:
        assert checks["cores"]["value"] == "1"


@pytest.mark.slow
@needs_both
@pytest.mark.parametrize("case", ["unknown uid, no home", "all together"])  # the others' are parts of the last
def test_grid_status_and_predict_work(case: str, tmp_path: Path) -> None:
    from PIL import Image, ImageDraw

    here = Surroundings(case, tmp_path)
    data = write_folder(tmp_path / "dätä", random_arrays(train=600, test=100))
    picture = Image.new("L", (60, 60), 255)
    ImageDraw.Draw(picture).line((30, 8, 30, 52), fill=0, width=5)
    picture.save(here.work / "eins–ß.png")
    (tmp_path / "elsewhere").mkdir()
    (here.work / "my stüdies").symlink_to(tmp_path / "elsewhere")
    place = ("--data", str(data), "--name", "s", "--storage", "my stüdies")
    outcome = json.loads(here.run("grid", *GRID, *place, "--json"))
    assert outcome["cells"] == {"complete": 1}
    assert "s: finished" in here.run("status", "my stüdies/s")
    assert ": 1 (" in here.run("predict", "eins–ß.png", "--figure", "seen–ß.png")
    assert {path.name for path in here.work.iterdir()} == {"my stüdies", "eins–ß.png", "seen–ß.png"}


@pytest.mark.slow
def test_paths_that_are_no_utf_8_to_python_work_or_end_in_one_line(tmp_path: Path) -> None:
    here = Surroundings("ASCII terminal", tmp_path)
    here.environment["PYTHONUTF8"] = "0"
    data = write_folder(tmp_path / "data", random_arrays(train=600, test=100))
    done = here.start("grid", *GRID, "--data", str(data))
    assert done.returncode == 2 and done.stderr.splitlines()[-1].endswith("set PYTHONUTF8=1"), done.stderr


@pytest.mark.slow
def test_too_low_limits_end_in_one_line(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data", random_arrays(train=600, test=100))
    shell = f"ulimit -n 100; exec {sys.executable} -m tune_mnist.grid --data {data} --storage {tmp_path}/studies"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=60,
                          env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 2 and "raise the limit (ulimit -n)" in done.stderr.splitlines()[-1], done.stderr
