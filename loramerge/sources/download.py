"""Fetches one file over https: streamed, hashed, and under its name only once it is right.

By the standard library: httpx logs every address with its query, which may hold a token, and stops at a SOCKS proxy.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import tempfile
from functools import partial
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from loramerge.errors import SourceError
from loramerge.sources.source import shown

_TIMEOUT = 30.0  # seconds without any answer


def download(url: str, file: Path, *, sha256: str) -> None:
    """Fetch `url` into `file`; a killed run leaves no file of that name.

    Raises:
        SourceError: The server does not give it, or gives another one.
        OSError: The file can't be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=".")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            found = _receive(url, stream)
        if found != sha256:
            raise SourceError(
                f"{shown(url)}: the file is not the one that was promised: its sha256 is {found}, expected {sha256}",
                hint="ask the author which is right; correct `sha256` only if the change is intended",
            )
        Path(temporary).replace(file)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _receive(url: str, file: IO[bytes]) -> str:
    """Copy the body into `file` and return its SHA-256."""
    digest, received = hashlib.sha256(), 0
    request = Request(url, headers={"User-Agent": "loramerge"})  # noqa: S310  the grammar admits https only
    opener = build_opener(HTTPSHandler(context=ssl.create_default_context()), _HttpsRedirects)
    try:
        with opener.open(request, timeout=_TIMEOUT) as answer:
            promised = answer.headers.get("Content-Length")
            for piece in iter(partial(_read, answer), b""):
                digest.update(piece)
                received += len(piece)
                file.write(piece)
    except HTTPError as error:
        error.close()
        raise _refused(error, shown(url)) from error
    except (URLError, HTTPException, _BrokenOffError) as error:
        raise _unreachable(error, shown(url)) from error
    if promised is not None and received != int(promised):
        raise SourceError(
            f"{shown(url)}: the download broke off after {received} of {promised} bytes", hint="try again"
        )
    return digest.hexdigest()


class _BrokenOffError(Exception):
    """The connection failed while the body came in; told apart from a full disk, which is an `OSError` too."""


def _read(answer: IO[bytes]) -> bytes:
    try:
        return answer.read(1 << 20)
    except OSError as error:
        raise _BrokenOffError(str(error)) from error


class _HttpsRedirects(HTTPRedirectHandler):
    """Follows redirects to https addresses only."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        if urlsplit(newurl).scheme != "https":
            fp.close()
            raise SourceError(
                f"{shown(req.full_url)}: it redirects to {shown(newurl)}, which is not https",
                hint="give the https address at which the file lies",
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _unreachable(error: Exception, address: str) -> SourceError:
    cause = error.reason if isinstance(error, URLError) else error.__cause__ or error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return SourceError(
            f"{address}: the server's certificate is not trusted: {cause.verify_message}",
            hint="if your network has its own certificate authority, name its file in SSL_CERT_FILE",
        )
    if isinstance(cause, TimeoutError):
        return SourceError(f"{address}: the server did not answer within {_TIMEOUT:.0f} s", hint="try again later")
    if isinstance(error, URLError):
        return SourceError(f"{address}: can't reach the server: {cause}", hint="check the network and the address")
    return SourceError(f"{address}: the download broke off: {cause}", hint="try again")


def _refused(error: HTTPError, address: str) -> SourceError:
    match error.code:
        case 401 | 403:
            return SourceError(
                f"{address}: the server refuses it ({error.code})",
                hint="download the file yourself and give its path, or add the access that the server wants",
            )
        case 404 | 410:
            return SourceError(f"{address}: there is no such file ({error.code})", hint="check the address")
        case 429:
            wait = error.headers.get("Retry-After", "")
            return SourceError(
                f"{address}: the server's rate limit is reached (429)",
                hint=f"try again in {wait} s" if wait.isdigit() else "try again later",
            )
        case code:
            return SourceError(f"{address}: the server failed ({code})", hint="try again later")
