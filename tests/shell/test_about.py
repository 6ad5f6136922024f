"""Tests of what is recorded of a machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from tune_mnist.shell.about import about_run, cuda, gpus


def test_gpus_are_recorded_by_name_and_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = "NVIDIA H100 80GB HBM3, 580.159.04\nNVIDIA A100-SXM4-40GB, 580.159.04\n"
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\nprintf '{told}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    names = ("NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-40GB")
    assert gpus() == [{"name": name, "driver": "580.159.04"} for name in names] == about_run()["machine"]["gpus"]


@pytest.mark.parametrize("script", ["exit 9", "echo", None])
def test_without_one_there_are_none(script: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if script is not None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus() == []


def test_torchs_cuda_is_read_from_its_files() -> None:
    assert cuda() == torch.version.cuda
