"""A model of one's own on two real nodes, of which the second cannot see its file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from local_nodes import local_nodes

from support.idx import random_arrays, write_folder
from support.own import NET, write_net


@pytest.mark.slow
@pytest.mark.cluster
def test_a_node_without_the_models_file_trains_it_too(tmp_path: Path) -> None:
    data, seen, hidden = tmp_path / "data", tmp_path / "seen", tmp_path / "hidden"
    write_folder(data, random_arrays(train=1200, test=200))
    seen.mkdir()
    hidden.mkdir()
    text = NET.replace("super().__init__()", f"""super().__init__()
        with open(os.path.join({str(seen)!r}, str(os.getpid())), "w") as file:
            file.write(str(os.path.exists({str(tmp_path / "models" / "net.py")!r})))""")
    reference = write_net(tmp_path / "models", f"import os\n{text}")
    words = ["--models", reference, "--Net.width", "4", "8", "--lr", "1e-2", "1e-3", "--batch-size", "32"]
    words += ["--epochs", "20", "--data", str(data), "--name", "own", "--json"]
    with local_nodes(()) as nodes:
        nodes.add(cpus=1)
        mounted = f"mount --bind {hidden} {tmp_path / 'models'} && exec \"$@\""
        nodes.add(cpus=1, prefix=("unshare", "--mount", "sh", "-c", mounted, "sh"))
        command = [sys.executable, "-m", "tune_mnist.grid", *words, "--address", nodes.address]
        done = subprocess.run(
            command, cwd=tmp_path, env=nodes.environment, capture_output=True, text=True, timeout=200
        )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cells"] == {"complete": 4} and "4 by autograd" in done.stderr
    assert {path.read_text() for path in seen.iterdir()} == {"True", "False"}  # by whichever node built it
