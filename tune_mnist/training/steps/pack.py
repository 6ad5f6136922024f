"""The step of a pack: several trainings of one model at once, on a GPU replayed as one CUDA graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector

from tune_mnist.spec.training import TrainingConfig
from tune_mnist.training.batches import Pictures, affine_maps, as_tensor, epoch_order, generator, normalise, transform
from tune_mnist.training.models import FullyConnected, build_model
from tune_mnist.training.steps.base import BETA1, BETA2, EPS, Pack, Steps, learning_rate
from tune_mnist.training.steps.dropout import GivenDropout, dropout_calls, dropouts
from tune_mnist.training.steps.exact import exact_arithmetic
from tune_mnist.training.steps.graphs import captured, capturing, in_time, own_stream, pinned_copy, runs_of

# Members of a pack in use on a device. Another number sums in another order, so a change must raise ENGINE_VERSION.
SLOTS = 4
EVALUATION_BATCH = 500
EVALUATION_BATCH_OF_GPU = 5000  # of fully connected models: calling a few small kernels takes longer than their work
WARM_UPS = 3  # steps before a capture, in which the libraries pick kernels and workspaces
STEPS_OF_GRAPH = 8  # so many launches less, each of which takes the host and the device some microseconds
PIECE = 4096  # numbers of a row that CUDA's fused AdamW gets at once: it gives up to 65,536 of one tensor to one block
ALIGNMENT = 32  # elements; every member's row starts on a boundary that the vectorised kernels like


def common_part(config: TrainingConfig) -> TrainingConfig:
    """What all members of a pack have in common: the config but for its lr and seed."""
    return dataclasses.replace(config, lr=1.0, seed=0)


class PackSteps(Pack):
    """K trainings of one model, batch size and recipe, with lr and seed of their own, in one step.

    A member's weights are one row of (K, numbers). Its order, augmentation and learning rate are those
    it would have alone, its dropout masks depend on its seed and the epoch only, and no operation mixes
    rows: so its numbers are `AutogradSteps`'s but for rounding (and for other dropout masks where those
    of torch depend on device and layout), a state of it goes on in any pack of as many members bit for
    bit, and a loss that is not finite stays its own.

    No step waits for the device. On CUDA a pack works on a stream of its own, beside other packs; its steps are
    captured once, before the first epoch, and replayed; then lr is rounded to float32. Not thread-safe.

    Raises:
        ValueError: the configs differ in more than lr and seed.
    """

    def __init__(
        self, configs: Sequence[TrainingConfig], train: Pictures, device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if len({common_part(config) for config in configs}) != 1:
            raise ValueError(f"a pack's configs differ in lr and seed only, but got {[c.label for c in configs]}")
        self.configs, self.config = tuple(configs), configs[0]
        self.device, self.dtype = torch.device(device), dtype
        self.classes = train.classes
        self.stream = own_stream(self.device, self) if self.device.type == "cuda" else None
        self.graphs: dict[tuple[int, int], torch.cuda.CUDAGraph] = {}
        self.kept: tuple[Pictures, Tensor] | None = None
        with self._on_stream():
            self._make_model()
            self._make_members()
            self._make_data(train)

    def _on_stream(self) -> AbstractContextManager[Any]:
        """Let the block's work for the device be done in the order of the pack's own."""
        return nullcontext() if self.stream is None else torch.cuda.stream(self.stream)

    def _make_model(self) -> None:
        model, self.dropout = build_model(self.config, self.classes).to("meta"), GivenDropout()
        self.shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
        self.mask_shapes = dropout_calls(model) if self.config.dropout else []
        for name in dropouts(model):
            model.set_submodule(name, self.dropout)
        small = self.device.type == "cuda" and isinstance(model, FullyConnected)
        self.evaluation_batch = EVALUATION_BATCH_OF_GPU if small else EVALUATION_BATCH
        self.model = model

    def _make_members(self) -> None:
        models = [build_model(config, self.classes) for config in self.configs]
        rows = torch.stack([parameters_to_vector(model.parameters()).detach() for model in models])
        self.padding = -rows.shape[1] % ALIGNMENT
        self.weights = F.pad(rows, (0, self.padding)).to(self.device, self.dtype)
        self.means, self.squares = torch.zeros_like(self.weights), torch.zeros_like(self.weights)  # Adam's moments
        self.piece = PIECE if self.device.type == "cuda" else rows.shape[1] + self.padding
        self.counts = torch.zeros(len(rows), device=self.device)
        self.average = self.weights.clone() if self.config.ema_decay else None

    def _make_data(self, train: Pictures) -> None:
        """Put on the device all that the steps read, in buffers that stay where they are."""
        n, size, device = len(train), self.config.batch_size, self.device
        self.seeds = list(dict.fromkeys(config.seed for config in self.configs))
        self.seed_of = torch.tensor([self.seeds.index(config.seed) for config in self.configs], device=device)
        self.generators = {seed: torch.Generator(device) for seed in self.seeds if self.config.dropout}
        smoothing, labels = self.config.label_smoothing, as_tensor(train.labels).to(device)
        self.pixels = as_tensor(train.pixels).to(device)
        self.targets = F.one_hot(labels, self.classes).to(self.dtype) * (1 - smoothing) + smoothing / self.classes
        self.order = torch.zeros(len(self.seeds), n, dtype=torch.int64, device=device)
        self.maps = torch.zeros(len(self.seeds), n, 2, 3, device=device) if self.config.augments else None
        self.steps_per_epoch = -(-n // size)
        self.runs = runs_of(n, size, STEPS_OF_GRAPH if device.type == "cuda" else 1)
        # CUDA's fused AdamW reads its lr as float32, the CPU's as a double.
        lr_dtype = torch.float32 if device.type == "cuda" else torch.float64
        self.rates = torch.zeros(self.steps_per_epoch, len(self.configs), dtype=lr_dtype, device=device)
        self.total = torch.zeros(len(self.configs), dtype=torch.float64, device=device)
        self.step = torch.zeros(1, dtype=torch.int64, device=device)  # within the epoch
        self.columns = torch.arange(size, device=device)

    @torch.no_grad()
    def train_epoch(self, epoch: int, members: Sequence[int] | None = None) -> list[float]:
        """As `Pack.train_epoch`, by default of all; all run along in any case."""
        with exact_arithmetic(), self._on_stream():
            self._capture()
            self._begin(epoch)
            for batch, steps in in_time(self.runs, self.stream):
                if self.graphs:
                    self.graphs[batch, steps].replay()
                    continue
                for _ in range(steps):
                    self._advance(batch)
            losses: list[float] = (self.total / len(self.pixels)).tolist()
        return losses if members is None else [losses[k] for k in members]

    def _begin(self, epoch: int) -> None:
        """Write the epoch's order, augmentation, learning rates and dropout seeds to the device."""
        n, steps = len(self.pixels), self.steps_per_epoch
        self.order.copy_(torch.stack([epoch_order(n, seed, epoch) for seed in self.seeds]))
        if self.maps is not None:
            self.maps.copy_(torch.stack([affine_maps(n, self.config, seed, epoch) for seed in self.seeds]))
        for seed, of_seed in self.generators.items():
            of_seed.manual_seed(generator(seed, epoch, "dropout").initial_seed())
        numbers = range((epoch - 1) * steps, epoch * steps)
        self.rates.copy_(self._rates(numbers))
        self.step.zero_()
        self.total.zero_()

    def _rates(self, numbers: range) -> Tensor:
        """The learning rates of optimisation steps (from 0)."""
        steps = self.steps_per_epoch
        rates = [[learning_rate(config, number, steps) for config in self.configs] for number in numbers]
        return torch.tensor(rates, dtype=torch.float64)

    def _advance(self, batch: int) -> None:
        """One step of every member on its next `batch` pictures. Captured: no host value may depend on a device one."""
        columns = self.step * self.config.batch_size + self.columns[:batch]
        order = self.order.index_select(1, columns)  # (seeds, batch)
        pictures = normalise(self.pixels[order], self.dtype)  # (seeds, batch, 784)
        if self.maps is not None:
            maps = self.maps.index_select(1, columns)
            pictures = transform(pictures.flatten(0, 1), maps.flatten(0, 1)).view_as(pictures)
        masks = self._masks(batch)
        inputs = [shared[self.seed_of] for shared in (pictures, self.targets[order], *masks)]
        gradients, losses = vmap(grad_and_value(self._loss))(self.weights, *inputs)
        self._update(gradients)
        self.total.add_(losses, alpha=batch)
        self.step.add_(1)

    def _masks(self, batch: int) -> list[Tensor]:
        """One dropout mask (seeds, batch, …) per call of dropout, each seed's from its own generator."""
        return [
            torch.stack([
                torch.empty(batch, *shape, dtype=self.dtype, device=self.device).bernoulli_(kept, generator=of_seed)
                for of_seed in self.generators.values()
            ]).div_(kept)
            for shape, kept in self.mask_shapes
        ]

    def _loss(self, weights: Tensor, pictures: Tensor, targets: Tensor, *masks: Tensor) -> Tensor:
        """One member's mean cross entropy, of weights (numbers,), pictures (batch, 784), targets (batch, classes)."""
        return F.cross_entropy(self._outputs(weights, pictures, *masks), targets)

    def _outputs(self, weights: Tensor, pictures: Tensor, *masks: Tensor) -> Tensor:
        """One member's outputs (batch, classes); without masks there is no dropout."""
        self.dropout.masks = iter(masks)
        parts = weights.split([*(shape.numel() for shape in self.shapes.values()), self.padding])
        named = {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=False)}
        bf16 = self.config.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16, cache_enabled=False):
            return functional_call(self.model, named, (pictures,)).to(self.dtype)

    def _update(self, gradients: Tensor) -> None:
        self.counts.add_(1)
        rates = self.rates.index_select(0, self.step)[0]
        rows = (self.weights, gradients, self.means, self.squares)
        for k, count in enumerate(self.counts.unbind()):
            weights, gradient, means, squares = (list(numbers[k].split(self.piece)) for numbers in rows)
            torch._fused_adamw_(
                weights, gradient, means, squares, [], [count] * len(weights), lr=rates[k], beta1=BETA1, beta2=BETA2,
                weight_decay=self.config.weight_decay, eps=EPS, amsgrad=False, maximize=False,
            )
        if self.average is not None:
            self.average.lerp_(self.weights, 1 - self.config.ema_decay)

    def _capture(self) -> None:
        """On CUDA capture the epoch's steps, unless that is done; the members stay as they are."""
        if self.stream is None or self.graphs:
            return
        before = [(tensor, tensor.clone()) for tensor in self._rows().values()]
        graphs = {}
        with capturing():
            for batch, steps in dict.fromkeys(self.runs):
                for _ in range(WARM_UPS):
                    self.step.zero_()
                    self._advance(batch)
                graphs[batch, steps] = captured(partial(self._advance, batch), steps, self.generators.values())
        for tensor, kept in before:
            tensor.copy_(kept)
        self.graphs = graphs

    @torch.no_grad()
    def outputs(self, pictures: Pictures, members: Sequence[int] | None = None) -> Tensor:
        """As `Pack.outputs`, by default of all."""
        all_outputs = vmap(self._outputs, in_dims=(0, None))
        with exact_arithmetic(), self._on_stream():
            batches = self._on_device(pictures).split(self.evaluation_batch)
            parts = [all_outputs(self._evaluated(), normalise(batch, self.dtype)).float() for batch in batches]
            whole = torch.cat(parts, dim=1).cpu()
        return whole if members is None else whole[list(members)]

    def _on_device(self, pictures: Pictures) -> Tensor:
        """Their pixels (n, 784), which stay on the device until it is asked for others."""
        if self.kept is None or self.kept[0] is not pictures:
            self.kept = pictures, as_tensor(pictures.pixels).to(self.device)
        return self.kept[1]

    def _evaluated(self) -> Tensor:
        return self.weights if self.average is None else self.average

    def _rows(self) -> dict[str, Tensor]:
        average = {} if self.average is None else {"average": self.average}
        return {
            "weights": self.weights, "means": self.means, "squares": self.squares, "counts": self.counts, **average
        }

    def state(self, k: int) -> dict[str, Tensor]:
        """Member k's weights and optimiser state: copies on the CPU, the same in whatever pack it is."""
        return self.snapshot(k)()

    def snapshot(self, k: int) -> Callable[[], dict[str, Tensor]]:
        """Member k's `state()` as it is now: a function for any thread, to be called while training goes on."""
        if self.stream is None:
            state = {name: rows[k].clone() for name, rows in self._rows().items()}
            return lambda: state
        with self._on_stream():
            copies = {name: pinned_copy(rows[k]) for name, rows in self._rows().items()}
            copied = self.stream.record_event()

        def once_copied() -> dict[str, Tensor]:
            copied.synchronize()
            return copies

        return once_copied

    def load(self, k: int, state: dict[str, Any]) -> None:
        """Let member k go on from a `state()` of the same config in any pack."""
        with self._on_stream():
            for name, rows in self._rows().items():
                rows[k].copy_(state[name])

    @torch.no_grad()
    def module(self, k: int) -> nn.Module:
        """A module with member k's evaluated weights: float32, on the CPU, in eval mode."""
        model = build_model(self.configs[k], self.classes)
        sizes = [shape.numel() for shape in self.shapes.values()]
        with self._on_stream():
            parts = self._evaluated()[k].cpu().split([*sizes, self.padding])
        for parameter, part in zip(model.parameters(), parts, strict=False):
            parameter.copy_(part.view_as(parameter))
        return model.eval()


class PackOfOne(Steps):
    """One training in a pack otherwise filled with copies of it, so that its bits are those of any pack in use."""

    def __init__(
        self, config: TrainingConfig, train: Pictures, device: str = "cpu",
        make: Callable[[Sequence[TrainingConfig], Pictures, str], PackSteps] = PackSteps,
    ) -> None:
        self.pack = make([config] * SLOTS, train, device)

    def train_epoch(self, epoch: int) -> float:
        return self.pack.train_epoch(epoch)[0]

    def outputs(self, pictures: Pictures) -> Tensor:
        return self.pack.outputs(pictures)[0]

    def state(self) -> dict[str, Any]:
        return self.pack.state(0)

    def load(self, state: dict[str, Any]) -> None:
        self.pack.load(0, state)

    def module(self) -> nn.Module:
        return self.pack.module(0)
