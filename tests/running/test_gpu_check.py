"""A rehearsal of the GPU's checks on the CPU, and what they say where something is wrong."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from support.slices import mnist
from tune_mnist.running.gpu_check import bits, speed
from tune_mnist.running.gpu_check.check import check_gpu, print_findings
from tune_mnist.running.gpu_check.scale import Finding, Scale
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import Context, training_key
from tune_mnist.study.layout import training_path
from tune_mnist.study.training_folder import TrainingFolder
from tune_mnist.training.dataset import training_data
from tune_mnist.training.steps.pack import PackSteps

SMALL = Scale(
    device="cpu", pictures=64, few_pictures=40, epochs=1, cases=1, models=("SimpleNN",), batch_size=(64,), ray=False
)


def findings(scale: Scale = SMALL) -> list[Finding]:
    data = training_data(mnist(), "holdout")
    few = dataclasses.replace(data, eval_images=data.eval_images[:100], eval_labels=data.eval_labels[:100])
    return list(check_gpu(scale, few))


def test_a_rehearsal_finds_nothing_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    found = findings()
    assert {one.name: one.right for one in found} == {
        "machine": None, "bits": True, "memory": None, "near the CPU": True, "steps": True, "job without Ray": True,
        "job with Ray": None,
    }
    assert print_findings(iter(found))
    assert capsys.readouterr().out.endswith(
        "The GPU path is right, but for machine, memory, job with Ray, which were not looked at.\n"
    )
    assert print_findings(iter(found), as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["right"] and [one["name"] for one in told["findings"]] == [one.name for one in found]
    assert told["findings"][4]["figures"]["step_us"]["SimpleNN 64"] > 0


def test_the_job_with_ray_is_held_against_the_one_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The grid's command is played by one that stores the same numbers but for one."""
    context = Context(protocol="holdout", data_sha256="0" * 64)
    plans = StudySpec(models=("SimpleNN",), batch_size=(64,), epochs=(1,)).trainings()
    numbers = {f"{plan.config.label} 1": (1.0 / (1 + k), 0.5) for k, plan in enumerate(plans)}

    def grid(words: list[str], **options: Any) -> Any:
        trainings = Path(words[words.index("--storage") + 1]) / words[words.index("--name") + 1] / "trainings"
        trainings.mkdir(parents=True)
        for k, plan in enumerate(plans):
            folder = TrainingFolder(training_path(trainings, training_key(plan.config, context)))
            progress = folder.begin(plan.config, context)
            progress.rows = [{"epoch": 1, "train_loss": 1.0 / (1 + k), "val_accuracy": 0.5 if k else 0.25}]
            folder.save(progress)
        return SimpleNamespace(returncode=0, stdout="", stderr="")

    monkeypatch.setattr(subprocess, "run", grid)
    found = speed.job_with_ray(dataclasses.replace(SMALL, ray=True), numbers, 100)
    assert found.right is False and found.told.endswith("1 of 4 epochs differ")
    numbers[f"{plans[0].config.label} 1"] = (1.0, 0.25)
    assert speed.job_with_ray(dataclasses.replace(SMALL, ray=True), numbers, 100).right


def test_bits_that_depend_on_the_pack_are_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pack whose members take part in each other's steps."""
    train_epoch = PackSteps.train_epoch

    def mixing(self: PackSteps, epoch: int) -> list[float]:
        losses = train_epoch(self, epoch)
        self.weights += 1e-6 * self.weights[:1]
        return losses

    monkeypatch.setattr(PackSteps, "train_epoch", mixing)
    data = training_data(mnist(), "holdout")
    found = bits.bits(SMALL, data)
    assert found.right is False and found.figures["wrong"] == ["SimpleNN 16 alone", "SimpleNN 16 resumed"]
    assert not print_findings(iter([found]))
    assert capsys.readouterr().out.endswith("The GPU path is not right: bits.\n")


def test_what_fails_is_wrong_and_what_there_is_no_time_for_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: PackSteps, epoch: int) -> list[float]:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(PackSteps, "train_epoch", broken)
    found = {one.name: one for one in findings()}
    assert found["bits"].right is False and "illegal memory access" in found["bits"].told
    assert [one.right for one in findings(dataclasses.replace(SMALL, seconds=0.0))] == [None] * 7
