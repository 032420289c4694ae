"""Calls of one registry over the session of oras-py, and with the tokens that it gets.

oras-py itself is not asked for contents. It sends its token to whatever host an upload is moved to, waits for no end of
time, tries again what can't get better for two minutes, keeps a token that does not suffice, takes the realm of basic
authentication for an address, reads a whole file before it sends it, and compares no digest.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from loramerge.registry.address import is_loopback, root_of
from loramerge.registry.credentials import Credentials, credentials_for
from loramerge.registry.errors import RegistryError, lost, not_a_registry, refused

if TYPE_CHECKING:
    from oras.client import OrasClient
    from requests import PreparedRequest, Response, Session

SECONDS = 30.0
"""Without any answer."""
_FOR_UPLOADS = 10
"""How many times as long: a registry may read all of what it got before it says that it took it."""
_REDIRECTS = 5
_UNAUTHORIZED, _SEE_OTHER = 401, 303

Body = Callable[[], "IO[bytes] | bytes"]
"""Opens what is sent, anew for each try."""


class RegistryClient:
    """One registry, for as long as a command looks at one thing in it.

    Args:
        host: With its port, if it has one.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self._root = root_of(host)
        self._client: OrasClient | None = None
        self._authorization: dict[str, str] = {}
        self._known: Credentials | None = None

    @property
    def knows_somebody(self) -> bool:
        """Whether somebody is logged in, as far as the registry asked for it."""
        return self._known is not None

    @contextmanager
    def call(
        self,
        method: str,
        where: str,
        headers: Mapping[str, str] | None = None,
        *,
        body: Body | None = None,
        good: tuple[int, ...] = (200,),
    ) -> Iterator[Response]:
        """One try at one call; the answer's body is to be read inside the block.

        Args:
            method: GET, HEAD, POST, PUT or DELETE.
            where: A path, or the address that the registry gave.
            headers: What else to send.
            body: What to send.
            good: Statuses that are what was asked for.

        Raises:
            RegistryError: There is another answer, or none.
        """
        from requests import RequestException
        from urllib3.exceptions import HTTPError

        try:
            with self._answer(method, urljoin(self._root, where), {**(headers or {})}, body) as response:
                if response.status_code not in good:
                    raise refused(response, self.host, known=self.knows_somebody)
                yield response
        except (RequestException, HTTPError, ConnectionError, TimeoutError, UnicodeError) as error:
            raise lost(error, self.host) from error

    def _answer(self, method: str, url: str, headers: dict[str, str], body: Body | None) -> Response:
        """The answer at the end of all redirects; no other host is told who is logged in."""
        asked = False
        for _ in range(_REDIRECTS + 2):
            ours = _host_of(url) == _host_of(self._root)
            response = self._send(method, url, {**headers, **(self._authorization if ours else {})}, body)
            if response.status_code == _UNAUTHORIZED and ours and not asked:
                asked = True
                if self._log_in(response.headers.get("WWW-Authenticate", "")):
                    response.close()
                    continue
            if not response.is_redirect:
                return response
            response.close()
            if response.status_code == _SEE_OTHER and method != "HEAD":
                method, body = "GET", None
            url = urljoin(url, response.headers["Location"])
        raise RegistryError(f"{self.host} redirects without end", "check the name of the registry and the proxy")

    def _send(self, method: str, url: str, headers: Mapping[str, str], body: Body | None) -> Response:
        data = body() if body is not None else None
        how: Any = {"stream": True, "allow_redirects": False, "verify": _authorities()}
        try:
            seconds = SECONDS * (1 if body is None else _FOR_UPLOADS)
            return self._session.request(method, url, headers=headers, data=data, timeout=seconds, **how)
        finally:
            if data is not None and not isinstance(data, bytes):
                data.close()

    def _log_in(self, challenge: str) -> bool:
        """Do what the registry asks for; whether there is anything to try again with."""
        self._known = credentials_for(self.host)
        if challenge.lower().startswith("basic"):
            if self._known is None:
                return False
            self._authorization = {"Authorization": f"Basic {self._known.basic}"}
            return True
        token = self._token(challenge)
        self._authorization = {"Authorization": f"Bearer {token}"} if token else {}
        return bool(token)

    def _token(self, challenge: str) -> str | None:
        """What the registry's own service gives for a login, or for none; None where it gives nothing."""
        from oras.auth.utils import parse_auth_header
        from requests import JSONDecodeError

        asked = parse_auth_header(challenge)
        if not asked.realm:
            return None
        auth: Any = self._oras.auth
        try:
            if self._known is None:
                token = auth.request_anonymous_token(asked)
            else:
                auth.set_basic_auth(self._known.user, self._known.password)
                token = auth.request_token(asked)
        except (JSONDecodeError, AttributeError):
            raise not_a_registry(urlsplit(asked.realm).netloc or self.host) from None
        return token if isinstance(token, str) and token.isprintable() else None

    @property
    def _oras(self) -> OrasClient:
        if self._client is None:
            from oras.client import OrasClient

            self._client = OrasClient(hostname=self.host, tls_verify=_authorities())
            self._client.session.auth = _as_it_is
            for scheme in ("https://", "http://"):
                self._client.session.mount(scheme, _bounded())
        return self._client

    @property
    def _session(self) -> Session:
        session: Session = self._oras.session
        return session


def _bounded() -> Any:
    """Sends with a limit of time, and in the clear to this machine itself alone: tokens are asked for as well."""
    from requests.adapters import HTTPAdapter

    class Bounded(HTTPAdapter):
        def send(self, request: PreparedRequest, *args: Any, **more: Any) -> Response:
            address = urlsplit(str(request.url))
            if address.scheme != "https" and not is_loopback(address.netloc):
                raise RegistryError(
                    f"the registry points to {address.hostname}, which is not https", "ask whoever runs the registry"
                )
            return super().send(request, *args, **{**more, "timeout": more.get("timeout") or SECONDS})

    return Bounded()


def _as_it_is(request: PreparedRequest) -> PreparedRequest:
    """Keeps requests from sending what ~/.netrc has."""
    return request


def _authorities() -> bool | str:
    """Whose certificates count: those that the environment names, or those of most browsers."""
    named = (os.environ.get(name) for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"))
    return next(filter(None, named), True)


def _host_of(url: str) -> tuple[str, str]:
    address = urlsplit(url)
    return address.scheme, address.netloc.lower()
