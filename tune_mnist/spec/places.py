"""Places on disk and in buckets as users write them: a folder, its ~, or a bucket by its URI, carried by a `Path`."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any, TypeVar, cast

from tune_mnist.spec.errors import UserError, require

T = TypeVar("T")

STORAGE = Path("ray_results")
"""The folder of the studies, unless another is asked for."""
CLOUDS = ("s3", "gs", "az")
"""The schemes of Amazon's, Google's and Microsoft's object stores, and of others that speak as Amazon's does."""


def bucket_uri(path: Path) -> str | None:
    """The URI of a bucket or of what lies in it, SCHEME://BUCKET/PREFIX, that `path` is; None if it is a folder's.

    A `Path` takes one slash of a URI's two.
    """
    found = re.fullmatch(rf"({'|'.join(CLOUDS)}):/+([^/]+(?:/.*)?)", str(path))
    return f"{found[1]}://{found[2]}" if found else None


def shown(path: Path) -> str:
    """A folder's path, or a bucket's URI, as it is written."""
    return bucket_uri(path) or str(path)


def absolute(path: Path) -> Path:
    """A folder's absolute path; a bucket's stays as it is."""
    return path if bucket_uri(path) else path.absolute()


def check_storage_name(storage: Path) -> Path:
    """Return `storage` if it names a folder or a bucket, else raise `UserError`."""
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):/", str(storage))
    known = ", ".join(f"{cloud}://BUCKET/PREFIX" for cloud in CLOUDS)
    is_known = scheme is None or bucket_uri(storage) is not None
    require(is_known, f"storage is a folder or {known}", storage, "change --storage")
    is_text = re.search("[\ud800-\udfff]", str(storage)) is None  # what of a path is no UTF-8 comes as such a one
    require(is_text, "storage has a name in UTF-8, as Ray asks for", ascii(str(storage)), "rename the folder")
    return storage


def home_expanded(value: T) -> T:
    """A path, or a dataclass or tuple with the paths in it, with a leading ~ or ~USER as a shell has it: the home.

    Raises:
        UserError: there is no such home.
    """
    anything: Any = value
    if isinstance(anything, Path) and str(anything).startswith("~"):
        try:
            anything = anything.expanduser()
        except RuntimeError:
            raise UserError(f"{anything}: no such home: set HOME, or write the folder's whole name") from None
    elif type(anything) is tuple:
        anything = tuple(map(home_expanded, anything))
    elif dataclasses.is_dataclass(anything) and not isinstance(anything, type):
        fields = {field.name: getattr(anything, field.name) for field in dataclasses.fields(anything) if field.init}
        changed = {name: new for name, old in fields.items() if (new := home_expanded(old)) != old}
        anything = dataclasses.replace(anything, **changed) if changed else anything
    return cast(T, anything)
