"""A model of one's own as a value: its source text, and the settings that its constructor takes."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin

from tune_mnist.spec.errors import UserError, require
from tune_mnist.spec.own.loading import load_class, place_of_error
from tune_mnist.spec.settings import Setting

SHARED = ("dropout",)
"""Settings of every training that a model's constructor may take, too, and then gets."""
CLASSES = ("classes", "num_classes")
"""What a constructor may call the number of classes."""


@dataclass(frozen=True)
class Source:
    """The text that a model is: files by module name, and which class of which of them it is."""

    class_name: str
    module: str
    """The name of the class's module among the files."""
    files: tuple[tuple[str, str], ...]
    """Module names and texts, in the order of names; a package's own text has its name."""

    @functools.cached_property
    def digest(self) -> str:
        """64 hex digits: the SHA-256 of all of it."""
        content = json.dumps([self.class_name, self.module, self.files]).encode()
        return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True, repr=False)
class OwnModel:
    """A model that is not the package's. Two are the same if their text is."""

    source: Source = field(repr=False)
    settings: Mapping[str, Setting] = field(compare=False, repr=False)
    """What its constructor takes, by name."""
    shared: tuple[str, ...] = field(compare=False, repr=False)
    """Of the settings that every training has those that its constructor takes."""
    classes: str | None = field(default=None, compare=False, repr=False)
    """What its constructor calls the number of classes, if it takes it."""
    given: str = field(default="", compare=False, repr=False)
    """How it was named on the command line; empty if it came as a class."""

    def __repr__(self) -> str:
        return self.name

    @property
    def digest(self) -> str:
        """64 hex digits of the source's SHA-256."""
        return self.source.digest

    @property
    def class_name(self) -> str:
        return self.source.class_name

    @property
    def name(self) -> str:
        """What it is called in tables and labels: the class and the first digits of its source's digest."""
        return f"{self.class_name}@{self.digest[:8]}"

    def arguments(self, settings: Mapping[str, Any], shared: Mapping[str, Any], classes: int) -> dict[str, Any]:
        """The constructor's keyword arguments for these of its settings, the others being at their defaults."""
        made = {name: _argument(self.settings[name], value) for name, value in settings.items()}
        made |= {name: shared[name] for name in self.shared}
        return made | ({self.classes: classes} if self.classes else {})


RESERVED = ("model", "lr", "batch_size", "epochs", "epoch", "seed", "head", "budget", "status", "optimizer", "momentum")
"""Names that columns of tables have already, so that no setting of one's own may."""


def own_model(source: Source, given: str = "") -> OwnModel:
    """The model that a source is, with the settings that its constructor takes.

    Raises:
        UserError: its code does not run, the class is not there or no `nn.Module`, or an argument has no default.
    """
    cls = load_class(source.class_name, source.module, source.files)
    name = source.class_name
    is_module = isinstance(cls, type) and any(base.__module__ == "torch.nn.modules.module" for base in cls.__mro__)
    require(is_module, f"{name} is a class derived from torch.nn.Module", repr(cls), "derive it, or name another class")
    hints = _hints(cls)
    settings: dict[str, Setting] = {}
    shared: list[str] = []
    classes = None
    try:
        parameters = inspect.signature(cls).parameters.values()
    except (TypeError, ValueError) as error:
        raise UserError(f"{name} has no constructor that can be read ({error}): give it an __init__") from None
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if parameter.name in CLASSES:
            classes = parameter.name
            continue
        has_default = parameter.default is not parameter.empty
        require(has_default, f"each argument of {name} has a default", parameter.name, "give it one in __init__")
        if parameter.name in SHARED:
            remedy = f"give it that, and --{parameter.name} to the command: a training's is the model's"
            require(parameter.default == 0, f"{parameter.name} of {name} is 0 by default", parameter.default, remedy)
            shared.append(parameter.name)
        elif parameter.name in RESERVED:
            require(False, f"{parameter.name} is a setting of every training", f"an argument of {name}", "rename it")
        elif (known := _setting_of(parameter, hints.get(parameter.name))) is not None:
            settings[known.name] = known
    return OwnModel(source, settings, tuple(shared), classes, given)


def _hints(cls: type) -> dict[str, Any]:
    """The types of the constructor's arguments, as far as they can be told."""
    try:
        return typing.get_type_hints(cls.__init__)  # type: ignore[misc]
    except Exception:  # of names that are not there, or are no types
        return {}


def _setting_of(parameter: inspect.Parameter, hint: Any) -> Setting | None:
    """A constructor's argument as a setting; None if values of its kind cannot be written in words."""
    default, doc = parameter.default, "An argument of the model's constructor"
    if get_origin(hint) is Literal:
        return Setting(parameter.name, "choice", default, doc, choices=get_args(hint))
    kinds: dict[type, Any] = {bool: "yes or no", int: "whole number", float: "number", str: "text"}
    if type(default) in kinds:
        return Setting(parameter.name, kinds[type(default)], default, doc)
    if isinstance(default, tuple | list) and default and all(type(value) is int and value > 0 for value in default):
        return Setting(parameter.name, "widths", "-".join(map(str, default)), doc)
    return None


def _argument(known: Setting, value: Any) -> Any:
    return tuple(map(int, value.split("-"))) if known.kind == "widths" else value


def told(error: BaseException, model: OwnModel, what: str) -> UserError:
    """An exception of the model's code in one line, with the file and line that it came from."""
    return UserError(f"{what}: {place_of_error(error, model.source.files)}")
