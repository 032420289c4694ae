"""What went wrong between us and a registry, in plain words.

No message shows a token, a header or an address that a registry gave.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from loramerge.errors import PublishError, SourceError

if TYPE_CHECKING:
    from requests import Response

_LARGEST = 1 << 16
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _TOO_LARGE, _TOO_MANY = 401, 403, 404, 413, 429
_SERVER_ERROR = 500
NO_DELETION = frozenset({400, 405})
"""How a registry says that nothing can be deleted: the specification leaves it the choice."""


class RegistryError(Exception):
    """A registry refused, could not be reached, or did not answer as one.

    Args:
        message: What is wrong, for a sentence that begins with the reference.
        hint: What to do about it.
        status: The status of the answer; 0 where there was none.
        wait: Seconds that the registry asks to wait.
        lost: Whether the connection broke off.
    """

    def __init__(
        self, message: str, hint: str = "", *, status: int = 0, wait: float | None = None, lost: bool = False
    ) -> None:
        super().__init__(message)
        self.message, self.hint, self.status, self.wait, self.lost = message, hint, status, wait, lost

    @property
    def not_found(self) -> bool:
        """Whether there is no such thing."""
        return self.status == _NOT_FOUND

    @property
    def denied(self) -> bool:
        """Whether that is not for us to see, or to do."""
        return self.status in {_UNAUTHORIZED, _FORBIDDEN}

    @property
    def is_server_error(self) -> bool:
        """Whether the registry failed of itself."""
        return self.status >= _SERVER_ERROR


@contextmanager
def explained(reference: str, *, publishing: bool = False) -> Iterator[None]:
    """Turn every failure of a registry's call inside the block into an error that says what to do.

    Args:
        reference: What messages begin with.
        publishing: The block is about a target.

    Raises:
        PublishError: A call failed that is about a target.
        SourceError: A call failed otherwise.
    """
    kind = PublishError if publishing else SourceError
    try:
        import oras  # noqa: F401  whether it is there
    except ImportError as error:
        raise kind(
            f"{reference}: registries need the package oras: {error}", hint="pip install 'loramerge[oci]'"
        ) from None
    try:
        yield
    except RegistryError as error:
        raise kind(f"{reference}: {error.message}", hint=error.hint) from error


def refused(response: Response, host: str, *, known: bool) -> RegistryError:
    """What an answer means that is not the one that was asked for.

    Args:
        response: The answer; it is read as far as it says why.
        host: The registry.
        known: Whether somebody is logged in.
    """
    status, codes = response.status_code, _codes(response)
    log_in = f"log in with `docker login {host}` or `oras login {host}`"
    message, hint = f"the registry refuses the request ({status})", "check the reference"
    if status == _UNAUTHORIZED:
        message = "the registry does not accept the login" if known else "the registry wants a login"
        hint = log_in.replace("log in", "log in again") if known else log_in
    elif status == _FORBIDDEN:
        message, hint = "the registry denies access", f"use a login that may do this; {log_in}"
    elif status == _NOT_FOUND:
        message, hint = "the registry has no such repository, tag or digest", "check the reference"
    elif status == _TOO_LARGE:
        message, hint = "the registry takes nothing so large", "ask whoever runs it to raise its limit"
    elif status == _TOO_MANY:
        wait = response.headers.get("Retry-After", "")
        message = "the registry's rate limit is reached"
        hint = f"try again {f'in {wait} s' if wait.isdigit() else 'later'}{'' if known else f', or {log_in}'}"
    elif status >= _SERVER_ERROR:
        message, hint = f"the registry failed ({status})", "try again later"
    asked = response.headers.get("Retry-After", "")
    said = f": {', '.join(codes)}" if codes and status not in {_NOT_FOUND, _TOO_MANY} else ""
    return RegistryError(f"{message}{said}", hint, status=status, wait=float(asked) if asked.isdigit() else None)


def lost(error: Exception, host: str) -> RegistryError:
    """What means that there was no answer, or not all of it.

    Args:
        error: What requests or urllib3 raised.
        host: The registry.
    """
    from requests import exceptions

    cause = _certificate(error)
    if cause is not None:
        return RegistryError(
            f"the certificate of {host} is not trusted{cause}",
            "if your network has its own certificate authority, name its file in SSL_CERT_FILE",
        )
    if isinstance(error, (exceptions.InvalidURL, exceptions.InvalidSchema, exceptions.MissingSchema, UnicodeError)):
        return RegistryError(f"{host} sent an address that is none", "check the registry and the proxy")
    if isinstance(error, exceptions.Timeout) or "timed out" in str(error):
        return RegistryError(f"{host} did not answer in time", "try again later", lost=True)
    return RegistryError(
        f"can't reach {host}, or the connection broke off",
        "check the network, the proxy and the name of the registry, and try again",
        lost=True,
    )


def not_a_registry(host: str) -> RegistryError:
    """What answers is something else, such as the page of a captive portal."""
    return RegistryError(f"{host} did not answer as a registry does", "check the name of the registry and the proxy")


def _certificate(error: BaseException) -> str | None:
    """Why a certificate is not trusted; None where that is not what is wrong."""
    import ssl

    from requests import exceptions

    cause: BaseException | None = error
    found = isinstance(error, exceptions.SSLError)
    for _ in range(8):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f": {cause.verify_message}"
        arguments = getattr(cause, "args", ())
        inner = getattr(cause, "reason", None) or (arguments[0] if arguments else None)
        if not isinstance(inner, BaseException):
            break
        cause = inner
    return "" if found else None


def _codes(response: Response) -> list[str]:
    """What the registry calls it: words of the specification, such as DENIED; whatever else it says is left out."""
    try:
        body = next(response.iter_content(_LARGEST), b"")
        errors = json.loads(body)["errors"]
        found = [str(each["code"]) for each in errors]
    except Exception:  # noqa: BLE001  whatever a body may be: the status says enough
        return []
    return [code for code in found if re.fullmatch(r"[A-Z_]{1,40}", code)][:3]
