"""Whether a share of a GPU that is too small is told, and given back."""

from __future__ import annotations

import torch

from tune_mnist.running.gpu import gpu_share, is_out_of_memory
from tune_mnist.running.gpu_check.scale import Finding, Scale, configs_of, part_of, run_trial_of
from tune_mnist.running.trial_data import TrialData
from tune_mnist.spec.training import PlannedTraining
from tune_mnist.training.dataset import TrainingData
from tune_mnist.training.steps.pack import SLOTS

TINY_SHARE_GIB = 0.2


def memory(scale: Scale, data: TrainingData) -> Finding:
    """A share that is too small: is it told, is it given back without a collection, and is the next trial fine?"""
    if scale.device == "cpu":
        return Finding("memory", None, "no GPU")
    train = part_of(data, 2000, scale.device)
    few = TrialData(train, train)
    run_trial_of([PlannedTraining(c, (1,)) for c in configs_of("SimpleNN", 128)], few, scale.device)
    before = torch.cuda.memory_allocated()
    share = TINY_SHARE_GIB * 2**30 / torch.cuda.get_device_properties(0).total_memory
    told = False
    try:
        with gpu_share(share, scale.device):
            run_trial_of([PlannedTraining(c, (1,)) for c in configs_of("CNN", 128)], few, scale.device)
    except Exception as error:
        told = is_out_of_memory(error)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    kept = torch.cuda.memory_allocated() - before
    rows = run_trial_of([PlannedTraining(c, (1,)) for c in configs_of("SimpleNN", 128)], few, scale.device)
    right = told and kept < 2**25 and len(rows) == SLOTS  # new streams may keep workspaces of cuBLAS
    figures = {"told": told, "kept_mib": kept / 2**20, "next_rows": len(rows)}
    telling = f"a share of {TINY_SHARE_GIB} GiB is {'' if told else 'not '}told to be too small"
    return Finding("memory", right, f"{telling}; {kept / 2**20:.1f} MiB of it kept", figures)
