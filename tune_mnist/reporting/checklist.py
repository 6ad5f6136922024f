"""What a reader needs to repeat a study, item by item, from study.json and the study's files."""

from __future__ import annotations

import shlex
from typing import Any, NamedTuple

from tune_mnist.study.study import Study
from tune_mnist.study.training_folder import STOPPED_EARLY
from tune_mnist.tables.analyse import Tables
from tune_mnist.training.dataset import HELD_OUT, SPLIT_SEED


class Item(NamedTuple):
    """Something that a reproducible study has, whether this one has it, and the values."""

    name: str
    checked: bool
    values: list[str]


def checklist(study: Study, tables: Tables, uses: list[str]) -> list[Item]:
    """The items, after those of the machine learning reproducibility checklist (Pineau et al. 2021, JMLR 22(164)).

    `uses` are those of the test set, as `test_set_uses` tells them.
    """
    about = study.describe()
    runs, context = about["runs"], about["context"]
    complete, asked = int((tables.results["status"] == "complete").sum()), len(tables.results)
    stopped = int((tables.results["status"] == STOPPED_EARLY).sum())
    seeds = sorted(int(seed) for seed in tables.results["seed"].unique())
    holdout = tables.protocol == "holdout"
    split = f"one training picture in {HELD_OUT}, stratified, by seed {SPLIT_SEED}, held out to choose by"
    commits = _distinct(_commit(run["git"]) for run in runs)
    versions = _distinct(f"Python {run['python']}, {_listed(run['versions'])}" for run in runs)
    machines = _distinct(_machine(run["machine"]) for run in runs)
    return [
        Item("everything asked for is complete", complete + stopped == asked, [
            f"{complete} of {asked} results" + (f", {stopped} of the search {STOPPED_EARLY}" if stopped else "")
        ]),
        Item("more than one seed", len(seeds) > 1, [", ".join(map(str, seeds))]),
        Item("chosen on other pictures than tested on", holdout, [split if holdout else "chosen on the test pictures"]),
        Item("test set kept for the end", holdout, [f"scored {use}" for use in uses]),
        Item("data's checksum", bool(about["data_sha256"]), [f"SHA-256 {about['data_sha256']}"]),
        Item("one commit, unchanged", [commit.endswith(", unchanged") for commit in commits] == [True], commits),
        Item("one set of versions", len(versions) == 1, versions),
        Item("one type of machine", len(machines) == 1, [
            *machines, f"trained on {context['device']}, threads of a training: {context['threads']}",
        ]),
        Item("command lines", bool(runs), [f"{run['started']}: {shlex.join(run['command'])}" for run in runs]),
    ]


def _machine(machine: dict[str, Any]) -> str:
    gpus = _distinct(f"{gpu['name']}, driver {gpu['driver']}" for gpu in machine.get("gpus", ()))
    parts = [machine["cpu"] or "processor not known", f"{machine['cpus']} CPUs", *gpus, machine["platform"]]
    return ", ".join(parts)


def _commit(git: dict[str, Any] | None) -> str:
    return f"{git['commit']}, {'changed since' if git['dirty'] else 'unchanged'}" if git else "not known"


def _listed(versions: dict[str, str | None]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items() if version)


def _distinct(values: Any) -> list[str]:
    """Each value once, in order."""
    return list(dict.fromkeys(values))
