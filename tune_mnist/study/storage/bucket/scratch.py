"""Where a node has its working copy of a study that is kept in a bucket: in its folder of temporary files."""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from tune_mnist.shell.private import own_folder
from tune_mnist.study.files import digest, make_folder, write_atomic

TRAININGS = "trainings"
"""The folder of a study's trainings, each in one of its key's name."""


def run_scratch(uri: str, generation: int) -> Path:
    """This node's working copy in a run, shared by driver and workers, with a folder for its trainings.

    Those of earlier runs are deleted, once no process uses them any more. Nothing is lost with them: what is not in the
    bucket counts as not done.
    """
    mine = own_folder(Path(tempfile.gettempdir()) / f"tune_mnist-studies-{os.getuid()}")
    of_study = own_folder(mine / digest(uri.encode()))
    for earlier in of_study.iterdir():
        if earlier.name.isdigit() and int(earlier.name) < generation and _use(earlier, fcntl.LOCK_EX):
            shutil.rmtree(earlier, ignore_errors=True)
    folder = own_folder(of_study / f"{generation:08}")
    _use(folder, fcntl.LOCK_SH)
    own_folder(folder / TRAININGS)
    return folder


def _use(folder: Path, kind: int) -> bool:
    """Lock a working copy: shared, until this process ends, or for a moment, to learn whether nobody uses it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return False
    if kind == fcntl.LOCK_EX:
        os.close(descriptor)
    return True


def reader_scratch() -> Path:
    """A working copy of this process alone, deleted when it ends."""
    folder = Path(tempfile.mkdtemp(prefix="tune_mnist-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def write_copy(path: Path, data: bytes) -> None:
    """Replace a file whole; it need not outlive the machine."""
    make_folder(path.parent, parents=True)
    write_atomic(path, data, durable=False)
