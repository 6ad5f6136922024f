"""Whether a bucket can hold a study: reached, allowed, honouring conditions, its clock and ours about the same."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

from tune_mnist.spec.errors import UserError
from tune_mnist.study.storage.bucket.objects import Bucket
from tune_mnist.study.storage.bucket.problems import BucketError, NotThereError

MOST_CLOCK_SECONDS = 300.0
"""How far this machine's clock may be off the store's: at a quarter of an hour Amazon refuses all requests."""
PROBES = "probe"


def check_access(bucket: Bucket) -> float:
    """Check all that a study needs of its bucket; returns how many seconds our clock is ahead of the store's.

    Raises:
        UserError: the store is not reached or has no such bucket, the credentials are missing, expired or may not do
            something, the bucket is in another region, a condition is not honoured, or the clocks differ.
    """
    bucket.list(PROBES)  # a missing bucket's object is like a missing object; a listing of it is not
    name, word = f"{PROBES}/{secrets.token_hex(8)}", secrets.token_hex(8).encode()
    made = bucket.create(name, word)
    try:
        if not made or bucket.read(name) != word:
            raise BucketError(f"{bucket.uri} does not give back what was written: change --storage")
        if bucket.create(name, secrets.token_hex(8).encode()):
            remedy = "use a store that honours it (Amazon S3, Google's, Azure, MinIO, Ceph), or a shared folder"
            raise BucketError(f"this store ignores If-None-Match: two runs could mix: {remedy}")
        ahead_seconds = time.time() - bucket.modified(name).timestamp()
    finally:
        bucket.delete([name])
    if abs(ahead_seconds) > MOST_CLOCK_SECONDS:
        off = f"{abs(ahead_seconds) / 60:.0f} min {'ahead of' if ahead_seconds > 0 else 'behind'} the store's"
        raise BucketError(f"this machine's clock is {off}: set it (by NTP), then run the same command again")
    return ahead_seconds


@dataclass(frozen=True)
class BucketProbe:
    """An object with a word that nobody knows, and beside it the answers of other machines."""

    bucket: Bucket
    name: str

    def problem_on(self, node: str) -> str | None:
        try:
            check_access(self.bucket)
            self.bucket.write(self._answer(node), self.bucket.read(self.name))
        except NotThereError:
            return f"reaches another {self.bucket.uri}"
        except UserError as problem:
            return f"cannot use it ({problem})"
        return None

    def is_answered(self, node: str) -> bool:
        try:
            return self.bucket.read(self._answer(node)) == self.bucket.read(self.name)
        except NotThereError:
            return False

    def unseen(self) -> str:
        return f"writes to another {self.bucket.uri}"

    def _answer(self, node: str) -> str:
        return f"{self.name}-{node}"
