"""Tests of a cluster's nodes, without Ray: how many trials they hold, what is waited for, who sees the folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray

from tune_mnist.running import nodes
from tune_mnist.running.nodes import check_storage, live_nodes, slots, storage_problems, waiting_line
from tune_mnist.running.resources import Node, Resources
from tune_mnist.spec.errors import UserError
from tune_mnist.study.storage.folder import FolderProbe, FolderStorage

BUSY = Node("10.0.0.1", {"CPU": 4.0, "GPU": 1.0}, {"CPU": 0.5, "GPU": 0.2}, id="a" * 56)
IDLE = Node("10.0.0.2", {"CPU": 2.0}, {"CPU": 2.0}, id="b" * 56)
SMALL = Node("10.0.0.3", {"CPU": 0.3}, {"CPU": 0.3}, id="c" * 56)
H100 = Node(
    "10.0.0.4", {"CPU": 8.0, "GPU": 2.0, "accelerator_type:H100": 1.0}, {"CPU": 8.0}, {"zone": "east"}, id="d" * 56
)


@pytest.mark.parametrize(("resources", "trials"), [
    (Resources(), 4 + 2 + 8),
    (Resources(cpus_per_trial=3), 1 + 0 + 2),
    (Resources(cpus_per_trial=0.5), 8 + 4 + 0 + 16),
    (Resources(cpus_per_trial=0.1), 40 + 20 + 3 + 80),  # though 0.3 / 0.1 is a little less than 3
    (Resources(gpus_per_trial=0.3), 3 + 6),
    (Resources(gpus_per_trial=0.25), 4 + 8),
    (Resources(cpus_per_trial=4, gpus_per_trial=0.1), 1 + 2),
    (Resources(address="auto", gpus_per_trial=1, accelerator_type="H100"), 2),
    (Resources(address="auto", labels=("zone=east",)), 8),
    (Resources(address="auto", labels=("zone=west",)), 0),
    (Resources(cpus_per_trial=9), 0),
])
def test_slots_are_the_trials_that_the_nodes_could_hold_at_once(resources: Resources, trials: int) -> None:
    assert slots(resources, [BUSY, IDLE, SMALL, H100]) == trials


def test_a_run_waits_only_while_no_node_has_room() -> None:
    assert waiting_line(Resources(), [BUSY, IDLE]) is None
    assert waiting_line(Resources(), [BUSY, SMALL]) == (
        "the cluster is full: no node has 1 CPU free now (0.5 of 4 CPU free in all): waiting for room, Ctrl-C stops"
    )
    share = Resources(cpus_per_trial=0.5, gpus_per_trial=0.5)
    assert waiting_line(share, [BUSY, H100]) == (
        "the cluster is full: no node has 0.5 CPU and 0.5 GPU free now (8.5 of 12 CPU, 0.2 of 3 GPU free in all): "
        "waiting for room, Ctrl-C stops"
    )


def test_live_nodes_are_those_of_ray_s_that_live(monkeypatch: pytest.MonkeyPatch) -> None:
    told = [
        {"NodeID": name, "Alive": name != "dead", "NodeManagerAddress": f"{name}.local", "Resources": {"CPU": 2.0},
         "Labels": {"zone": "east"}}
        for name in ("new", "dead", "old")
    ]
    monkeypatch.setattr(ray, "nodes", lambda: told)
    monkeypatch.setattr(ray._private.state, "available_resources_per_node", lambda: {"old": {"CPU": 0.5}})
    new, old = live_nodes()
    assert (new.id, new.address, new.total, new.free) == ("new", "new.local", {"CPU": 2.0}, {})
    assert (old.id, old.free, old.labels) == ("old", {"CPU": 0.5}, {"zone": "east"})


class Answers:
    """What Ray makes of tasks: each is run at once, on a node whose view of the folder may be another."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, views: dict[str, Callable[[str], str]]) -> None:
        self.views, self.silent = views, set[str]()
        monkeypatch.setattr(nodes, "on_node", self.on_node)
        monkeypatch.setattr(ray, "wait", self.wait)
        monkeypatch.setattr(ray, "get", self.get)

    def on_node(self, node: Node, function: Callable[..., Any], probe: FolderProbe, name: str) -> tuple[str, Any]:
        if node.address == "dies":
            return node.address, ray.exceptions.WorkerCrashedError()
        view = self.views.get(node.address, str)(str(probe.path))
        return node.address, function(FolderProbe(Path(view)), name)

    def wait(self, tasks: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        assert num_returns == len(tasks) and timeout == 2.5
        return [task for task in tasks if task[0] != "silent"], []

    def get(self, task: tuple[str, Any]) -> Any:
        if isinstance(task[1], Exception):
            raise task[1]
        return task[1]


def node_at(address: str) -> Node:
    return Node(address, {"CPU": 1.0}, id=f"{address:0<56}")


def test_each_node_that_does_not_share_the_folder_is_told_with_its_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, elsewhere = tmp_path / "study", tmp_path / "elsewhere"
    for folder in (shared, elsewhere):
        folder.mkdir()

    def copied(probe: str) -> str:
        """The node has a folder of its own there, into which the file has been copied, as by a slow mirror."""
        other = elsewhere / Path(probe).name
        other.write_bytes(Path(probe).read_bytes())
        return str(other)

    (tmp_path / "file").write_text("")
    views = {
        "blind": lambda probe: str(tmp_path / "nowhere" / Path(probe).name), "mirror": copied,
        "broken": lambda probe: str(tmp_path / "file" / "probe"),
    }
    Answers(monkeypatch, views)
    addresses = ("good", "blind", "mirror", "broken", "dies", "silent")
    problems = storage_problems(FolderStorage(shared), map(node_at, addresses), seconds=2.5)
    assert problems == {
        "blind (blind000)": f"does not see {tmp_path / 'nowhere'}",
        "mirror (mirror00)": f"writes to a {shared} of its own",
        "broken (broken00)": f"cannot use {tmp_path / 'file'} (Not a directory)",
        "dies (dies0000)": f"cannot run a task ({str(ray.exceptions.WorkerCrashedError()).splitlines()[0]})",
        "silent (silent00)": "does not answer in 2.5 s",
    }
    assert os.listdir(shared) == []  # nothing of the probe is left


def test_no_problem_is_none_and_one_is_an_error_that_names_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "storage_problems", lambda storage, asked: {})
    check_storage(FolderStorage(tmp_path), [IDLE])
    monkeypatch.setattr(nodes, "storage_problems", lambda storage, asked: {"a": "does not see it", "b": "neither"})
    with pytest.raises(UserError, match=r"node a \(and 1 more nodes\) does not see it: .* or change --storage"):
        check_storage(FolderStorage(tmp_path), [IDLE, BUSY])


def test_a_folder_that_this_machine_cannot_write_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write .*file.*File exists"):
        storage_problems(FolderStorage(tmp_path / "file"), [IDLE])
