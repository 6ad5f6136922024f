"""A trained model's score on the test set."""

from __future__ import annotations

import dataclasses

from tune_mnist.running.gpu import gpu_share
from tune_mnist.running.trial import resumed
from tune_mnist.running.trial_data import TrialData
from tune_mnist.spec.training import Context, TrainingConfig, training_key
from tune_mnist.study.study import Study
from tune_mnist.training.batches import Pictures
from tune_mnist.training.loop import fit
from tune_mnist.training.metrics import evaluate
from tune_mnist.training.packing import pack_bytes


def score_training(
    config: TrainingConfig, epoch: int, data: TrialData, test: Pictures, context: Context, study: Study
) -> None:
    """Score a training's model after `epoch` on the test set and keep the score in its folder.

    The model comes from the training's newest saved state that is not of a later epoch, trained on if need
    be. Besides the metrics, the score has for each picture the predicted class and 255 times its
    probability, each packed by `pack_bytes`.
    """
    folder = study.training(training_key(config, context))
    with gpu_share(1.0, context.device):
        training, _ = resumed(config, data, context, folder, until=epoch)
        for _ in fit(training, epoch):
            pass
        outputs = training.steps.outputs(test)
        del training
    confidence, predicted = (outputs if config.head == "softmax" else outputs.softmax(1)).max(1)
    score = dataclasses.asdict(evaluate(outputs, test.labels))
    score |= {"predicted": pack_bytes(predicted.numpy()), "confidence": pack_bytes((confidence * 255).round().numpy())}
    folder.save_score(epoch, {f"test_{name}": value for name, value in score.items()})
