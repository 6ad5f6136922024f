"""Models of one's own kept as files beside what they trained, and whose code may be run from there.

Files that came from somewhere else may hold anybody's code: it is run only if this user named it in a command before,
or says so.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from tune_mnist.spec.errors import UserError
from tune_mnist.spec.own.loading import file_name
from tune_mnist.spec.own.model import OwnModel, Source
from tune_mnist.spec.places import home_expanded
from tune_mnist.spec.settings import Setting
from tune_mnist.study.files import Corrupt, make_folder, read_json, write_atomic, write_json

ABOUT = "model.json"
MODELS = "models"
"""A study's folder of the models of one's own that it has trained, a folder each."""
_named: set[str] = set()
"""Digests of what this process was told to run."""


def save_model(folder: Path, model: OwnModel) -> None:
    """Write a model's source into `folder`, unless it is there, with what it takes to read it back."""
    source = model.source
    names = {module: file_name(module, source.files) for module, _ in source.files}
    about = {
        "class": source.class_name, "module": source.module, "files": names, "digest": source.digest,
        "settings": [_plain(setting) for setting in model.settings.values()], "shared": list(model.shared),
        "classes": model.classes, "given": model.given,
    }
    try:
        if read_model_of(folder) == model:
            return
    except (FileNotFoundError, UserError):
        pass
    for module, text in source.files:
        path = folder / names[module]
        make_folder(path.parent, parents=True)
        write_atomic(path, text.encode())
    make_folder(folder, parents=True)
    write_json(folder / ABOUT, about)


def read_model_of(folder: Path) -> OwnModel:
    """The model that `save_model` wrote; no code of it is run.

    Raises:
        FileNotFoundError: there is none.
        UserError: it is damaged.
    """
    try:
        about = read_json(folder / ABOUT)
        texts = sorted((module, (folder / name).read_bytes().decode()) for module, name in about["files"].items())
        source = Source(about["class"], about["module"], tuple(texts))
        if source.digest != about["digest"]:
            raise Corrupt("its text was changed")
    except (Corrupt, FileNotFoundError, UnicodeDecodeError) as problem:
        if not (folder / ABOUT).exists():
            raise FileNotFoundError(folder / ABOUT) from None
        remedy = "restore it, or name the model's own file in a command again"
        raise UserError(f"the model in {folder} is damaged ({problem}): {remedy}") from None
    settings = {each["name"]: Setting(**{**each, "choices": tuple(each["choices"])}) for each in about["settings"]}
    return OwnModel(source, settings, tuple(about["shared"]), about["classes"], about["given"])


def models_in(study: Path) -> tuple[OwnModel, ...]:
    """The models of one's own that the study in this folder has trained."""
    return tuple(read_model_of(path.parent) for path in sorted(study.glob(f"{MODELS}/*/{ABOUT}")))


def remember(models: Iterable[OwnModel]) -> None:
    """Note that this user had these models run."""
    for model in models:
        _named.add(model.digest)
        try:
            _known().mkdir(parents=True, exist_ok=True)
            (_known() / model.digest).touch()
        except OSError:
            pass  # a user without a home says it again


def require_known(model: OwnModel, folder: Path, *, trusted: bool = False) -> None:
    """Raise `UserError` unless this user had the model's code run before, or says now that it is `trusted`."""
    if trusted:
        remember([model])
    if model.digest not in _named and not (_known() / model.digest).exists():
        file = folder / file_name(model.source.module, model.source.files)
        raise UserError(f"{model.name} would run the code in {file}, which you have not: read it, then --trust-code")


def _known() -> Path:
    return home_expanded(Path(os.environ.get("TUNE_MNIST_CACHE") or "~/.cache/tune_mnist")) / MODELS


def _plain(setting: Setting) -> dict[str, object]:
    """A setting of a model's constructor as plain JSON values."""
    kept = ("name", "kind", "default", "doc", "choices")
    return {name: value for name, value in asdict(setting).items() if name in kept}
