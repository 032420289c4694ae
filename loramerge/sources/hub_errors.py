"""What went wrong between huggingface_hub and a Hub, in plain words. No message shows a token or a header."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from loramerge.errors import SourceError

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

_LOG_IN = "log in with `hf auth login` or set HF_TOKEN"


@contextmanager
def explained(reference: str, repo: str, revision: str | None) -> Iterator[None]:
    """Turn every failure of a Hub call inside the block into a `SourceError`.

    Args:
        reference: What messages begin with.
        repo: `owner/name`.
        revision: Branch, tag or commit that was asked for.
    """
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # exported lazily since 1.31, for 1.x and 2.x

    try:
        yield
    except (httpx.HTTPError, OSError, ValueError, RuntimeError) as error:  # hf_xet raises RuntimeError
        message, hint = _explain(_root(error), repo, revision)
        raise SourceError(f"{reference}: {message}", hint=hint) from error


def _root(error: Exception) -> Exception:
    """The client wraps what failed in "not in the local cache either"; the cause is what the user can mend."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    while type(error) in {LocalEntryNotFoundError, ValueError} and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


def _explain(error: Exception, repo: str, revision: str | None) -> tuple[str, str]:
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # exported lazily since 1.31, for 1.x and 2.x

    match error:
        case HfHubHTTPError():
            return _answered(error, repo, revision)
        case httpx.TimeoutException() | TimeoutError():
            return "the Hub did not answer in time", "try again, or allow more seconds in HF_HUB_DOWNLOAD_TIMEOUT"
        case httpx.HTTPError() | ConnectionError() if not isinstance(error, OfflineModeIsEnabled):
            cached = "; for a commit that was downloaded before, HF_HUB_OFFLINE=1 does without it"
            return (
                f"can't reach the Hub at {constants.ENDPOINT}, or the connection broke off",
                f"check the network, the proxy and HF_ENDPOINT, and try again{cached}",
            )
        case LocalEntryNotFoundError() | OfflineModeIsEnabled():
            return "offline, and the file is not in the cache", "run it once without HF_HUB_OFFLINE"
        case OSError(strerror=str(reason)):
            return (
                f"can't keep the file in {constants.HF_HUB_CACHE}: {reason}",
                "free some space, correct its permissions, or set HF_HUB_CACHE to another folder",
            )
        case _:
            return (
                f"{constants.ENDPOINT} did not answer as a Hub does",
                "check HF_ENDPOINT and the proxy, and try again",
            )


def _answered(error: HfHubHTTPError, repo: str, revision: str | None) -> tuple[str, str]:
    from huggingface_hub import constants, errors

    match error:
        case errors.GatedRepoError():  # before its parent, RepositoryNotFoundError
            return f"{repo} is gated", f"accept its conditions at {constants.ENDPOINT}/{repo}, then {_LOG_IN}"
        case errors.RepositoryNotFoundError():
            return f"{repo} does not exist or is private", f"check the name; {_LOG_IN}"
        case errors.RevisionNotFoundError():
            return f"{repo} has no revision {revision}", (
                "give a branch, a tag or a commit; where a lock names it, lock the recipe again"
            )
        case errors.RemoteEntryNotFoundError():
            return f"a file that {repo} lists at {revision} is not there", "try again later"
        case errors.DisabledRepoError():
            return f"the Hub has disabled {repo}", "use another source"
        case _:
            return _status(error, repo)


def _status(error: HfHubHTTPError, repo: str) -> tuple[str, str]:
    match error.response.status_code:
        case 401:
            return "the Hub does not accept the token", "log in again with `hf auth login`, or correct HF_TOKEN"
        case 403:
            return f"the Hub forbids reading {repo}", "use a token that may read it"
        case 429:
            wait = error.response.headers.get("Retry-After", "")
            return "the Hub's rate limit is reached", f"try again {f'in {wait} s' if wait.isdigit() else 'later'}"
        case status if error.response.is_server_error:
            return f"the Hub failed ({status})", "try again later"
        case status:
            return f"the Hub refuses the request ({status})", "check the reference and HF_ENDPOINT"
