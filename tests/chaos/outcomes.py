"""Runs whose trainings fail in different ways, and runs that differ only in how they are scheduled."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd

from chaos.harness import EPOCHS, Lab, Run, tables, trainings
from tune_mnist.running.runner import TRIALS_PER_SLOT

GOOD = ("1e-4", "2e-4", "5e-4", "1e-3", "2e-3", "5e-3", "1e-2", "2e-2", "5e-2", "1e-1", "2e-1")
DIVERGING = "1e30"
TWELVE = ("--models", "MediumNN", "--batch-size", "32", "--lr", *GOOD, DIVERGING)
RUN_BYTES = 2.2 * 2**30  # more than a run takes, which is about 1.3 GiB
MOST_BYTES = 5 * 2**30

FEW = ("--models", "SimpleNN", "--batch-size", "128")  # what the short version runs
ORDERS = {
    "one at a time": {"tune": {"max_concurrent_trials": 1}},
    "reversed": {"reverse": True},
    "without reuse": {"tune": {"reuse_actors": False}},
    "reversed, one at a time, without reuse": {
        "tune": {"max_concurrent_trials": 1, "reuse_actors": False}, "reverse": True
    },
}


def label(lr: str) -> str:
    return f"MediumNN-lr{float(lr):g}-b32-s0"


def memory_bounds() -> tuple[dict[str, str], int]:
    """Settings that make Ray's memory monitor kill workers once a margin of memory is taken, and that margin in bytes.

    It is a third of what is free, from `RUN_BYTES` to `MOST_BYTES`: what other tests take at the same time is less,
    or innocent workers would be killed.
    """
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    kilobytes = {line[0]: int(line[1]) for line in lines}
    total, free = kilobytes["MemTotal:"] * 1024, kilobytes["MemAvailable:"] * 1024
    margin = max(RUN_BYTES, min(free / 3, MOST_BYTES))
    threshold = min(0.95, (total - free + margin) / total)
    return {"RAY_memory_usage_threshold": f"{threshold:.4f}", "RAY_memory_monitor_refresh_ms": "100"}, int(margin)


def twelve(lab: Lab, count: int) -> str:
    """Of twelve trainings let one raise, one take all memory and one diverge: the other nine are right."""
    reference = pd.read_csv(lab.expected("twelve", *TWELVE) / "results.csv")
    for number in range(count):
        raises, hogs = lab.random.sample(GOOD, 2)
        environment, hog_bytes = memory_bounds()
        run = lab.start(
            f"twelve-{count}-{number}", *TWELVE, "--max-failures", "1", env=environment,
            chaos={"faults": {label(raises): "raise", label(hogs): "hog"}, "hog": hog_bytes},
        )
        check_twelve(run.wait(), lab.study(f"twelve-{count}-{number}"), reference, float(raises), float(hogs))
        run.clear()
    return f"{count} times: nine right, exit 1, the three named"


def check_twelve(run: Run, study: Path, reference: pd.DataFrame, raises: float, hogs: float) -> None:
    assert run.code == 1, f"ended with {run.code}: {run.stderr[-3000:]}"
    results = pd.read_csv(study / "results.csv")
    bad = [raises, hogs, float(DIVERGING)]
    now, then = (frame[~frame["lr"].isin(bad)].drop(columns="rank") for frame in (results, reference))
    pd.testing.assert_frame_equal(now.reset_index(drop=True), then.reset_index(drop=True), check_exact=True)
    assert len(now) == 18 and set(now["status"]) == {"complete"}
    statuses = results[results["lr"].isin(bad)].groupby("lr")["status"].unique().map(list).to_dict()
    assert statuses == {raises: ["failed"], hogs: ["failed"], float(DIVERGING): ["diverged"]}
    for told in (f"lr {raises:.4g}, ", "this training [always] fails", f"lr {hogs:.4g}, ", "OutOfMemoryError", "1e+30"):
        assert told in run.stdout, f"{told} is not in {run.stdout}"
    failures = [json.loads(path.read_text())["content"] for path in study.glob("trainings/**/failure.json")]
    assert any("Traceback" in told["traceback"] or "run_epoch" in told["traceback"] for told in failures)


def in_step(lab: Lab, count: int) -> str:
    """Of trainings that share batches let one raise: it alone fails, and the others are right."""
    lrs = [f"{1e-4 * number:g}" for number in range(1, 1 + TRIALS_PER_SLOT * (os.cpu_count() or 1))]
    words = ("--models", "SimpleNN", "--batch-size", "64", "128", "--lr", *lrs)  # two for each of the trials wanted
    reference = pd.read_csv(lab.expected("in-step", *words) / "results.csv").drop(columns="rank")
    for number in range(count):
        name, raises = f"in-step-{count}-{number}", lab.random.choice(lrs)
        faults = {f"SimpleNN-lr{raises}-b64-s0": "raise"}
        run = lab.start(name, *words, "--max-failures", "0", chaos={"faults": faults}).wait()
        assert run.code == 1, f"ended with {run.code}: {run.stderr[-3000:]}"
        assert "trying again one by one" in run.stderr, run.stderr[-3000:]
        results = pd.read_csv(lab.study(name) / "results.csv").drop(columns="rank")
        failed, was = ((frame["lr"] == float(raises)) & (frame["batch_size"] == 64) for frame in (results, reference))
        assert set(results[failed]["status"]) == {"failed"} and failed.sum() == was.sum() == EPOCHS
        now, then = (frame.reset_index(drop=True) for frame in (results[~failed], reference[~was]))
        pd.testing.assert_frame_equal(now, then, check_exact=True)
    return f"{count} times: of {2 * len(lrs)} trainings the one that raised failed, the others are right"


def schedule(lab: Lab, count: int) -> str:
    """Run the same spec one or two trainings at a time, in another order, with and without reused actors."""
    words = FEW if count < len(ORDERS) else ()
    reference = lab.expected("few", *words) if words else lab.reference()
    for order, chaos in list(ORDERS.items())[-count:]:
        name = order.replace(", ", "-").replace(" ", "-")
        lab.run(name, *words, chaos=chaos)
        assert tables(lab.study(name)) == tables(reference), order
        assert trainings(lab.study(name)) == trainings(reference), order
    return f"{count} other schedules: tables, histories and states have the same bytes"
