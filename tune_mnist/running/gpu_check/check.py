"""All checks of a GPU, one after the other in at most eight minutes, and the verdict."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from tune_mnist.running.gpu_check.bits import bits
from tune_mnist.running.gpu_check.memory import memory
from tune_mnist.running.gpu_check.near import near
from tune_mnist.running.gpu_check.scale import Finding, Scale
from tune_mnist.running.gpu_check.speed import Numbers, job, job_with_ray, steps
from tune_mnist.shell.about import gpus
from tune_mnist.training.dataset import TrainingData, load_dataset, training_data


def check_gpu(scale: Scale, data: TrainingData | None = None) -> Iterator[Finding]:
    """The sections' findings, one after the other; what there is no time left for is not looked at."""
    start = time.perf_counter()
    data = data or training_data(load_dataset(), "holdout")
    torch.set_num_threads(1)
    yield _machine(scale)
    numbers: Numbers = {}
    sections: tuple[tuple[str, float, Callable[[], Finding]], ...] = (
        ("bits", 40, lambda: bits(scale, data)),
        ("memory", 20, lambda: memory(scale, data)),
        ("near the CPU", 30, lambda: near(scale, data)),
        ("steps", 30, lambda: steps(scale, data)),
        ("job without Ray", 60, lambda: job(scale, data, numbers)),
        ("job with Ray", 90, lambda: job_with_ray(scale, numbers, scale.seconds - (time.perf_counter() - start))),
    )
    for name, needed, section in sections:
        if scale.seconds - (time.perf_counter() - start) < needed:
            yield Finding(name, None, f"no time left: it may take {needed:g} s")
            continue
        begun = time.perf_counter()
        try:
            found = section()
        except Exception as error:
            found = Finding(name, False, f"{type(error).__name__}: {error}".partition("\n")[0])
        yield dataclasses.replace(found, figures=found.figures | {"seconds": round(time.perf_counter() - begun, 2)})


def print_findings(findings: Iterator[Finding], *, as_json: bool = False) -> bool:
    """Print each finding as it comes and a verdict, or one JSON object; returns whether nothing is wrong."""
    from rich.console import Console
    from rich.markup import escape

    console, seen = Console(width=None if sys.stdout.isatty() else 200), []
    for found in findings:
        seen.append(found)
        if not as_json:
            mark = {True: "[green]ok[/]", False: "[red]no[/]", None: "[yellow]--[/]"}[found.right]
            console.print(f"{mark}  {found.name:16} {escape(found.told)}", highlight=False)
    wrong = [found.name for found in seen if found.right is False]
    left_out = [found.name for found in seen if found.right is None]
    but_for = f", but for {', '.join(left_out)}, which were not looked at" if left_out else ""
    verdict = f"not right: {', '.join(wrong)}" if wrong else f"right{but_for}"
    if as_json:
        findings_as_json = [dataclasses.asdict(found) for found in seen]
        print(json.dumps({"right": not wrong, "verdict": verdict, "findings": findings_as_json}))
    else:
        console.print(f"The GPU path is {verdict}.", style="bold", highlight=False)
    return not wrong


def _machine(scale: Scale) -> Finding:
    figures: dict[str, Any] = {"torch": torch.__version__, "cuda": torch.version.cuda, "cpus": os.cpu_count()}
    if scale.device == "cpu":
        return Finding("machine", None, "a rehearsal on the CPU", figures)
    properties, told = torch.cuda.get_device_properties(0), gpus()
    figures |= {"gpu": properties.name, "gib": round(properties.total_memory / 2**30, 1), "gpus": told}
    driver = next((gpu["driver"] for gpu in told), "unknown")
    versions = f"driver {driver}, CUDA {torch.version.cuda}, torch {torch.__version__}"
    return Finding("machine", True, f"{properties.name}, {figures['gib']} GiB, {versions}", figures)
