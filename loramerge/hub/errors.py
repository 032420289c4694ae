"""What went wrong between huggingface_hub and a Hub, in plain words. No message shows a token or a header."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb
from typing import TYPE_CHECKING

from loramerge.errors import PublishError, SourceError
from loramerge.hub.guarded import UnaskedError

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

_LOG_IN = "log in with `hf auth login` or set HF_TOKEN"
_MAY_WRITE = "log in with `hf auth login`, or set HF_TOKEN to a token with write permission"


@contextmanager
def explained(reference: str, repo: str, revision: str | None, *, publishing: bool = False) -> Iterator[None]:
    """Turn every failure of a Hub call inside the block into an error that says what to do.

    Args:
        reference: What messages begin with.
        repo: `owner/name`.
        revision: Branch, tag or commit that was asked for.
        publishing: The block writes to the repository.

    Raises:
        PublishError: A call failed while publishing.
        SourceError: A call failed otherwise.
    """
    from huggingface_hub.errors import OIDCError
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # exported lazily since 1.31, for 1.x and 2.x

    try:
        yield
    except (httpx.HTTPError, OIDCError, OSError, ValueError, RuntimeError) as error:  # hf_xet raises RuntimeError
        cause = root(error)
        message, hint = _untrusted(cause) or (publishing and _refused(cause, repo)) or _explain(cause, repo, revision)
        raise (PublishError if publishing else SourceError)(f"{reference}: {message}", hint=hint) from error
    except (LookupError, TypeError, AttributeError) as error:
        if not _is_the_clients(error):
            raise
        message, hint = _not_a_hub(error)
        raise (PublishError if publishing else SourceError)(f"{reference}: {message}", hint=hint) from error


def _is_the_clients(error: BaseException) -> bool:
    """Whether it was raised in huggingface_hub, which takes an answer apart without looking whether it is one."""
    last = [frame for frame, _ in walk_tb(error.__traceback__)][-1]
    return str(last.f_globals.get("__name__", "")).startswith("huggingface_hub")


def root(error: Exception) -> Exception:
    """What failed first: the client wraps it in "not in the local cache either" or "error while uploading"."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    wrappers = {LocalEntryNotFoundError, ValueError, RuntimeError}
    while type(error) in wrappers and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


def _untrusted(error: Exception) -> tuple[str, str] | None:
    """What keeps a CI from getting a token as a trusted publisher; None for the rest."""
    from huggingface_hub.errors import HfHubHTTPError, OIDCError

    resource = os.environ.get("HF_OIDC_RESOURCE")
    match error:
        case OIDCError():
            return f"HF_OIDC_RESOURCE is {resource}, and there is no identity to show for it", (
                "in GitHub Actions, give the job `permissions: id-token: write`; elsewhere set HF_OIDC_ID_TOKEN"
            )
        case HfHubHTTPError() if error.response.url.path.endswith("/oauth/token"):
            return f"the Hub does not trust this CI to publish to {resource}", (
                f"add its repository, branch and workflow under Trusted Publishers in the settings of {resource}"
            )
        case _:
            return None


def _refused(error: Exception, repo: str) -> tuple[str, str] | None:
    """What means something else to one who writes than to one who reads; None for the rest."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    match error:
        case HfHubHTTPError():
            return _unwritable(error, repo)
        case OfflineModeIsEnabled():
            return "offline: nothing can be published", "unset HF_HUB_OFFLINE, or run with --no-publish"
        case ValueError() if "Invalid metadata in README.md" in str(error):
            return "the Hub does not accept the model card's metadata", "correct `license` in the recipe"
        case OSError(strerror=str(reason), filename=str(name)) if not isinstance(error, ConnectionError):
            return f"{name}: {reason}", "make the artifact anew, or mend what is named"
        case _:
            return None


def _unwritable(error: HfHubHTTPError, repo: str) -> tuple[str, str] | None:
    from huggingface_hub import constants, errors

    match error, error.response.status_code:
        case errors.GatedRepoError(), _:
            return f"{repo} is gated", f"accept its conditions at {constants.ENDPOINT}/{repo}, then {_MAY_WRITE}"
        case errors.RepositoryNotFoundError(), _:
            return f"{repo} does not exist, or you may not see it", f"check the name; {_MAY_WRITE}"
        case _, 401:
            return "the Hub got no token, or does not accept it", _MAY_WRITE
        case _, 403:
            return f"the Hub forbids writing to {repo}", f"check the owner; {_MAY_WRITE}"
        case _:
            return None


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
            return _not_a_hub(error)


def _not_a_hub(error: Exception) -> tuple[str, str]:
    from huggingface_hub import constants

    why = f": {error}" if isinstance(error, UnaskedError) else ""
    return f"{constants.ENDPOINT} did not answer as a Hub does{why}", "check HF_ENDPOINT and the proxy, and try again"


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
