"""Put on PYTHONPATH, this is imported by every Python process of a run: it logs epochs and makes things go wrong.

The environment's CHAOS holds a JSON object with any of
  log      a file to which each epoch's start and save is appended, as "start LABEL EPOCH" or "saved KEY EPOCH"
  slow     seconds that each epoch takes at least
  faults   what befalls the trainings of a label: raise, memory, hog, nan, die, hang; with "-once": only once
  hog      bytes that a hog takes at most
  tune     arguments of Ray's TuneConfig to override
  reverse  whether trainings are handed out in reverse order
  figures  false: none is drawn, which takes longer than all these small trainings
  dashboard  false: Ray starts none, which takes a fifth of a small run
  patience seconds that an object store is asked in vain
  stale    seconds after which the lease of a bucket's study may be taken over, instead of a minute
"""

from __future__ import annotations

import dataclasses
import importlib.abc
import importlib.machinery
import importlib.util
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

CHAOS: dict[str, Any] = json.loads(os.environ.get("CHAOS", "{}"))


def log(*words: object) -> None:
    if "log" in CHAOS:
        descriptor = os.open(CHAOS["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, (" ".join(map(str, words)) + "\n").encode())
        os.close(descriptor)


def befalls(label: str) -> str:
    """What is to befall this epoch of the training, "" for nothing."""
    kind = str(CHAOS.get("faults", {}).get(label, ""))
    if kind.endswith("-once"):
        try:
            os.close(os.open(f"{CHAOS['log']}.{label}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return ""
    return kind.removesuffix("-once")


def hog() -> None:
    """Take memory until Ray kills this process, but no more than `hog`."""
    taken: list[bytearray] = []
    while len(taken) * 2**26 < CHAOS["hog"]:
        taken.append(bytearray(os.urandom(2**20)) * 64)
        time.sleep(0.03)
    time.sleep(60)
    raise RuntimeError("Ray did not mind the memory taken")


def act(kind: str) -> None:
    if kind == "raise":
        raise RuntimeError("this training [always] fails")
    if kind == "memory":
        raise MemoryError
    if kind == "hog":
        hog()
    if kind == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "hang":
        time.sleep(600)


def scoring() -> bool:
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_name == "score_training":
            return True
    return False


def disturbed(labels: Sequence[str], epoch: int, run: Callable[[], Sequence[Any]]) -> list[Any]:
    """Run an epoch of the trainings of these labels, with what is to befall them; their metrics."""
    began = time.monotonic()
    for label in labels:
        log("start", label, epoch)
    kinds = [befalls(label) for label in labels]
    for kind in kinds:
        act(kind)
    metrics = run()
    time.sleep(max(0.0, began + len(labels) * CHAOS.get("slow", 0.0) - time.monotonic()))
    return [
        dataclasses.replace(own, train_loss=math.nan) if kind == "nan" else own
        for own, kind in zip(metrics, kinds, strict=True)
    ]


def patch_training(module: ModuleType) -> None:
    make, run_epoch = module.Training.__init__, module.Training.run_epoch
    make_pack, run_pack_epoch = module.PackTraining.__init__, module.PackTraining.run_epoch

    def init(self: Any, config: Any, *args: Any, **kwargs: Any) -> None:
        make(self, config, *args, **kwargs)
        self.label = config.label

    def run(self: Any) -> Any:
        if scoring():
            return run_epoch(self)
        return disturbed([self.label], self.epoch + 1, lambda: [run_epoch(self)])[0]

    def init_pack(self: Any, configs: Any, *args: Any, **kwargs: Any) -> None:
        make_pack(self, configs, *args, **kwargs)
        self.labels = [config.label for config in configs]

    def run_pack(self: Any, epoch: int, members: Sequence[int]) -> Any:
        return disturbed([self.labels[k] for k in members], epoch, lambda: run_pack_epoch(self, epoch, members))

    module.Training.__init__, module.Training.run_epoch = init, run  # type: ignore[attr-defined]
    module.PackTraining.__init__, module.PackTraining.run_epoch = init_pack, run_pack  # type: ignore[attr-defined]


def patch_store(module: ModuleType) -> None:
    save = module.TrainingFolder.save

    def saved(self: Any, progress: Any, *keep: Any, **more: Any) -> bool:
        kept: bool = save(self, progress, *keep, **more)
        if kept:
            log("saved", self.key, progress.state_epoch)
        return kept

    module.TrainingFolder.save = saved  # type: ignore[attr-defined]


def patch_runner(module: ModuleType) -> None:
    order, make = module.cost_order, module.tune.TuneConfig
    if CHAOS.get("reverse"):
        module.cost_order = lambda plan: tuple(-part for part in order(plan))  # type: ignore[attr-defined]
    module.tune.TuneConfig = lambda **kwargs: make(**{**kwargs, **CHAOS.get("tune", {})})


def patch_session(module: ModuleType) -> None:
    start = module._init
    if not CHAOS.get("dashboard", True):
        module._init = lambda **options: start(**{**options, "include_dashboard": False})  # type: ignore[attr-defined]


def patch_publish(module: ModuleType) -> None:
    if not CHAOS.get("figures", True):
        module.cell_figures = lambda tables: {}  # type: ignore[attr-defined]
        module._further_figures = lambda *args: iter(())  # type: ignore[attr-defined]


def patch_objects(module: ModuleType) -> None:
    if "patience" in CHAOS:
        module.Bucket.__init__.__defaults__ = (CHAOS["patience"],)


def patch_lease(module: ModuleType) -> None:
    if "stale" in CHAOS:
        seconds = CHAOS["stale"]
        patched: Any = module
        patched.STALE_SECONDS, patched.SURE_SECONDS, patched.BEAT_SECONDS = seconds, 0.75 * seconds, seconds / 3


PATCHES = {
    "tune_mnist.study.storage.bucket.objects": patch_objects, "tune_mnist.study.storage.bucket.lease": patch_lease,
    "tune_mnist.training.loop": patch_training, "tune_mnist.study.training_folder": patch_store,
    "tune_mnist.running.runner": patch_runner, "tune_mnist.running.session": patch_session,
    "tune_mnist.reporting.publish": patch_publish,
}


class Patcher(importlib.abc.MetaPathFinder):
    """Patches modules when they have been imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in PATCHES:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            sys.meta_path.insert(0, self)
        assert spec is not None and spec.loader is not None
        loader, patch = spec.loader, PATCHES[fullname]
        execute = loader.exec_module

        def execute_and_patch(module: ModuleType) -> None:
            execute(module)
            patch(module)

        loader.exec_module = execute_and_patch  # type: ignore[method-assign]
        return spec


if CHAOS:
    sys.meta_path.insert(0, Patcher())
