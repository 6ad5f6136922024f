"""A cluster's nodes: what each has, and whether each reaches the study's storage."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tune_mnist.running.resources import Node, Resources
from tune_mnist.spec.errors import UserError
from tune_mnist.study.storage.base import Probe, Storage

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


def check_storage(storage: Storage, nodes: Iterable[Node]) -> None:
    """Check that each node reads and writes `storage` as this process does.

    Raises:
        UserError: a node does not, or does not answer in time; the message names it.
    """
    problems = storage_problems(storage, nodes)
    if problems:
        address, problem = next(iter(problems.items()))
        others = f" (and {len(problems) - 1} more nodes)" if len(problems) > 1 else ""
        remedy = "let every node reach the same storage, a shared folder or a bucket, or change --storage"
        raise UserError(f"node {address}{others} {problem}: {remedy}")


def storage_problems(storage: Storage, nodes: Iterable[Node], seconds: float = PROBE_SECONDS) -> dict[str, str]:
    """What is wrong with `storage` on each node where something is, by address and id (a host may have many nodes).

    Raises:
        UserError: this process itself cannot write there.
    """
    problems = {}
    with storage.probe() as probe:
        tasks = {on_node(node, _problem_on, probe, node.id): node for node in nodes}
        answered, _ = ray.wait(list(tasks), num_returns=len(tasks), timeout=seconds) if tasks else ([], [])
        for task, node in tasks.items():
            problem = _problem(task, node, probe) if task in answered else f"does not answer in {seconds:g} s"
            if problem is not None:
                problems[f"{node.address} ({node.id[:8]})"] = problem
    return problems


def on_node(node: Node, function: Callable[..., Any], *args: Any) -> ray.ObjectRef[Any]:
    """Call a function on the node, busy or not."""
    strategy = NodeAffinitySchedulingStrategy(node.id, soft=False)
    return ray.remote(num_cpus=0, max_retries=0)(function).options(scheduling_strategy=strategy).remote(*args)


def _problem_on(probe: Probe, node: str) -> str | None:
    """On a node: what is wrong with the storage there."""
    return probe.problem_on(node)


def _problem(task: ray.ObjectRef[Any], node: Node, probe: Probe) -> str | None:
    try:
        problem: str | None = ray.get(task)
    except ray.exceptions.RayError as error:
        return f"cannot run a task ({str(error).strip().splitlines()[0]})"
    return probe.unseen() if problem is None and not probe.is_answered(node.id) else problem
