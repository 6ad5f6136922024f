"""A cluster's nodes: what each has, and whether each sees the study's folder."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tune_mnist.running.resources import Node, Resources
from tune_mnist.spec.errors import UserError
from tune_mnist.study.files import write_atomic

PROBE_SECONDS = 25.0


def live_nodes() -> list[Node]:
    """The live nodes of the cluster."""
    free = ray._private.state.available_resources_per_node()
    return [
        Node(
            address=node["NodeManagerAddress"], total=node["Resources"], free=free.get(node["NodeID"], {}),
            labels=node["Labels"], id=node["NodeID"],
        )
        for node in ray.nodes() if node["Alive"]
    ]


def slots(resources: Resources, nodes: Iterable[Node]) -> int:
    """How many trials the nodes could hold at once."""
    return sum(
        int(min(node.total[kind] / amount for kind, amount in resources.demand.items()) + 1e-6)
        for node in nodes if resources.can_hold(node)
    )


def waiting_line(resources: Resources, nodes: Iterable[Node]) -> str | None:
    """What a trial waits for while no node has room for one; None if one has."""
    able = [node for node in nodes if resources.can_hold(node)]
    if any(resources.has_room(node) for node in able):
        return None
    wanted = " and ".join(f"{amount:g} {kind}" for kind, amount in resources.demand.items())
    free = {kind: sum(node.free.get(kind, 0) for node in able) for kind in resources.demand}
    total = {kind: sum(node.total.get(kind, 0) for node in able) for kind in resources.demand}
    in_all = ", ".join(f"{free[kind]:g} of {total[kind]:g} {kind}" for kind in resources.demand)
    return f"the cluster is full: no node has {wanted} free now ({in_all} free in all): waiting for room, Ctrl-C stops"


def check_storage(folder: Path, nodes: Iterable[Node]) -> None:
    """Check that each node reads and writes `folder` as this process does.

    Raises:
        UserError: a node does not, or does not answer in time; the message names it.
    """
    problems = storage_problems(folder, nodes)
    if problems:
        address, problem = next(iter(problems.items()))
        others = f" (and {len(problems) - 1} more nodes)" if len(problems) > 1 else ""
        remedy = "give every node the same shared folder there, or change --storage"
        raise UserError(f"node {address}{others} {problem}: {remedy}")


def storage_problems(folder: Path, nodes: Iterable[Node], seconds: float = PROBE_SECONDS) -> dict[str, str]:
    """What is wrong with `folder` on each node where something is, by the node's address (and id, for one host's many).

    Raises:
        UserError: this process itself cannot write there.
    """
    nonce = secrets.token_hex(8)  # a name that no file system has remembered to be absent
    probe = folder / f".probe-{nonce}.tmp"
    write_atomic(probe, nonce.encode())
    problems = {}
    try:
        tasks = {on_node(node, _probe, str(probe), node.id): node for node in nodes}
        answered, _ = ray.wait(list(tasks), num_returns=len(tasks), timeout=seconds) if tasks else ([], [])
        for task, node in tasks.items():
            problem = _problem(task, node, probe) if task in answered else f"does not answer in {seconds:g} s"
            if problem is not None:
                problems[f"{node.address} ({node.id[:8]})"] = problem
    finally:
        for path in folder.glob(f".probe-{nonce}*.tmp"):
            path.unlink(missing_ok=True)
    return problems


def on_node(node: Node, function: Callable[..., Any], *args: Any) -> ray.ObjectRef[Any]:
    """Call a function on the node, busy or not."""
    strategy = NodeAffinitySchedulingStrategy(node.id, soft=False)
    return ray.remote(num_cpus=0, max_retries=0)(function).options(scheduling_strategy=strategy).remote(*args)


def _probe(probe: str, node: str) -> str | None:
    """On a node: read the driver's file and write one beside it; what went wrong, if anything."""
    path = Path(probe)
    try:
        nonce = path.read_text()
        write_atomic(_answer(path, node), nonce.encode())
    except FileNotFoundError:
        return f"does not see {path.parent}"
    except OSError as error:  # which a WriteError is, too
        return f"cannot use {path.parent} ({error.strerror})"
    return None


def _answer(probe: Path, node: str) -> Path:
    return probe.with_name(f"{probe.stem}-{node}.tmp")


def _problem(task: ray.ObjectRef[Any], node: Node, probe: Path) -> str | None:
    try:
        problem: str | None = ray.get(task)
    except ray.exceptions.RayError as error:
        return f"cannot run a task ({str(error).strip().splitlines()[0]})"
    if problem is None and not _answer(probe, node.id).exists():
        return f"writes to a {probe.parent} of its own"
    return problem
