"""A study by its path, in a folder or a bucket."""

from __future__ import annotations

from pathlib import Path

from tune_mnist.spec.places import bucket_uri
from tune_mnist.study.storage.base import Storage
from tune_mnist.study.storage.folder import FolderStorage


def storage_at(path: Path) -> Storage:
    """What keeps the study at `path`: a folder, or a bucket's URI as a path carries it. Nothing is read yet."""
    uri = bucket_uri(path)
    if uri is None:
        return FolderStorage(path.absolute())
    from tune_mnist.study.storage.bucket.storage import BucketStorage

    return BucketStorage(uri)
