"""obstore's client of a bucket, with credentials, region and endpoint as the cloud's own tools find them."""

from __future__ import annotations

import functools
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

from tune_mnist.spec.errors import UserError
from tune_mnist.study.storage.bucket.problems import BucketError

ANSWER_SECONDS, CONNECT_SECONDS = 30, 5
"""For one request: how long it may take, and how long until somebody listens."""
CREDENTIALS_MINUTES = 5
"""How long a profile's or a role's credentials are used before they are asked for again; boto3 renews them in time."""


def parts(uri: str) -> tuple[str, str, str]:
    """A URI's scheme, bucket and prefix."""
    scheme, _, rest = uri.partition("://")
    bucket, _, prefix = rest.partition("/")
    return scheme, bucket, prefix.strip("/")


def make_client(uri: str) -> Any:
    """obstore's client of the bucket, which names objects below the prefix.

    Raises:
        UserError: obstore is not installed, or there are no credentials.
    """
    try:
        import obstore.store as stores
        from obstore.exceptions import BaseError
    except ImportError:
        remedy = "run `pip install 'tune-mnist[cloud]'`, or change --storage"
        raise UserError(f"{uri} needs the package obstore: {remedy}") from None
    scheme, bucket, prefix = parts(uri)
    # obstore has a single try: whoever asks goes on.
    options: dict[str, Any] = {
        "prefix": prefix or None, "retry_config": {"max_retries": 0},
        "client_options": {"timeout": f"{ANSWER_SECONDS}s", "connect_timeout": f"{CONNECT_SECONDS}s"},
    }
    if endpoint_of(uri).startswith("http://"):
        options["client_options"]["allow_http"] = True
    try:
        if scheme == "gs":
            return stores.GCSStore(bucket, **options)
        if scheme == "az":
            return stores.AzureStore(bucket, **options)
        return _s3_store(uri, bucket, options)
    except (BaseError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        line = str(error).strip().partition("\n")[0].rstrip(".")
        raise BucketError(f"{uri} cannot be used ({line}): set what the cloud's own tools need") from None


def _s3_store(uri: str, bucket: str, options: dict[str, Any]) -> Any:
    import obstore.store as stores

    config = {"region": _region() or "us-east-1"}
    if "amazonaws.com" not in endpoint_of(uri):
        config["endpoint"] = endpoint_of(uri)
    if "AWS_SKIP_SIGNATURE" not in os.environ:
        options["credential_provider"] = _credentials(uri)
    return stores.S3Store(bucket, config=config, **options)  # type: ignore[arg-type]


def endpoint_of(uri: str) -> str:
    """Who is asked for the bucket."""
    scheme = parts(uri)[0]
    if scheme == "gs":
        return "https://storage.googleapis.com"
    if scheme == "az":
        return f"https://{os.environ.get('AZURE_STORAGE_ACCOUNT_NAME', 'ACCOUNT')}.blob.core.windows.net"
    given = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    profile = {} if given else _session().get_scoped_config()
    return given or profile.get("endpoint_url") or f"https://s3.{_region() or 'us-east-1'}.amazonaws.com"


def region_of(uri: str) -> str | None:
    """The region that a store of Amazon's kind says a bucket is in, to whoever asks; None if it does not say."""
    request = urllib.request.Request(f"{endpoint_of(uri)}/{parts(uri)[1]}", method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=CONNECT_SECONDS) as answer:
            return answer.headers["x-amz-bucket-region"]
    except urllib.error.HTTPError as refusal:
        return refusal.headers["x-amz-bucket-region"]
    except (OSError, ValueError):
        return None


def _region() -> str | None:
    return os.environ.get("AWS_REGION") or _session().get_config_variable("region")


@functools.cache
def _session() -> Any:
    """botocore's session: it reads environment and profiles as Amazon's own tools do."""
    try:
        import botocore.session
    except ImportError:
        raise UserError("s3://… needs the package botocore: run `pip install 'tune-mnist[cloud]'`") from None
    return botocore.session.get_session()


def _credentials(uri: str) -> Callable[[], dict[str, Any]]:
    """What obstore asks for the keys of environment, profile, single sign-on or role, whichever there is."""
    from botocore.exceptions import BotoCoreError

    def ask() -> dict[str, Any]:
        try:
            keys = credentials.get_frozen_credentials()
        except BotoCoreError as error:
            raise BucketError(f"no credentials for {uri} ({error}): sign in, then run the same command again") from None
        renewed = datetime.now(timezone.utc) + timedelta(minutes=CREDENTIALS_MINUTES)
        return {
            "access_key_id": keys.access_key, "secret_access_key": keys.secret_key, "token": keys.token,
            "expires_at": renewed,
        }

    try:
        credentials = _session().get_credentials()
    except BotoCoreError as error:
        raise BucketError(f"no credentials for {uri} ({error}): correct AWS_PROFILE or the profile") from None
    if credentials is None:
        remedy = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role"
        raise BucketError(f"no credentials for {uri}: {remedy}")
    ask()
    return ask
