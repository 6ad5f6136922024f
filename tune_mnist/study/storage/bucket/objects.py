"""A bucket's objects under a prefix, asked for by obstore, again and again while the store has no answer."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from tune_mnist.study.storage.bucket.clients import endpoint_of, make_client, region_of
from tune_mnist.study.storage.bucket.problems import (
    ConflictError,
    NotThereError,
    Request,
    TransientError,
    meaning,
    no_answer,
)

T = TypeVar("T")

PATIENCE_SECONDS = 60.0
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.1, 5.0


class Object(NamedTuple):
    """An object in a listing."""

    name: str
    """Below the prefix."""
    size: int
    modified: datetime
    """By the store's clock."""
    tag: str
    """Changes with the content."""


class Bucket:
    """The objects under a URI, SCHEME://BUCKET/PREFIX. Pickled, it has no client: each process asks by itself.

    obstore would try again by itself, but not a write that was not answered in time, and would not say how a create
    that it tried again ended: so it tries once, and `_ask` goes on.
    """

    def __init__(self, uri: str, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self.uri, self.patience_seconds = uri.rstrip("/"), patience_seconds
        self._client: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {"uri": self.uri, "patience_seconds": self.patience_seconds, "_client": None}

    @property
    def client(self) -> Any:
        """obstore's client, made when it is first asked for; `UserError` if what it needs is missing or malformed."""
        if self._client is None:
            self._client = make_client(self.uri)
        return self._client

    def write(self, name: str, data: bytes) -> None:
        """Write an object, in place of one of that name: a second answer to the same write changes nothing."""
        self._ask("write", name, lambda: self.client.put(name, data, mode="overwrite", use_multipart=False))

    def create(self, name: str, data: bytes) -> bool:
        """Make an object unless there is one of that name; whether there is now one of this very content.

        So `data` should bear a word of its own: then an answer that was lost is no other's success.
        """
        try:
            self._ask("write", name, lambda: self.client.put(name, data, mode="create", use_multipart=False))
            return True
        except ConflictError:
            try:
                return self.read(name) == data
            except NotThereError:  # somebody was about to make it, and has not
                return False

    def read(self, name: str, first_bytes: int | None = None) -> bytes:
        """An object's content, or its `first_bytes` at most.

        Raises:
            NotThereError: there is none.
        """
        if first_bytes is None:
            return self._ask("read", name, lambda: bytes(self.client.get(name).bytes()))
        return self._ask("read", name, lambda: bytes(self.client.get_range(name, start=0, length=first_bytes)))

    def list(self, prefix: str = "") -> list[Object]:
        """All objects whose names begin with `prefix`, a folder or none, by name."""
        found = self._ask("list", prefix, lambda: self.client.list(prefix.rstrip("/") or None).collect())
        return sorted(Object(o["path"], o["size"], o["last_modified"], o["e_tag"] or "") for o in found)

    def modified(self, name: str) -> datetime:
        """When an object was written, by the store's clock; `NotThereError` if there is none."""
        return self._ask("read", name, lambda: self.client.head(name)["last_modified"])

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects, some of which may be gone already."""
        doomed = list(names)
        if doomed:
            with contextlib.suppress(NotThereError):
                self._ask("delete", doomed[0], lambda: self.client.delete(doomed))

    def copy(self, name: str, new: str) -> None:
        """Copy an object inside the store."""
        self._ask("write", new, lambda: self.client.copy(name, new))

    def _ask(self, verb: str, name: str, ask: Callable[[], T]) -> T:
        """What the store answers, asked again for a while where it has no answer.

        Raises:
            BucketError: it refuses for good, or does not answer for `patience_seconds`.
            ConflictError, NotThereError: there is, or is not, an object of that name.
        """
        _ = self.client  # what is wrong with it, such as no obstore, is not the store's
        from obstore.exceptions import BaseError

        request, wait = Request(self.uri, verb, name), FIRST_WAIT_SECONDS
        deadline = time.monotonic() + self.patience_seconds
        while True:
            try:
                return ask()
            except (BaseError, FileNotFoundError) as error:
                problem = meaning(error, request, lambda: region_of(self.uri))
            if not isinstance(problem, TransientError):
                raise problem from None
            if time.monotonic() + wait > deadline:
                raise no_answer(request, endpoint_of(self.uri), self.patience_seconds, problem)
            time.sleep(wait * random.uniform(0.5, 1))
            wait = min(2 * wait, LONGEST_WAIT_SECONDS)
