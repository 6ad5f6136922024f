"""Models of one's own found by FILE.py:Class, package.module:Class or a class, read with the files they import."""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from tune_mnist.spec.errors import UserError, require
from tune_mnist.spec.own.cells import text_of_class
from tune_mnist.spec.own.model import OwnModel, Source, own_model

MOST_BYTES = 2**20
"""Of source text: more is no model."""
HOW = "name a model as FILE.py:Class or package.module:Class"


def read_model(reference: str | type) -> OwnModel:
    """The model that a word of the command line or a class names.

    Raises:
        UserError: there is no such file, module or class, its code does not run, or it breaks the contract of models.
    """
    if isinstance(reference, str):
        return own_model(_source_of_word(reference), given=reference)
    return own_model(_source_of_class(reference))


def _source_of_word(word: str) -> Source:
    place, colon, class_name = word.rpartition(":")
    require(bool(colon and place and class_name.isidentifier()), "a model is FILE.py:Class", repr(word), HOW)
    if place.endswith(".py"):
        return _source_of_file(Path(place).expanduser(), class_name)
    require(re.fullmatch(r"\w+(\.\w+)*", place) is not None, "a model is FILE.py:Class", repr(word), HOW)
    root = _root_of_module(place)
    return Source(class_name, place, _closure(root, place, place.partition(".")[0]))


def _source_of_file(path: Path, class_name: str) -> Source:
    require(path.is_file(), f"{path} is a file", "none there", "name an existing one")
    module = path.stem
    require(module.isidentifier(), "a model's file has a name that Python can import", path.name, "rename it")
    return Source(class_name, module, _closure(path.resolve().parent, module))


def _source_of_class(cls: type) -> Source:
    require(isinstance(cls, type), "a model is a class or a name", repr(cls), HOW)
    require("." not in cls.__qualname__, "a model's class stands by itself", cls.__qualname__, "move it to the top")
    module = sys.modules.get(cls.__module__)
    file = getattr(module, "__file__", None)
    if cls.__module__ == "__main__" or file is None:  # a notebook's cell, or a script, which must not run again
        name = cls.__name__.lower()
        return Source(cls.__name__, name, _closure(Path.cwd(), name, text=text_of_class(cls)))
    path = Path(inspect.getsourcefile(cls) or file).resolve()
    parts = cls.__module__.split(".")
    if len(parts) > 1 and path.with_suffix("").parts[-len(parts):] == tuple(parts):
        return Source(cls.__name__, cls.__module__, _closure(path.parents[len(parts) - 1], cls.__module__, parts[0]))
    return _source_of_file(path, cls.__name__)


def _root_of_module(name: str) -> Path:
    """The folder that the module's topmost package lies in; nothing is imported."""
    places: list[str] | None = [str(Path.cwd()), *sys.path]
    found = None
    root = None
    for part in name.split("."):
        found = importlib.machinery.PathFinder.find_spec(part, places)
        if found is None:
            raise UserError(f"there is no module {name}: {HOW}")
        places = list(found.submodule_search_locations or [])
        if root is None:
            root = Path(places[0]).parent if places else Path(str(found.origin)).parent
    assert root is not None
    return root


def _closure(
    root: Path, module: str, within: str | None = None, text: str | None = None
) -> tuple[tuple[str, str], ...]:
    """The texts of a module in the folder `root`, or of `text`, and of all there that it imports, by module name.

    With `within` only those in the package of that name.
    """
    texts: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _path(root, name)
        if name in texts or (path is None and not (name == module and text is not None)):
            continue
        texts[name] = text if name == module and text is not None else _read(path)
        require(sum(map(len, texts.values())) <= MOST_BYTES, "a model's source has at most 1 MiB", "more", "split it")
        is_package = path is not None and path.name == "__init__.py"
        packages = [name[:dot.start()] for dot in re.finditer(r"\.", name)]
        for found in (*packages, *_imported(texts[name], name, is_package)):
            top = found.partition(".")[0]
            if top != "tune_mnist" and within in (None, top):
                waiting.append(found)
    return tuple(sorted(texts.items()))


def _path(root: Path, module: str) -> Path | None:
    """Where a module's text is under `root`, if it is there."""
    base = root.joinpath(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def _read(path: Path | None) -> str:
    assert path is not None
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}: name a file of Python source in UTF-8") from None


def _imported(text: str, module: str, is_package: bool) -> Iterator[str]:
    """The full names of all that a module's text may import: modules, and names that may be modules."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return  # which is told when it is run
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1] if package else []
                base = ".".join([*above, *([base] if base else [])])
            yield from (name for name in (base, *(f"{base}.{alias.name}" for alias in node.names)) if name.strip("."))
