"""A class of a notebook or a script as text that stands by itself: its lines, and what they need of what is around."""

from __future__ import annotations

import ast
import builtins
import functools
import importlib
import linecache
import symtable
import sys
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any

from tune_mnist.spec.errors import UserError

FILE = "write it into a file, and name that as FILE.py:Class"


def text_of_class(cls: type) -> str:
    """The source of a class with the imports, constants, functions and classes around it that it uses.

    Raises:
        UserError: its lines are not to be had, or it uses something that cannot be written down.
    """
    parts: dict[str, str] = {}
    _add(cls.__name__, cls, vars(sys.modules[cls.__module__]), parts, cls.__name__)
    imports = [text for text in parts.values() if text.startswith(("import ", "from "))]
    others = [text for text in parts.values() if not text.startswith(("import ", "from "))]
    return "\n".join([*imports, "", *(f"\n{text}\n" for text in others)]).strip() + "\n"


def _add(name: str, value: Any, around: dict[str, Any], parts: dict[str, str], model: str) -> None:
    """Put into `parts`, after what it needs itself, the text that gives `name` its `value`."""
    if name in parts:
        return
    text = _imported(name, value) or _constant(name, value)
    if text is None and isinstance(value, type | FunctionType):
        text = _lines(value)
        parts[name] = ""  # it may use itself
        for needed in _globals(text):
            if needed in around and needed != name:
                _add(needed, around[needed], around, parts, model)
        del parts[name]
    if text is None:
        kind = type(value).__name__
        raise UserError(f"{model} uses {name}, a {kind} that is not in its text: make it an argument, or {FILE}")
    parts[name] = text


def _imported(name: str, value: Any) -> str | None:
    """The line that imports the value, if it is a module or a module's."""
    if isinstance(value, ModuleType):
        return f"import {value.__name__}" if value.__name__ == name else f"import {value.__name__} as {name}"
    module, own_name = getattr(value, "__module__", None), getattr(value, "__name__", None)
    if not isinstance(module, str) or not isinstance(own_name, str) or module == "__main__":
        return None
    try:
        found = getattr(importlib.import_module(module), own_name, None)
    except ImportError:
        return None
    return f"from {module} import {own_name} as {name}" if found is value else None


def _constant(name: str, value: Any) -> str | None:
    try:
        same = ast.literal_eval(repr(value)) == value
    except (ValueError, SyntaxError, TypeError):
        return None
    return f"{name} = {value!r}" if same else None


def _lines(value: type | FunctionType) -> str:
    """The lines of a class or function as it was entered, whether in a file or a cell."""
    code = _code(value)
    if code is not None:
        file = code.co_filename
        text = "".join(linecache.getlines(file))
        kinds = (ast.ClassDef,) if isinstance(value, type) else (ast.FunctionDef,)
        for node in _defined(text):
            if isinstance(node, kinds) and node.name == value.__name__ and node.lineno <= code.co_firstlineno + 1:
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                if first <= code.co_firstlineno <= (node.end_lineno or first):
                    return "\n".join(text.splitlines()[first - 1 : node.end_lineno])
    raise UserError(f"the lines of {value.__name__} cannot be found: {FILE}")


def _code(value: type | FunctionType) -> Any:
    """The code of a function, or of one of a class's own; None if it has none."""
    functions = [value] if isinstance(value, FunctionType) else list(vars(value).values())
    return next((each.__code__ for each in functions if isinstance(each, FunctionType)), None)


@functools.lru_cache(maxsize=8)
def _defined(text: str) -> list[ast.stmt]:
    try:
        return ast.parse(text).body
    except SyntaxError:
        return []


def _globals(text: str) -> Iterator[str]:
    """The names that a class or function takes from around it."""

    def walk(table: symtable.SymbolTable, top: bool) -> Iterator[str]:
        for symbol in table.get_symbols():
            from_around = symbol.is_global() or (top and not symbol.is_assigned())
            if symbol.is_referenced() and from_around and not hasattr(builtins, symbol.get_name()):
                yield symbol.get_name()
        for child in table.get_children():
            yield from walk(child, False)

    yield from sorted(set(walk(symtable.symtable(text, "<class>", "exec"), True)))
