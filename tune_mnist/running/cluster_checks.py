"""What a Ray cluster must have for a study: looked at on every node, each told with a remedy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray

from tune_mnist.running.access import authentication_mode
from tune_mnist.running.checks import PACKAGES, Check, gpu_names, machine_facts, version_of
from tune_mnist.running.nodes import PROBE_SECONDS, live_nodes, on_node, storage_problems
from tune_mnist.running.resources import Node
from tune_mnist.running.session import joined
from tune_mnist.spec.errors import UserError
from tune_mnist.spec.places import shown
from tune_mnist.study.storage.base import Storage
from tune_mnist.study.storage.opening import storage_at


def cluster_checks(address: str, storage: Path) -> Iterator[Check]:
    """The cluster at `address`: reached, its dashboard and token, each node, and `storage` from each."""
    try:
        with joined(address) as url:
            nodes = live_nodes()
            yield Check("cluster", f"{address}, {len(nodes)} nodes")
            yield from _dashboard(url)
            yield from _nodes(nodes)
            yield from _storage(storage_at(storage), nodes)
    except UserError as error:
        problem, _, remedy = str(error).rpartition(": ")
        yield Check("cluster", problem, remedy)


def _dashboard(url: str) -> Iterator[Check]:
    mode = authentication_mode(url)
    silent = Check("dashboard", "does not answer", 'install "ray[default]" on the head, and start it again')
    yield silent if mode is None else Check("dashboard", f"http://{url}")
    unasked = Check("token asked for", "not seen", "start the cluster with RAY_AUTH_MODE=token")
    yield Check("token asked for", "yes") if mode == "token" else unasked


def _nodes(nodes: list[Node]) -> Iterator[Check]:
    tasks = {on_node(node, machine_facts): node for node in nodes}
    answered, _ = ray.wait(list(tasks), num_returns=len(tasks), timeout=PROBE_SECONDS)
    for task, node in tasks.items():
        name = f"node {node.address} ({node.id[:8]})"
        try:
            if task not in answered:
                raise TimeoutError(f"does not answer in {PROBE_SECONDS:g} s")
            yield _node(name, node, ray.get(task))
        except (ray.exceptions.RayError, TimeoutError) as error:
            yield Check(name, str(error).strip().splitlines()[0], "see Ray's logs there, or take the node out")


def _node(name: str, node: Node, facts: dict[str, Any]) -> Check:
    here = {package: version_of(package) for package in PACKAGES}
    other = [f"{package} {version or 'missing'}, here {here[package]}"
             for package, version in facts["packages"].items() if version != here[package]]
    free = [f"{node.free.get(kind, 0):g} of {node.total.get(kind, 0):g} {kind}s free" for kind in ("CPU", "GPU")]
    words = [f"Python {facts['python']}", *free, f"{facts['cores']} cores", f"{facts['memory_gib']:.0f} GiB"]
    if facts["gpus"]:
        words.append(gpu_names(facts["gpus"]))
    remedy = f"install the same versions there ({'; '.join(other)})" if other else None
    return Check(name, ", ".join(words), remedy)


def _storage(storage: Storage, nodes: list[Node]) -> Iterator[Check]:
    try:
        problems = storage_problems(storage, nodes)
    except UserError as error:
        yield Check("storage on every node", str(error), "choose another --storage")
        return
    for node, problem in problems.items():
        yield Check(f"storage on {node}", problem, "let every node reach the same shared folder or bucket")
    if not problems:
        yield Check("storage on every node", f"{shown(storage.path)} is read and written by all {len(nodes)}")
