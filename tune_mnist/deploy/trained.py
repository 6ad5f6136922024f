"""A trained model's folder: model.pt (weights only), config.json and metrics.json, saved and loaded."""

from __future__ import annotations

import dataclasses
import io
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tune_mnist.shell.about import PACKAGE
from tune_mnist.spec.errors import UserError
from tune_mnist.spec.own.model import OwnModel
from tune_mnist.spec.toml import from_mapping
from tune_mnist.spec.training import TrainingConfig
from tune_mnist.study.files import Corrupt, digest, make_folder, read_json, write_atomic, write_json
from tune_mnist.study.own_models import read_model_of, require_known, save_model
from tune_mnist.training.batches import normalise
from tune_mnist.training.dataset import DIGITS
from tune_mnist.training.models import build_model

PRETRAINED = PACKAGE / "best"
"""The model that comes with the package."""

WEIGHTS, CONFIG, METRICS, SOURCE = "model.pt", "config.json", "metrics.json", "source"
MOST_BYTES = 2**26  # of weights once unpacked: twenty times the largest model
AT_ONCE = 512  # pictures through the network: bounds its memory
REMEDY = "name by --model a folder that retrain wrote, or retrain"


@dataclass(frozen=True)
class Trained:
    """A trained model, float32 on the CPU in eval mode, and the config it was trained by."""

    model: nn.Module
    config: TrainingConfig
    classes: tuple[str, ...] = DIGITS
    """What its classes are called."""

    def probabilities(self, pictures: np.ndarray) -> np.ndarray:
        """Class probabilities float32 (n, classes) of pictures uint8 (n, 28, 28), 0 background to 255 ink."""
        chunks = torch.from_numpy(np.ascontiguousarray(pictures)).flatten(1).split(AT_ONCE)
        with torch.inference_mode():
            outputs = torch.cat([self.model(normalise(chunk)) for chunk in chunks])
            return (outputs if self.config.head == "softmax" else outputs.softmax(1)).numpy()


def save_trained(
    folder: Path, weights: Mapping[str, Tensor], config: TrainingConfig, metrics: Mapping[str, Any],
    classes: tuple[str, ...] = DIGITS,
) -> None:
    """Write model.pt, metrics.json and, last, config.json into `folder`, which is made if it is not there.

    `weights` is the state dict of the config's model, on any device; `metrics` is plain JSON values.
    Each file is replaced whole; config.json holds model.pt's digest, so that a folder whose writer
    was killed between the two is noticed. A model of one's own has its source in the folder source/.

    Raises:
        UserError: the weights are not the model's or not finite; nothing is then written.
        WriteError: the folder or the disk refused.
    """
    kept = {name: tensor.detach().to("cpu", torch.float32).clone() for name, tensor in weights.items()}
    _check_weights(kept, build_model(config, len(classes)), config.model, "the weights to save")
    buffer = io.BytesIO()
    torch.save(kept, buffer)
    make_folder(folder, parents=True)
    write_atomic(folder / WEIGHTS, buffer.getvalue())
    write_json(folder / METRICS, dict(metrics))
    if config.source is not None:
        save_model(folder / SOURCE, config.source)
    named = {} if classes == DIGITS else {"classes": list(classes)}
    write_json(folder / CONFIG, {"config": config.content(), "weights": digest(buffer.getvalue()), **named})


def load_trained(folder: Path, *, trusted: bool = False) -> Trained:
    """Load what `save_trained` wrote. No code in the files is run, but that of a model of one's own.

    Raises:
        UserError: a file is missing, damaged, holds anything but tensors, or does not fit the others; or it is a model
            of one's own that this user had not run before, and it is not `trusted`.
    """
    about = _read(folder / CONFIG)
    right = isinstance(about, dict) and set(about) - {"classes"} == {"config", "weights"}
    if not right or not isinstance(about["config"], dict):
        raise UserError(f"{folder / CONFIG} is not a trained model's: {REMEDY}")
    config = from_mapping(TrainingConfig, about["config"], str(folder / CONFIG))
    classes = tuple(about.get("classes", DIGITS))
    if config.source is not None:
        config = dataclasses.replace(config, source=_own_model(folder, config.source, trusted))
    model = build_model(config, len(classes))
    weights = _read_weights(folder / WEIGHTS, about["weights"])
    _check_weights(weights, model, config.model, f"the weights in {folder / WEIGHTS}")
    model.load_state_dict(weights)
    return Trained(model.eval(), config, classes)


def load_metrics(folder: Path) -> dict[str, Any]:
    """The metrics that `save_trained` wrote; `UserError` if they are missing or damaged."""
    return _read(folder / METRICS)


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except OSError as error:
        raise UserError(f"no trained model: cannot read {path}: {error.strerror}: {REMEDY}") from None
    except Corrupt:
        raise UserError(f"{path} is damaged: it does not match its checksum: {REMEDY}") from None


def _own_model(folder: Path, source: str, trusted: bool) -> OwnModel:
    """The model of one's own whose source has this digest, from a trained model's folder."""
    try:
        model = read_model_of(folder / SOURCE)
    except FileNotFoundError:
        raise UserError(f"no trained model: {folder / SOURCE} has no model's source: {REMEDY}") from None
    if model.digest != source:
        raise UserError(f"{folder / SOURCE} is another model's source than {CONFIG} names: {REMEDY}")
    require_known(model, folder / SOURCE, trusted=trusted)
    return model


def _read_weights(path: Path, checksum: object) -> Any:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"no trained model: cannot read {path}: {error.strerror}: {REMEDY}") from None
    if digest(data) != checksum:
        raise UserError(f"{path} is damaged: it does not match the checksum in {CONFIG}: {REMEDY}")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            small = sum(entry.file_size for entry in archive.infolist()) <= MOST_BYTES
        if small:
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, ValueError, KeyError, EOFError):
        pass
    raise UserError(f"{path} does not hold weights alone and is not loaded: {REMEDY}")


def _check_weights(weights: Any, model: nn.Module, name: str, source: str) -> None:
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    plain = isinstance(weights, dict) and all(
        isinstance(tensor, Tensor) and tensor.layout is torch.strided and tensor.dtype is torch.float32
        for tensor in weights.values()
    )
    if not plain or {name: tuple(tensor.shape) for name, tensor in weights.items()} != wanted:
        raise UserError(f"{source} do not have the shapes of {name}: {REMEDY}")
    if not all(bool(tensor.isfinite().all()) for tensor in weights.values()):
        raise UserError(f"{source} are not all finite: the training diverged: {REMEDY}")
