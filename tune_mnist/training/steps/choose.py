"""The fastest steps for what is to be trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch

from tune_mnist.spec.training import TrainingConfig
from tune_mnist.training.batches import Pictures
from tune_mnist.training.models import FullyConnected, build_model
from tune_mnist.training.steps.autograd import AutogradSteps
from tune_mnist.training.steps.base import CheckpointedSteps, Pack, Steps
from tune_mnist.training.steps.fused_pack import FusedPackSteps, can_fuse
from tune_mnist.training.steps.linear import LinearSteps
from tune_mnist.training.steps.lockstep import Lockstep, common_batches
from tune_mnist.training.steps.pack import SLOTS, PackOfOne, PackSteps
from tune_mnist.training.steps.ways import way_of


def make_steps(config: TrainingConfig, train: Pictures, device: str = "cpu") -> Steps:
    """The fastest steps for the config, as `way_of` says."""
    if way_of(config, torch.device(device).type, train.classes) == "packs":
        return PackOfOne(config, train, device, make_slots)
    return make_checkpointed(config, train, device)


def make_checkpointed(config: TrainingConfig, train: Pictures, device: str = "cpu") -> CheckpointedSteps:
    """The fastest steps for the config of which a state can be taken in the middle of an epoch."""
    model = build_model(config, train.classes)
    if way_of(config, torch.device(device).type, train.classes) == "compiled steps":
        return LinearSteps(config, cast(FullyConnected, model), train)
    return AutogradSteps(config, model, train, device)


def make_pack(configs: Sequence[TrainingConfig], train: Pictures, device: str = "cpu") -> Pack:
    """The fastest way to train configs together, which share batches or, at most `SLOTS` of them, a pack's slots.

    Raises:
        ValueError: the configs differ in more than lr and seed.
    """
    shared = {common_batches(config) for config in configs}
    is_compiled = way_of(configs[0], torch.device(device).type, train.classes) == "compiled steps"
    if is_compiled and len(shared) == 1 and None not in shared:
        return Lockstep(configs, train)
    # Filled up with copies, as the number of slots decides the bits.
    return make_slots([*configs, *[configs[-1]] * (SLOTS - len(configs))], train, device)


def make_slots(configs: Sequence[TrainingConfig], train: Pictures, device: str = "cpu") -> PackSteps:
    """The fastest steps in slots, as many as there are configs, which differ in lr and seed only."""
    return (FusedPackSteps if can_fuse(configs[0], device) else PackSteps)(configs, train, device)
