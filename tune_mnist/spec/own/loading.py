"""A class made from source text: modules that exist by value, not as files, and import each other."""

from __future__ import annotations

import builtins
import functools
import importlib.util
import linecache
import sys
import traceback
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from tune_mnist.spec.errors import UserError

Files = tuple[tuple[str, str], ...]


@functools.cache
def load_class(class_name: str, module: str, files: Files) -> Any:
    """The class of this name in `module`, run from `files`: module names and texts.

    Raises:
        UserError: the code does not run, or has no such class; with the file and line that it came from.
    """
    modules = Modules(files)
    try:
        namespace = vars(modules.load(module))
    except Exception as error:
        raise UserError(f"{class_name} cannot be loaded: {place_of_error(error, files)}") from None
    if class_name not in namespace:
        classes = [name for name, value in namespace.items() if isinstance(value, type) and not name.startswith("_")]
        raise UserError(f"{module}.py has no class {class_name}: it has {', '.join(classes) or 'none'}")
    return namespace[class_name]


def file_name(module: str, files: Files) -> str:
    """What tracebacks call a module's text."""
    is_package = any(name.startswith(f"{module}.") for name, _ in files)
    return module.replace(".", "/") + ("/__init__.py" if is_package else ".py")


def place_of_error(error: BaseException, files: Files) -> str:
    """An exception as "SomeError: message (FILE:LINE)", the place being the innermost one in `files`."""
    names = {file_name(module, files) for module, _ in files}
    text = " ".join(str(error).split())
    kind = type(error).__name__
    if isinstance(error, SyntaxError) and error.filename in names:
        return f"{kind}: {error.msg} ({error.filename}:{error.lineno})"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in names]
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{kind}: {text}{place}"


class Modules:
    """Modules made from texts when they are first imported; whatever else they import is the process's own."""

    def __init__(self, files: Files) -> None:
        self.files, self.texts = files, dict(files)
        self.loaded: dict[str, ModuleType] = {}
        self.prefix = f"own_{abs(hash(files)):x}"

    def load(self, name: str) -> ModuleType:
        """The module of this name; the packages that it is in are loaded first."""
        if name in self.loaded:
            return self.loaded[name]
        parent, _, last = name.rpartition(".")
        if parent:
            self.load(parent)
        module = ModuleType(f"{self.prefix}.{name}")
        is_package = any(other.startswith(f"{name}.") for other in self.texts)
        package = name if is_package else parent
        vars(module)["__builtins__"] = vars(builtins) | {"__import__": self.importer(package)}
        module.__file__ = file_name(name, self.files)
        self.loaded[name] = sys.modules[module.__name__] = module  # where dataclasses and typing look for names
        text = self.texts.get(name, "")
        linecache.cache[module.__file__] = (len(text), None, text.splitlines(True), module.__file__)
        try:
            exec(compile(text, module.__file__, "exec"), vars(module))
        except BaseException:
            del self.loaded[name], sys.modules[module.__name__]
            raise
        if parent:
            setattr(self.loaded[parent], last, module)
        return module

    def has(self, name: str) -> bool:
        """Whether a module of this name, or one in a package of it, is among the texts."""
        return any(other == name or other.startswith(f"{name}.") for other in self.texts)

    def importer(self, package: str) -> Any:
        """What `import` does in a module of this package."""

        def import_(
            name: str, globals: Mapping[str, Any] | None = None, locals: Mapping[str, Any] | None = None,
            fromlist: tuple[str, ...] = (), level: int = 0,
        ) -> Any:
            full = importlib.util.resolve_name("." * level + name, package) if level else name
            if not self.has(full):
                return builtins.__import__(name, globals, locals, fromlist, level)
            module = self.load(full)
            for each in fromlist or ():
                if self.has(f"{full}.{each}"):
                    self.load(f"{full}.{each}")
            return module if fromlist else self.load(full.partition(".")[0])

        return import_
