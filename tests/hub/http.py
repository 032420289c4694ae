"""Requests and answers, apart from sockets."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from hub.store import Store

KIND = r"(?P<kind>model|dataset|space)s"
NAME = r"(?P<name>[^/]+/[^/]+)"
REVISION = r"(?P<revision>[^/]+)"
IN_REPOSITORY = rf"/((?P<kind>dataset|space)s/)?{NAME}"


@dataclass(frozen=True)
class Request:
    """One call."""

    method: str
    target: str
    headers: Message
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query)

    @property
    def token(self) -> str:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def json(self) -> Any:
        return json.loads(self.body or b"{}")


@dataclass(frozen=True)
class Answer:
    """What is sent back. A HEAD request gets the same without the body."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, value: object, headers: Mapping[str, str] | None = None, *, status: int = 200) -> Answer:
        return cls(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})


class RefusedError(Exception):
    """The Hub says no, in the headers that the client reads."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str = "",
        *,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        said = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **(headers or {})}
        self.answer = Answer.json({"error": message} if body is None else body, said, status=status)


@dataclass(frozen=True)
class Route:
    """A method and a path pattern whose named groups become the action's arguments."""

    method: str
    pattern: str
    action: Callable[..., Answer]

    def answer(self, store: Store, request: Request) -> Answer | None:
        """The answer; None when this is not the route."""
        match = re.fullmatch(self.pattern, request.path)
        method = "GET" if request.method == "HEAD" else request.method
        return self.action(store, request, **match.groupdict()) if match and method == self.method else None


def ranged(request: Request, data: bytes, headers: Mapping[str, str]) -> Answer:
    """The file, or the one range of it that the request asks for (RFC 9110, section 14)."""
    headers = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream", **headers}
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range") or "")
    if not match:
        return Answer(200, data, headers)
    first, last = int(match[1]), min(int(match[2] or len(data)), len(data) - 1)
    if first >= len(data):
        raise RefusedError(416, "Range Not Satisfiable", headers={"Content-Range": f"bytes */{len(data)}"})
    return Answer(206, data[first : last + 1], {**headers, "Content-Range": f"bytes {first}-{last}/{len(data)}"})
