"""Inside a user's program a run leaves everything as it was: Ray's session, environment, loggers, handlers, numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.idx import random_arrays, write_folder
from tune_mnist.running.session import OWN_RAY_ENVIRONMENT, RAY_ENVIRONMENT

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["own", "none"])
def test_two_runs_and_an_interrupted_one_leave_no_trace(kind: str, tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data", random_arrays(train=600, test=100))
    command = [sys.executable, str(ROOT / "tests/support/notebook.py"), kind, str(data), str(tmp_path)]
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    ours = {*RAY_ENVIRONMENT, *OWN_RAY_ENVIRONMENT}  # which a command run inside this process leaves set
    env = {name: value for name, value in os.environ.items() if name not in ours} | {"PYTHONPATH": path}
    done = subprocess.run(command, capture_output=True, text=True, timeout=290, env=env)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "no trace", done.stderr[-3000:]


@pytest.mark.slow
def test_an_address_beside_the_programs_own_session_is_refused_and_leaves_it(tmp_path: Path) -> None:
    code = """
import ray, tune_mnist as tm
ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
address = ray.get_runtime_context().gcs_address
try:
    tm.run_grid(name="a", storage="studies", resources=tm.Resources(address=address))
except tm.UserError as error:
    print(error, ray.is_initialized())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=tmp_path,
                          env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert "one session of Ray's" in done.stdout and done.stdout.endswith("the address True\n"), done.stderr[-3000:]
