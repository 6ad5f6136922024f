"""The reference step: any model and optimiser, by autograd."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tune_mnist.spec.training import TrainingConfig
from tune_mnist.training.batches import Pictures, affine_maps, as_tensor, epoch_order, generator, normalise, transform
from tune_mnist.training.steps.base import CheckpointedSteps, learning_rate
from tune_mnist.training.steps.exact import exact_arithmetic
from tune_mnist.training.steps.optimisers import make_optimiser

EVALUATION_BATCH = 1000


class AutogradSteps(CheckpointedSteps):
    """Steps of any model on any device; convolutions run channels-last, in bf16 if the config says so.

    On CUDA too float32 is not TF32, and the default generator, from which dropout draws, stays as it was.
    """

    def __init__(
        self, config: TrainingConfig, model: nn.Module, train: Pictures, device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.config, self.device, self.dtype = config, torch.device(device), dtype
        self.model = model.to(self.device, dtype).to(memory_format=torch.channels_last)
        self.pixels, self.labels = as_tensor(train.pixels).to(self.device), as_tensor(train.labels).to(self.device)
        self.optimiser = make_optimiser(config, self.model.parameters())
        self.average = None
        if config.ema_decay:
            self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay))
            self.average.n_averaged.fill_(1)  # the initial weights, of which the first step would else not keep a trace

    def train_epoch(self, epoch: int, after_step: Callable[[int], None] | None = None) -> float:
        of_gpu = [self.device] if self.device.type == "cuda" else []
        with exact_arithmetic(), torch.random.fork_rng(of_gpu):
            return self._train_epoch(epoch, after_step)

    def _train_epoch(self, epoch: int, after_step: Callable[[int], None] | None) -> float:
        config, n = self.config, len(self.labels)
        order = epoch_order(n, config.seed, epoch).to(self.device)
        maps = affine_maps(n, config, config.seed, epoch).to(self.device) if config.augments else None
        self.model.train()
        batches = order.split(config.batch_size)
        losses = torch.empty(len(batches), dtype=self.dtype, device=self.device)
        begin = self._begin(generator(config.seed, epoch, "dropout").initial_seed(), losses)
        for i, batch in enumerate(batches[begin:], begin):
            pictures = normalise(self.pixels[batch], self.dtype)
            if maps is not None:
                pictures = transform(pictures, maps[i * config.batch_size :][: len(batch)])
            rate = learning_rate(config, (epoch - 1) * len(batches) + i, len(batches))
            losses[i] = self._step(pictures, self.labels[batch], rate)
            if after_step is not None:
                self._note(i + 1, losses[: i + 1])
                after_step(i + 1)
        self.middle = None
        sizes = torch.tensor([len(batch) for batch in batches], device=self.device)
        return float((losses * sizes).sum() / n)

    def _step(self, pictures: Tensor, labels: Tensor, rate: float) -> Tensor:
        self.optimiser.param_groups[0]["lr"] = rate
        self.optimiser.zero_grad()
        loss = self.loss(pictures, labels)
        loss.backward()
        if self.config.clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.optimiser.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        return loss.detach()

    def loss(self, pictures: Tensor, labels: Tensor) -> Tensor:
        """Mean cross entropy of normalised pictures (batch, 784) with labels int64 (batch,), with its graph."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            outputs = self.model(pictures)
        return F.cross_entropy(outputs.to(self.dtype), labels, label_smoothing=self.config.label_smoothing)

    @torch.no_grad()
    def outputs(self, pictures: Pictures) -> Tensor:
        model = (self.average or self.model).eval()
        bf16 = self.config.precision == "bf16"
        with exact_arithmetic(), torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            batches = as_tensor(pictures.pixels).split(EVALUATION_BATCH)
            return torch.cat([model(normalise(pixels.to(self.device), self.dtype)).float().cpu() for pixels in batches])

    def state(self) -> dict[str, Any]:
        average = {} if self.average is None else {"average": self.average.state_dict()}
        return {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict(), **average, **self._middle()}

    def load(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.middle = state.get("middle")

    def module(self) -> nn.Module:
        model = self.model if self.average is None else self.average.module
        return copy.deepcopy(model).to("cpu", torch.float32).eval()
