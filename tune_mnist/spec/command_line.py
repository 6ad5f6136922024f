"""The command line that asks for a spec again, every number as it is."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator
from typing import Any

from tune_mnist.spec.errors import flag_of
from tune_mnist.spec.search import SearchSpec
from tune_mnist.spec.space import Range, Space, words_of_domain
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import Recipe

PARTS = {"recipe": Recipe(), "space": Space()}
"""The fields of specs whose own fields are flags, and their defaults."""


def command_line(spec: StudySpec | SearchSpec, name: str) -> str:
    """The command line that asks for `spec` again, flags only where it differs from the default."""
    searches = isinstance(spec, SearchSpec)
    default = SearchSpec() if searches else StudySpec()
    words = [word for part in (spec, *_parts(spec)) for word in _flags(part, _default_of(part, default))]
    program = f"python -m tune_mnist.{'search' if searches else 'grid'}"
    return f"{program} {shlex.join([*words, '--name', name])}"


def _parts(spec: Any) -> list[Any]:
    return [getattr(spec, name) for name in PARTS if hasattr(spec, name)]


def _default_of(part: Any, default: Any) -> Any:
    return next((plain for plain in PARTS.values() if type(plain) is type(part)), default)


def _flags(given: Any, default: Any) -> Iterator[str]:
    """The words that make `default` what is `given`."""
    for field in dataclasses.fields(given):
        value = getattr(given, field.name)
        if field.name in PARTS or value == getattr(default, field.name):
            continue
        yield flag_of(field.name)
        if isinstance(value, Range | tuple):
            yield from words_of_domain(value)
        elif not isinstance(value, bool):
            yield str(value)
