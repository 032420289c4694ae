"""What went wrong between s3fs and a storage, in plain words. No message shows a key or a header."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from loramerge.errors import LoramergeError, PublishError, SourceError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

Said = tuple[str, str]
"""A message and a hint."""

_CREDENTIALS = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or log in with `aws sso login`"
_CHECK = "check the network, the proxy and AWS_ENDPOINT_URL"
_LATER = "try again later"
_ABSENT = {"NoSuchKey", "NoSuchVersion", "404"}
_RACE = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}
_UNSUPPORTED = {"NotImplemented", "501"}
_DAMAGED: Said = (
    "what arrived is not what was sent",
    "try again; if it goes on, look for what changes it on the way",
)
_FORBIDDEN: Said = (
    "the storage forbids {doing} {bucket}",
    f"check the name, and use credentials that may: {_CREDENTIALS}",
)
_ELSEWHERE: Said = ("{bucket} is in another region", "set AWS_REGION to {region}")
_BUSY: Said = ("the storage is busy", _LATER)
_WORDS: dict[str, Said] = {
    "NoSuchBucket": ("there is no bucket {bucket}", "check the name and AWS_ENDPOINT_URL; a bucket is never made"),
    "InvalidBucketName": ("there can be no bucket {bucket}", "write s3://bucket/prefix"),
    **dict.fromkeys(("AccessDenied", "AllAccessDisabled", "403"), _FORBIDDEN),
    "InvalidAccessKeyId": ("the storage does not know the access key", f"correct it: {_CREDENTIALS}"),
    "SignatureDoesNotMatch": (
        "the storage does not accept the secret of the access key",
        "correct AWS_SECRET_ACCESS_KEY, and look whether AWS_ENDPOINT_URL is as the storage calls itself",
    ),
    "ExpiredToken": ("the credentials have expired", "get new ones, for instance with `aws sso login`"),
    "InvalidToken": ("the storage does not accept AWS_SESSION_TOKEN", "get new credentials"),
    "RequestTimeTooSkewed": ("this machine's clock and the storage's differ", "set the clock"),
    **dict.fromkeys(
        ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301", "307"),
        _ELSEWHERE,
    ),
    **dict.fromkeys(("SlowDown", "ServiceUnavailable", "TooManyRequests", "Throttling", "429", "503"), _BUSY),
    **dict.fromkeys(
        ("BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"), _DAMAGED
    ),
    **dict.fromkeys(_ABSENT, ("an object that was there is gone", "run again")),
    "InvalidObjectState": ("the object is archived", "restore it first, as its storage class asks for"),
    "EntityTooLarge": ("the storage takes no file of this size", "make smaller files, with `max_shard_size`"),
    "QuotaExceeded": ("the storage is full", "free some space in it"),
    "KeyTooLongError": ("the storage takes no name of this length", "choose a shorter prefix"),
}


class RacedError(Exception):
    """An object is no longer as it was when it was looked at."""


class DamagedError(Exception):
    """What arrived is not what was sent."""


class SettingsError(Exception):
    """What the AWS libraries are told by the environment or a profile can't be."""


class StrangeError(Exception):
    """What answered is no storage: it lacks what every storage says."""


@contextmanager
def explained(place: str, bucket: str, *, publishing: bool = False) -> Iterator[None]:
    """Turn every failure of a call inside the block into an error that says what to do.

    Args:
        place: What messages begin with.
        bucket: The bucket's name.
        publishing: The block writes to it.

    Raises:
        PublishError: A call failed while publishing.
        SourceError: A call failed otherwise.
    """
    failed = PublishError if publishing else SourceError
    try:
        yield
    except LoramergeError:
        raise
    except RacedError as error:
        hint = "look at it, and run again" if publishing else "run again when nothing else writes it"
        raise failed(f"{place} was changed by somebody else at the same time: {error}", hint=hint) from error
    except DamagedError as error:
        raise failed(f"{place}: {_DAMAGED[0]}: {error}", hint=_DAMAGED[1]) from error
    except Exception as error:
        cause = root(error)
        said = _lacking(cause, publishing=publishing) or _unreachable(cause) or _answered(cause)
        if said is None and publishing:
            said = _unreadable(cause)
        if said is None:
            raise
        words = {"bucket": bucket, "doing": "writing to" if publishing else "reading", "region": _region_in(cause)}
        raise failed(f"{place}: {said[0].format(**words)}", hint=said[1].format(**words)) from error


def root(error: BaseException) -> BaseException:
    """What the AWS libraries raised: s3fs makes an `OSError` of it."""
    from botocore.exceptions import ClientError

    return error.__cause__ if isinstance(error.__cause__, ClientError) else error


def code_of(error: BaseException) -> str:
    """What the storage calls the failure; empty where it said nothing."""
    response = getattr(root(error), "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def is_absent(error: BaseException) -> bool:
    """Whether the storage says that there is no such object."""
    return code_of(error) in _ABSENT


def is_race(error: BaseException) -> bool:
    """Whether the storage refused because an object is not as it was."""
    return code_of(error) in _RACE


def is_unsupported(error: BaseException) -> bool:
    """Whether the storage does not know what it was asked for."""
    return code_of(error) in _UNSUPPORTED


def _lacking(error: BaseException, *, publishing: bool) -> Said | None:
    """What keeps the AWS libraries from asking at all."""
    from botocore import exceptions as known

    name = (known.ParamValidationError, known.InvalidDNSNameError, known.UnsupportedS3ArnError)
    trust = "if your network has its own certificate authority, name its file in AWS_CA_BUNDLE"
    nobody = "there are no credentials" if publishing else "it is not open to everybody, and there are no credentials"
    table: tuple[tuple[type[Exception] | tuple[type[Exception], ...], Said], ...] = (
        (known.NoCredentialsError, (nobody, _CREDENTIALS)),
        (known.PartialCredentialsError, ("the credentials are incomplete", _CREDENTIALS)),
        (known.ProfileNotFound, ("there is no such profile of credentials", "correct AWS_PROFILE")),
        ((known.CredentialRetrievalError, known.TokenRetrievalError), ("no credentials could be had", _CREDENTIALS)),
        (name, ("there can be no bucket {bucket}", "write s3://bucket/prefix")),
        (known.FlexibleChecksumError, _DAMAGED),
        (known.SSLError, ("the storage's certificate is not trusted", trust)),
    )
    return next((said for kind, said in table if isinstance(error, kind)), None)


def _unreachable(error: BaseException) -> Said | None:
    import aiohttp
    from botocore import exceptions
    from botocore.parsers import ResponseParserError

    lost = (exceptions.ConnectionError, exceptions.HTTPClientError, exceptions.IncompleteReadError)
    match error:
        case exceptions.ReadTimeoutError() | exceptions.ConnectTimeoutError() | TimeoutError():
            return "the storage did not answer in time", f"{_CHECK}, and {_LATER}"
        case ConnectionError() | aiohttp.ClientError() | EOFError():
            return "the connection to the storage broke off", f"{_CHECK}, and try again"
        case ResponseParserError() | StrangeError():
            return "what answered is no S3 storage", _CHECK
        case _ if isinstance(error, lost):
            return f"can't reach the storage{_endpoint()}", f"{_CHECK}, and try again"
        case _:
            return None


def _unreadable(error: BaseException) -> Said | None:
    match error:
        case OSError(strerror=str(reason), filename=str(name)):
            return _literal(f"{name}: {reason}"), "make the artifact anew, or mend what is named"
        case _:
            return None


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _endpoint() -> str:
    said = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return _literal(f" at {said}") if said else ""


def _answered(error: BaseException) -> Said | None:
    from botocore.exceptions import BotoCoreError, ClientError

    code = code_of(error)
    if code in _WORDS:
        return _WORDS[code]
    if isinstance(error, ClientError):
        status = _status(error)
        if status.startswith("5"):
            return f"the storage failed ({status})", _LATER
        return f"the storage refuses the request ({code or status})", "check the address and AWS_ENDPOINT_URL"
    if isinstance(error, (BotoCoreError, SettingsError)):
        said = _literal(f"the AWS libraries can't do what is asked by their settings: {error}")
        return said, "correct the variables that begin with AWS_, or the profile"
    return None


def _status(error: ClientError) -> str:
    return str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))


def _region_in(error: BaseException) -> str:
    response = getattr(error, "response", None) or {}
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return str(response.get("Error", {}).get("Region") or headers.get("x-amz-bucket-region") or "the bucket's region")
