"""What many trainings cost besides training them: those that only wait, on 1 to 8 Ray nodes, and made studies.

The nodes are processes of this machine with two slots each, and a training waits a second and reports once. The
driver's part is the one that a study has: the runner's `_fit` with its searcher, its watch and its monitor. On a
complete study of so many trainings the commands are run that look at all of it: each once, in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
from common import save, show, spread, told
from made_study import EPOCHS, MODELS, make_study, spec_of

sys.path.insert(0, str(Path(__file__).parents[1] / "cluster"))
from local_nodes import LocalNodes, local_nodes

SLOTS = 2
WAIT_SECONDS = 1.0
NODES = (1, 2, 4, 8)
TRIALS_PER_SLOT = 30
MIB = 2**20


def waits(config: dict[str, Any], **ignored: Any) -> None:
    """A trial of trainings of one epoch that cost nothing."""
    import time

    from ray import tune

    from tune_mnist.running.chains import groups_of

    for member in range(sum(map(len, groups_of(config)))):
        time.sleep(WAIT_SECONDS)
        row = {"epoch": 1, "train_loss": 0.0, "val_accuracy": 0.5, "train_seconds": WAIT_SECONDS, "eval_seconds": 0.0}
        tune.report({"key": "", "member": member, "diverged": False, **row})


def drive(address: str, trials: int, folder: Path) -> dict[str, Any]:
    """Run `trials` from this process; seconds, trials ended and this process's memory at each of its samples."""
    from rich.console import Console

    from tune_mnist.running import runner
    from tune_mnist.running.resources import Resources
    from tune_mnist.running.session import ray_session
    from tune_mnist.running.supervisor import Watch
    from tune_mnist.running.watching.display import Display
    from tune_mnist.running.watching.tracking import Tracking
    from tune_mnist.spec.training import Context, PlannedTraining, TrainingConfig
    from tune_mnist.study.progress import RunState
    from tune_mnist.study.study import Study

    plans = [
        PlannedTraining(TrainingConfig(model="SimpleNN", lr=1e-3, batch_size=128, seed=seed), (1,))
        for seed in range(trials)
    ]
    study = Study(folder)
    study.folder.mkdir()
    study.create()
    console, resources = Console(quiet=True), Resources(address=address)
    state = RunState(plans, "val_accuracy")
    me, samples = psutil.Process(), []
    with ray_session(resources, console), Display(state, console) as display:
        watch = Watch(display, study, Context(protocol="holdout", data_sha256="none"), resources)
        cpu, start, done = me.cpu_times(), time.perf_counter(), threading.Event()

        def sample() -> None:
            while not done.wait(0.25):
                samples.append((time.perf_counter() - start, len(state.ended), me.memory_info().rss / MIB))

        sampling = threading.Thread(target=sample, daemon=True)
        sampling.start()
        runner._fit(waits, plans, watch, Tracking(), at_once=None)
        seconds, used = time.perf_counter() - start, me.cpu_times()
        done.set()
        sampling.join()
    cpu_seconds = used.user + used.system - cpu.user - cpu.system
    return {"trials": trials, "seconds": seconds, "cpu_seconds": cpu_seconds, "samples": samples}


def measure(cluster: LocalNodes, trials: int) -> dict[str, float]:
    """Drive so many trials from a process of its own, and what that cost; rates are of the steady state."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--drive", cluster.address, "--trials", str(trials), "--folder", folder]
        done = subprocess.run(command, env=cluster.environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the driver failed:\n{done.stderr[-3000:]}")
    seen = json.loads(done.stdout.splitlines()[-1])
    slots = SLOTS * len(cluster.nodes)
    # Steady: from half of the trials, when every slot has its worker, to when the first slots have none left.
    steady = [s for s in seen["samples"] if trials / 2 <= s[1] <= trials - slots]
    (first, ended, memory), (last, ended_last, memory_last) = steady[0], steady[-1]
    rate = (ended_last - ended) / (last - first)
    figures = {
        "trials": trials, "seconds": seen["seconds"], "rate": rate, "of_ideal": slots / WAIT_SECONDS / rate,
        "whole_of_ideal": seen["seconds"] / (trials * WAIT_SECONDS / slots),
        "cpu_ms_per_trial": seen["cpu_seconds"] / trials * 1e3, "cpu_share": seen["cpu_seconds"] / seen["seconds"],
        "memory_mib": memory_last, "growth_kib": (memory_last - memory) / (ended_last - ended) * 1024,
        "gcs_mib": gcs_mib(cluster),
    }
    print(len(cluster.nodes), json.dumps(figures), file=sys.stderr, flush=True)  # a long job's table comes late
    return figures


def measure_commands(storage: Path, trainings: int) -> dict[str, float]:
    """Make a study of so many trainings in `storage`, unless it is there; CPU seconds and MiB of what looks at it."""
    name = f"made-{trainings}"
    study = make_study(storage / name, trainings)
    axes = {"--models": MODELS, "--lr": spec_of(trainings).lr, "--batch-size": spec_of(trainings).batch_size}
    again = [word for flag, values in axes.items() for word in (flag, *map(str, values))]
    commands = {
        "grid": ["grid", *again, "--epochs", *map(str, EPOCHS), "--name", name, "--storage", str(storage)],
        "status": ["status", str(study.folder)],
        "analysis": ["analysis", str(study.folder)],
    }
    figures = {"trainings": float(trainings)}
    for command, words in commands.items():
        start = time.perf_counter()
        program = [sys.executable, "-m", f"tune_mnist.{words[0]}"]
        process = subprocess.Popen([*program, *words[1:]], stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        if status:
            sys.exit(f"tune_mnist.{command} failed")
        figures |= {
            f"{command}_seconds": time.perf_counter() - start, f"{command}_cpu_seconds": used.ru_utime + used.ru_stime,
            f"{command}_mib": used.ru_maxrss / 1024,
        }
    figures["page_mb"] = (study.folder / "report.html").stat().st_size / 1e6
    print(name, json.dumps(figures), file=sys.stderr, flush=True)
    return figures


def gcs_mib(cluster: LocalNodes) -> float:
    """Memory of the head's global control store."""
    family = psutil.Process(cluster.nodes[0].pid).children(recursive=True)
    return sum(process.memory_info().rss for process in family if process.name() == "gcs_server") / MIB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="repetitions (3)")
    parser.add_argument("--nodes", type=int, nargs="*", default=NODES, help="how many, rising (1 2 4 8)")
    parser.add_argument("--long", type=int, nargs="*", default=[1000, 10000], help="trials of long runs (1000 10000)")
    parser.add_argument("--made", type=int, nargs="*", default=[10_000, 100_000], help="trainings (10000 100000)")
    parser.add_argument("--storage", type=Path, help="folder in which made studies are left, and found again")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--drive", help=argparse.SUPPRESS)
    parser.add_argument("--trials", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.drive:
        print(json.dumps(drive(args.drive, args.trials, args.folder / "study")))
        return
    with tempfile.TemporaryDirectory() as folder:
        made = [measure_commands((args.storage or Path(folder)).absolute(), trainings) for trainings in args.made]
    report_made(made)
    found: dict[str, list[dict[str, float]]] = {}
    if not args.nodes:
        save(args.json, {"made": made})
        return
    with local_nodes((), environment=os.environ) as cluster:
        for count in args.nodes:
            while len(cluster.nodes) < count:
                cluster.add(cpus=SLOTS)
            trials = TRIALS_PER_SLOT * SLOTS * count
            found[f"{count} nodes"] = [measure(cluster, trials) for _ in range(args.rounds)]
        for trials in args.long:
            found[f"{args.nodes[-1]} nodes, {trials} trials"] = [measure(cluster, trials)]
    report(found)
    save(args.json, {"made": made} | {
        what: {name: spread([run[name] for run in runs]) for name in runs[0]} for what, runs in found.items()
    })


def report_made(made: list[dict[str, float]]) -> None:
    """Print the table of the made studies."""
    commands = ("grid", "status", "analysis")
    show(
        "Commands on a complete study, once each: CPU seconds, MiB",
        ["trainings", *(f"{command}{unit}" for command in commands for unit in ("", ", MiB")), "page, MB"],
        [[int(each["trainings"]),
          *(f"{each[f'{command}_{what}']:.3g}" for command in commands for what in ("cpu_seconds", "mib")),
          f"{each['page_mb']:.2g}"] for each in made],
    )


def report(found: dict[str, list[dict[str, float]]]) -> None:
    """Print the table."""
    def cell(runs: list[dict[str, float]], name: str, unit: str = "") -> str:
        return told([run[name] for run in runs], unit)

    show(
        f"Trials of {WAIT_SECONDS:g} s, {SLOTS} slots a node; median (min–max)",
        ["what", "n", "trials", "trials/s", "× ideal", "× ideal with start", "driver CPU ms/trial", "driver MiB",
         "KiB more per trial", "GCS MiB"],
        [[what, len(runs), int(statistics.median(run["trials"] for run in runs)), cell(runs, "rate"),
          cell(runs, "of_ideal"), cell(runs, "whole_of_ideal"), cell(runs, "cpu_ms_per_trial"),
          cell(runs, "memory_mib"), cell(runs, "growth_kib"), cell(runs, "gcs_mib")] for what, runs in found.items()],
    )


if __name__ == "__main__":
    main()
