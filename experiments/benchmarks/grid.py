"""The whole 192-cell job against a plain Ray Tune script on the same machine.

Ours is run whole, from the command's start to its end, in an empty folder. The plain script
(plain_script.py) is run on a sample, a quarter of its trials: the 48 of the smallest budget, two epochs, so
that every model, batch size and lr is in it. It is scaled to all:
    (sum over the 192 cells of  epochs x seconds per epoch  +  192 x seconds per trial outside epochs) / slots.
Run with nothing else on the machine, for about 20 minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import torch
from as_scripts_do import torchvision_mnist
from common import save, show

from tune_mnist.spec.study import StudySpec

BUDGETS, LRS = StudySpec().epochs, StudySpec().lr
SAMPLE_SECONDS = 15.0  # the kernel walks every page for a sample: one a second took an eighth of a core


class PeakMemory(threading.Thread):
    """Samples the memory of a process and all its descendants; shared pages count once (PSS)."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.process, self.peak_bytes, self.stop = psutil.Process(pid), 0, threading.Event()

    def run(self) -> None:
        while not self.stop.wait(SAMPLE_SECONDS):
            total = 0
            for process in [self.process, *self.process.children(recursive=True)]:
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue
            self.peak_bytes = max(self.peak_bytes, total)


def ours(folder: Path) -> dict[str, float]:
    """Run the grid command in `folder`: wall seconds, peak GiB, and what is not spent in epochs.

    That is the seconds before the first training and after the last, their share of the wall time, and the share of
    the slots' time that is not in epochs, where waiting slots and checkpoints count too.
    """
    start, begun = time.perf_counter(), time.time()
    process = subprocess.Popen([sys.executable, "-m", "tune_mnist.grid"], cwd=folder)
    memory = PeakMemory(process.pid)
    memory.start()
    if process.wait() != 0:
        raise SystemExit("the grid command failed")
    wall = time.perf_counter() - start
    memory.stop.set()
    study = folder / "ray_results" / "grid"
    timings = pd.read_csv(study / "timings.csv")
    before = min(path.stat().st_mtime for path in study.glob("trainings/**/config.json")) - begun
    after = begun + wall - max(path.stat().st_mtime for path in study.glob("trainings/**/history.json"))
    slots = os.cpu_count() or 1
    epochs = float(timings["train_seconds"].sum() + timings["eval_seconds"].sum())
    return {
        "wall_seconds": wall, "peak_gib": memory.peak_bytes / 2**30, "slots": slots,
        "train_seconds": float(timings["train_seconds"].sum()), "eval_seconds": float(timings["eval_seconds"].sum()),
        "seconds_before_training": before, "seconds_after_training": after,
        "share_before_and_after": (before + after) / wall, "share_outside_epochs": 1 - epochs / (slots * wall),
    }


def plain(root: Path) -> dict[str, Any]:
    """Run the plain script's sample and scale it to its 192 trials."""
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    import ray
    from plain_script import run

    torchvision_mnist(root)
    here = str(Path(__file__).parent)
    ray.init(runtime_env={"env_vars": {"PYTHONPATH": here}}, log_to_driver=False, include_dashboard=False)
    start = time.perf_counter()
    results = run(root, list(LRS), [min(BUDGETS)])
    wall = time.perf_counter() - start
    ray.shutdown()
    epochs = pd.concat(
        r.metrics_dataframe.assign(model=r.config["model"], batch_size=r.config["batch_size"], lr=r.config["lr"])
        for r in results
    )
    slots, sampled = os.cpu_count() or 1, float(epochs["epoch_seconds"].sum())
    outside = (wall * slots - sampled) / len(results)
    trials = len(results) * len(BUDGETS)
    total = sampled / min(BUDGETS) * sum(BUDGETS) + trials * outside
    return {
        "epoch_seconds": epochs.groupby(["model", "batch_size", "lr"])["epoch_seconds"].mean().reset_index(),
        "sample_trials": len(results), "sample_wall_seconds": wall, "outside_epochs_seconds_per_trial": outside,
        "trials": trials, "scaled_wall_seconds": total / slots,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--folder", type=Path, help="existing folder to run our job in, which keeps its study")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        mine = ours(args.folder or Path(folder))
        script = plain(Path(folder) / "plain")
    rows = [[name, f"{value:.4g}"] for name, value in mine.items()]
    show("Ours, the whole job", ["figure", "value"], rows)
    table = script["epoch_seconds"].pivot(index=["model", "batch_size"], columns="lr", values="epoch_seconds")
    rows = [[*map(str, row[0]), *(f"{seconds:.3g}" for seconds in row[1:])] for row in table.itertuples()]
    show("Plain script, seconds per epoch", ["model", "batch", *(f"lr {lr:g}" for lr in table)], rows)
    print(
        f"plain script: {script['sample_trials']} trials of {min(BUDGETS)} epochs took "
        f"{script['sample_wall_seconds']:.0f} s on {mine['slots']} slots, "
        f"{script['outside_epochs_seconds_per_trial']:.2f} s a trial outside its epochs; "
        f"scaled to {script['trials']} trials: {script['scaled_wall_seconds']:.0f} s"
    )
    ratio = script["scaled_wall_seconds"] / mine["wall_seconds"]
    print(f"ratio plain / ours: {ratio:.1f}")
    script["epoch_seconds"] = script["epoch_seconds"].to_dict("records")
    save(args.json, {"ours": mine, "plain": script, "ratio": ratio, "torch_threads": torch.get_num_threads()})
    print(json.dumps({"ratio": ratio}))


if __name__ == "__main__":
    main()
