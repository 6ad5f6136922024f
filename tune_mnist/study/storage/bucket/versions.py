"""The few files that only a driver writes, each version an object of its own: the highest number counts.

A version's number begins with that of the lease it was written under, so that a driver which was stopped, replaced and
woken cannot write over its successor.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import NamedTuple

from tune_mnist.spec.errors import Damaged
from tune_mnist.study.files import checksum
from tune_mnist.study.storage.bucket.objects import Bucket, Object
from tune_mnist.study.storage.bucket.problems import NotThereError

VERSIONED = ("study.json", "optuna.json", "optuna.db")
FOLDER = "versions"
KEPT_VERSIONS = 2
LOOKS = 2
"""How often to look at what does not match its checksum: a byte may have changed on the way alone."""


class Version(NamedTuple):
    """A version's content and its object's name."""

    object_name: str
    data: bytes


class Versions:
    """The versions of one study's files."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.written = 0
        self.known: dict[str, list[str]] = {}
        """By file, the names of its versions, the oldest first."""

    def see(self, listing: Iterable[Object]) -> None:
        """Take note of what a listing of the study shows."""
        self.known = {}
        for each in listing:
            folder, _, rest = each.name.partition("/")
            if folder == FOLDER:
                self.known.setdefault(rest.partition("/")[0], []).append(each.name)

    def write(self, name: str, data: bytes, lease: int) -> None:
        """Write a version under a lease, and drop those before the last two."""
        self.written += 1
        version = f"{FOLDER}/{name}/{lease:08}-{self.written:08}-{checksum(data)}"
        self.bucket.write(version, data)
        known = self.known.setdefault(name, [])
        known.append(version)
        known.sort()
        self.bucket.delete(known[:-KEPT_VERSIONS])
        del known[:-KEPT_VERSIONS]

    def newest(self, name: str) -> Version | None:
        """The newest version that is as it was written; None if there is none."""
        for version in reversed(self.known.get(name, [])):
            for _ in range(LOOKS):
                try:
                    data = self.bucket.read(version)
                except NotThereError:
                    break
                if version.endswith(f"-{checksum(data)}"):
                    return Version(version, data)
            else:
                problem = f"{self.bucket.uri}/{version} does not match its checksum"
                warnings.warn(f"{problem}: the version before it is used", Damaged, stacklevel=2)
        return None
