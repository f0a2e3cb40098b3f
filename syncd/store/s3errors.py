"""The SDK's errors in syncd's words; imported by `s3` only.

- Messages are ours, plus the server's error code: the server's own text can repeat parts of the
  request.
- What an operator must mend is StoreRefused with a hint; what may pass is StoreUnavailable.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, Final

import aiohttp
from botocore import exceptions as sdk

from syncd.errors import (
    ObjectExists,
    ObjectNotFound,
    StoreError,
    StoreRefused,
    StoreUnavailable,
    StoreUnfit,
)

CREDENTIALS: Final = "check the access key and the secret that the daemon runs with"
_PERMISSIONS: Final = "compare what the credentials may do with `syncd policy writer`, `pruner` or `restorer`"
_REGION: Final = "set the target's region, or its endpoint_url"

_REFUSED: Final = {
    "NoSuchBucket": ("the bucket does not exist", "create it, or correct the URL"),
    "InvalidBucketName": ("the bucket's name is not valid", "correct the URL"),
    "InvalidAccessKeyId": ("the access key is unknown", CREDENTIALS),
    "SignatureDoesNotMatch": ("the secret does not belong to the access key", CREDENTIALS),
    "ExpiredToken": ("the credentials have expired", CREDENTIALS),
    "InvalidToken": ("the session token is not valid", CREDENTIALS),
    "AccessDenied": ("access denied", _PERMISSIONS),
    "AccountProblem": ("the account is blocked", "ask the provider"),
    "QuotaExceeded": ("the quota is used up", "make room, or raise it"),
    "RequestTimeTooSkewed": ("this host's clock is wrong", "set the clock, for example with chrony"),
    "AuthorizationHeaderMalformed": ("the bucket lives in another region", _REGION),
    "PermanentRedirect": ("the bucket lives in another region", _REGION),
    "IllegalLocationConstraintException": ("the bucket lives in another region", _REGION),
}
# Codes that come with a 4xx status although the same request can succeed later.
_PASSING: Final = frozenset(
    {"SlowDown", "RequestTimeout", "RequestTimeoutException", "TooManyRequests", "Throttling"}
    | {"BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody"}
)
_NO_OBJECT: Final = frozenset({"NoSuchKey", "NoSuchVersion"})
_NO_CREDENTIALS: Final = (
    sdk.NoCredentialsError,
    sdk.PartialCredentialsError,
    sdk.CredentialRetrievalError,
    sdk.UnknownCredentialError,
    sdk.ProfileNotFound,
    sdk.ConfigParseError,
    sdk.ConfigNotFound,
    sdk.InvalidConfigError,
    sdk.InvalidRegionError,
    sdk.TokenRetrievalError,
    sdk.NoAuthTokenError,
    sdk.SSOError,
    sdk.LoginError,
)
_NETWORK: Final = (
    sdk.HTTPClientError,
    sdk.ConnectionError,
    sdk.IncompleteReadError,
    sdk.FlexibleChecksumError,  # damaged on the way, or on the server's disk: another try tells
    aiohttp.ClientError,
    OSError,
)


@contextlib.contextmanager
def map_errors(where: str, what: str) -> Iterator[None]:
    """Raise StoreError's subclasses for everything that the SDK raises in the block."""
    try:
        yield
    except sdk.ClientError as error:
        raise from_answer(f"{where}: {what}", error.response) from error
    except _NO_CREDENTIALS as error:
        raise StoreRefused(
            f"{where}: {what}: no usable credentials ({type(error).__name__})", hint=CREDENTIALS
        ) from error
    except TimeoutError as error:
        raise StoreUnavailable(f"{where}: {what}: no answer in time") from error
    except sdk.SSLError as error:
        raise StoreUnavailable(
            f"{where}: {what}: TLS failed", hint="check the certificate, AWS_CA_BUNDLE and the clock"
        ) from error
    except _NETWORK as error:
        raise StoreUnavailable(f"{where}: {what}: {_cause(error)}") from error
    except sdk.BotoCoreError as error:
        raise StoreError(f"{where}: {what}: the S3 client gave up ({type(error).__name__})") from error


def from_answer(message: str, response: dict[str, Any]) -> StoreError:
    """The error for a server's answer; `response` as botocore parses it."""
    code = str(response.get("Error", {}).get("Code", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    error: StoreError
    if code in _REFUSED:
        sentence, hint = _REFUSED[code]
        error = StoreRefused(f"{message}: {sentence}", hint=hint)
    elif status == 409:
        error = StoreUnavailable(f"{message}: another put of it has not ended")
    elif code in _PASSING or status == 429 or (status >= 500 and status != 501):
        error = StoreUnavailable(f"{message}: the server answered {status} {code}")
    elif status == 412:
        error = ObjectExists(f"{message}: the name was created before")
    elif code in _NO_OBJECT:
        error = ObjectNotFound(f"{message}: no such object")
    elif status == 501:
        error = StoreUnfit(
            f"{message}: the server does not implement what syncd needs ({code})",
            hint="use a server that honours conditional creates",
        )
    elif status == 404:
        error = StoreRefused(
            f"{message}: what answers there does not speak S3 ({code})", hint="correct endpoint_url"
        )
    elif status in {401, 403}:
        error = StoreRefused(f"{message}: refused with {status} {code}", hint=_PERMISSIONS)
    elif 300 <= status < 400:
        error = StoreRefused(f"{message}: redirected ({status} {code})", hint=_REGION)
    else:
        error = StoreError(f"{message}: the server answered {status} {code}")
    return error


def _cause(error: BaseException) -> str:
    """A network error's kind; its text would name pools and URLs that nobody configured."""
    match error:
        case sdk.ReadTimeoutError() | sdk.ConnectTimeoutError():
            return "no answer in time"
        case sdk.EndpointConnectionError():
            return "cannot connect, or the connection was lost"
        case sdk.FlexibleChecksumError():
            return "the object arrived damaged"
        case sdk.ConnectionClosedError() | sdk.IncompleteReadError() | sdk.ResponseStreamingError():
            return "the connection was closed early"
        case _:
            return f"the connection failed ({type(error).__name__})"
