"""Trains networks epoch by epoch, as a line on stdin asks, and answers with what an epoch took: steps.py's other half.

A line is a model, batch size and lr; the first of a kind begins a training, each later one goes on with it. The answer
is JSON: seconds of processor time; the share of hidden units that are 0 for every picture of a batch; and how many
multiplications a step has where these are left out. Which code is measured depends on PYTHONPATH.
"""

from __future__ import annotations

import itertools
import json
import sys
import time

import torch

from tune_mnist.spec.training import TrainingConfig
from tune_mnist.training.batches import make_pictures, normalise
from tune_mnist.training.dataset import load_dataset, training_data
from tune_mnist.training.models import build_model
from tune_mnist.training.steps.linear import LinearSteps, layers_of

LOOKED_AT = 4096  # pictures of the next epoch, a whole number of batches


def alive_work(steps: LinearSteps, epoch: int) -> tuple[float, float]:
    """The share of dead hidden units in the batches of an epoch, and the multiplications of a step without them."""
    batch = steps.config.batch_size
    pixels = torch.from_numpy(steps.train.pixels)[steps.order(epoch)[:LOOKED_AT]]
    values, alive = normalise(pixels), []  # of each hidden layer (batches,), how many units are alive
    *hidden, last = layers_of(steps.flat, steps.model.sizes)
    for layer in hidden:
        values = (values @ layer.weight + layer.bias).relu()
        alive.append((values.view(-1, batch, values.shape[1]) > 0).any(1).sum(1).double())
    lit = float((pixels > 0).sum()) * batch / len(pixels)  # of a batch
    multiplications = lit * (steps.model.sizes[1] + float(alive[0].mean()))
    widths = [*steps.model.sizes[2:-1], last.weight.shape[1]]
    outputs_alive = [*alive[1:], torch.full_like(alive[0], widths[-1])]
    for inputs, width, outputs in zip(alive, widths, outputs_alive, strict=True):
        multiplications += batch * float((inputs * width + 2 * inputs * outputs).mean())
    return 1 - sum(float(units.mean()) for units in alive) / sum(steps.model.sizes[1:-1]), multiplications


def main() -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    data = training_data(load_dataset(), "holdout")
    train = make_pictures(data.train_images, data.train_labels)
    asked, steps, epochs = "", None, itertools.count(1)
    for line in sys.stdin:
        if line != asked:
            model, batch_size, lr = line.split()
            config = TrainingConfig(model=model, lr=float(lr), batch_size=int(batch_size))  # type: ignore[arg-type]
            asked, epochs = line, itertools.count(1)
            few = make_pictures(data.train_images[:256], data.train_labels[:256])
            LinearSteps(config, build_model(config), few).train_epoch(1)  # type: ignore[arg-type] # compiles
            steps = LinearSteps(config, build_model(config), train)  # type: ignore[arg-type]
        assert steps is not None
        epoch = next(epochs)
        begun = time.thread_time()
        loss = steps.train_epoch(epoch)
        seconds = time.thread_time() - begun
        dead, multiplications = alive_work(steps, epoch + 1)
        answer = {"seconds": seconds, "loss": loss, "dead": dead, "multiplications": multiplications}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
