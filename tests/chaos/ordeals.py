"""Kills, damages and disturbs real studies, and shows that they survive: `python tests/chaos/ordeals.py --seed 0`.

Linux only. Ends only processes that it started. With the full counts it takes about half an hour on
two quiet processors; as root it also mounts small file systems of its own, to fill them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script

from chaos import buckets, damage, deaths, guard, inputs, outcomes
from chaos.harness import Lab


@dataclass(frozen=True)
class Ordeal:
    """What is done, how often when run by hand, and how often in the tests."""

    undergo: Callable[[Lab, int], str]
    full: int
    short: int


ORDEALS = {
    "drivers": Ordeal(deaths.kill_drivers, 20, 2),
    "workers": Ordeal(deaths.kill_workers, 20, 4),
    "stops": Ordeal(deaths.stop, 20, 2),
    "two-drivers": Ordeal(deaths.two_drivers, 5, 1),
    "writes": Ordeal(deaths.kill_writes, 1, 1),
    "corruptions": Ordeal(damage.corrupt, 100, 10),
    "hostile": Ordeal(damage.plant, 10, 3),
    "disk": Ordeal(damage.refuse_writes, 3, 1),
    "malformed": Ordeal(inputs.malformed, 60, 6),
    "twelve": Ordeal(outcomes.twelve, 3, 1),
    "in-step": Ordeal(outcomes.in_step, 3, 1),
    "schedules": Ordeal(outcomes.schedule, 4, 1),
    "bucket-deaths": Ordeal(buckets.kill_all, 20, 1),
    "bucket-server": Ordeal(buckets.kill_server, 5, 1),
    "bucket-drivers": Ordeal(buckets.two_drivers, 3, 1),
    "guard": Ordeal(guard.guard, 1, 1),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="determines every random choice")
    parser.add_argument("--only", default=",".join(ORDEALS), help="some of the ordeals, separated by commas")
    parser.add_argument("--short", action="store_true", help="the tests' counts instead of the full ones")
    args = parser.parse_args()
    unknown = set(args.only.split(",")) - ORDEALS.keys()
    if unknown:
        parser.error(f"unknown ordeals {', '.join(sorted(unknown))}: known are {', '.join(ORDEALS)}")
    failed = 0
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        lab = Lab(Path(folder), args.seed)
        for name in args.only.split(","):
            began = time.monotonic()
            try:
                ordeal = ORDEALS[name]
                told = f"holds  {ordeal.undergo(lab, ordeal.short if args.short else ordeal.full)}"
            except AssertionError:
                failed += 1
                told = f"FAILS\n{traceback.format_exc()}"
            print(f"{name:<12} {time.monotonic() - began:5.0f} s  {told}", flush=True)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
