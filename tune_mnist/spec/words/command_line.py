"""The command line that asks for a spec again, every number as it is."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator
from typing import Any

from tune_mnist.spec.domains import words_of
from tune_mnist.spec.errors import flag_of
from tune_mnist.spec.search import SearchSpec
from tune_mnist.spec.space import Space
from tune_mnist.spec.study import StudySpec


def command_line(spec: StudySpec | SearchSpec, name: str) -> str:
    """The command line that asks for `spec` again, flags only where it differs from the default."""
    if isinstance(spec, SearchSpec):
        program, words = "search", [*_flags(spec, SearchSpec()), *_flags(spec.space, Space())]
    else:
        program, words = "grid", [*_flags(spec, StudySpec())]
    return f"python -m tune_mnist.{program} {shlex.join([*words, '--name', name])}"


def _flags(given: Any, default: Any) -> Iterator[str]:
    """The words that make `default` what is `given`."""
    for field in dataclasses.fields(given):
        value = getattr(given, field.name)
        if field.name == "own":
            for model, domains in value.items():
                for name, domain in domains.items():
                    yield from (f"--{model}.{name}", *words_of(domain))
        elif field.name == "models" and given.sources:
            by_name = {source.name: source.given for source in given.sources}
            yield from ("--models", *(by_name.get(model, model) for model in value))
        elif field.name not in ("space", "sources") and value != getattr(default, field.name):
            yield flag_of(field.name)
            if value is not True:
                yield from words_of(value)
