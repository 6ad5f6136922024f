"""What an object store's refusals mean, each in one line with its remedy."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from tune_mnist.spec.errors import UserError

FORBIDDEN = {
    "AccessDenied", "AllAccessDisabled", "AccountProblem", "InvalidAccessKeyId", "InvalidObjectState", "InvalidToken",
    "NotSignedUp", "SignatureDoesNotMatch", "UnauthorizedAccess",
    "AuthenticationFailed", "AuthorizationFailure", "AuthorizationPermissionMismatch",  # Azure's
}
EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
ELSEWHERE = {
    "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect", "TemporaryRedirect",
}
GOES_ON = "then run the same command again"


class BucketError(UserError):
    """What an object store refused, told in one line: nothing that was finished is lost."""


class NoAnswerError(BucketError):
    """The object store does not answer: not the user's input, so that commands exit with 1 on it."""

    status = 1


class ConflictError(Exception):
    """There is an object of that name already, or one is being made."""


class NotThereError(Exception):
    """There is no such object."""


class TransientError(Exception):
    """Not now: worth asking again."""


@dataclass(frozen=True)
class Request:
    """What was asked of whom."""

    uri: str
    """The storage's, as users write it."""
    verb: str
    """write, read, list or delete."""
    name: str
    """The object's, below the storage."""

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return self.uri.partition("://")[2].partition("/")[0]

    def __str__(self) -> str:
        return f"{self.verb} {self.uri}/{self.name}".rstrip("/")


def meaning(error: Exception, request: Request, find_region: Callable[[], str | None]) -> Exception:
    """What an exception of obstore's means: one of this module's, the user's own errors among them.

    `find_region` finds the bucket's, where the answer does not say it.
    """
    from obstore.exceptions import AlreadyExistsError, PermissionDeniedError, PreconditionError, UnauthenticatedError

    text = str(error).partition("Debug source")[0]
    if (credentials := re.search(r"no credentials for .*", text)) is not None:  # what our own provider raised
        return BucketError(credentials[0])
    code = next(iter(re.findall(r"<Code>(\w+)</Code>", text)), "")
    if code == "NoSuchBucket" or "ContainerNotFound" in text or "bucket does not exist" in text:
        return BucketError(f"no bucket {request.bucket}: make it or change --storage")
    if code == "InvalidBucketName":
        return BucketError(f"{request.bucket} is no bucket's name: change --storage")
    if code in EXPIRED:
        return BucketError(f"credentials have expired: renew them, {GOES_ON}")
    if code == "RequestTimeTooSkewed":
        return BucketError("this machine's clock is off the store's: set it (by NTP), " + GOES_ON)
    if code in ELSEWHERE or "incorrectly configured region" in text:
        region = next(iter(re.findall(r"<Region>([\w-]+)</Region>", text)), None) or find_region() or "unknown"
        return BucketError(f"bucket {request.bucket} is in another region ({region}): set AWS_REGION")
    if isinstance(error, AlreadyExistsError | PreconditionError):
        return ConflictError()
    status = int(next(iter(re.findall(r"status code: (\d{3})", text)), 0))
    if "token request" in text and status:
        remedy = "sign in by the cloud's own tool, or give the machine a role"
        return BucketError(f"no credentials for {request.uri} ({status} from whom tokens come): {remedy}, {GOES_ON}")
    if code in FORBIDDEN or status in (401, 403) or isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return not_allowed(request)
    if isinstance(error, FileNotFoundError):
        return NotThereError()
    if code == "NotImplemented":
        return BucketError(f"{request.uri}: the store cannot {request.verb} as a study needs: change --storage")
    if status and status < 500 and status not in (408, 409, 429):
        return BucketError(f"cannot {request}: the store says {status} {code}: see to that, {GOES_ON}")
    return TransientError(f"{status} {code}".strip() if status else "")


def not_allowed(request: Request) -> BucketError:
    """That the credentials are no good here, for all that a run asks for or for reading alone."""
    needs = "GetObject, PutObject, DeleteObject, ListBucket"
    verb, needs = ("read", "GetObject, ListBucket") if request.verb in ("read", "list") else ("write", needs)
    return BucketError(f"not allowed to {verb} {request.uri}: needs {needs}")


def no_answer(request: Request, endpoint: str, seconds: float, last: TransientError) -> NoAnswerError:
    """That the store was asked for so long in vain."""
    said = f" (it says {last})" if str(last) else ""
    who = f"no answer from {endpoint} in {seconds:.0f} s{said}"
    return NoAnswerError(f"cannot {request}: {who}: see to the store and the network, {GOES_ON}")
