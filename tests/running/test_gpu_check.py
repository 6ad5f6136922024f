"""A rehearsal of the GPU's checks on the CPU, and what they say where something is wrong."""

from __future__ import annotations

import dataclasses
import json

import pytest

from tune_mnist.running.gpu_check import bits
from tune_mnist.running.gpu_check.check import check_gpu, print_findings
from tune_mnist.running.gpu_check.scale import Finding, Scale
from tune_mnist.training.dataset import load_dataset, training_data
from tune_mnist.training.steps.pack import PackSteps

SMALL = Scale(
    device="cpu", pictures=64, few_pictures=40, epochs=1, cases=1, models=("SimpleNN",), batch_size=(64,), ray=False
)


def findings(scale: Scale = SMALL) -> list[Finding]:
    data = training_data(load_dataset(), "holdout")
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
    data = training_data(load_dataset(), "holdout")
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
