"""Where studies may be kept: a folder, or a bucket by its URI, as a `Path` carries either."""

from __future__ import annotations

import re
from pathlib import Path

from tune_mnist.spec.errors import require

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
