"""What can go wrong on the way, on purpose. A fault changes an answer, or how it is sent."""

from __future__ import annotations

import gzip
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from hub.http import Answer


class Fault(Protocol):
    """One thing that goes wrong."""

    @property
    def acts(self) -> bool:
        """Whether the server does what it was asked for before it goes wrong."""

    def spoil(self, answer: Answer, /) -> Answer:
        """The answer that is sent instead."""

    def body_sent(self, body: bytes) -> bytes:
        """The part of the body that leaves the server; the headers still promise all of it."""

    @property
    def resets(self) -> bool:
        """Whether the connection ends with a reset instead of an orderly close, when not all was sent."""


@dataclass(frozen=True)
class Harmless:
    """Nothing goes wrong: what faults are made of."""

    @property
    def acts(self) -> bool:
        return True

    def spoil(self, answer: Answer) -> Answer:
        return answer

    def body_sent(self, body: bytes) -> bytes:
        return body

    @property
    def resets(self) -> bool:
        return False


@dataclass(frozen=True)
class Meanwhile(Harmless):
    """Somebody else does something right after the answer was made."""

    action: Callable[[], object]

    def spoil(self, answer: Answer) -> Answer:
        self.action()
        return answer


@dataclass(frozen=True)
class Status(Harmless):
    """Another status."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    acts: bool = False

    def spoil(self, _answer: Answer) -> Answer:
        return Answer.json({"error": "injected"}, {"X-Error-Message": "injected", **self.headers}, status=self.status)


@dataclass(frozen=True)
class Slow(Harmless):
    """Nothing for a while."""

    seconds: float

    def spoil(self, answer: Answer) -> Answer:
        time.sleep(self.seconds)
        return answer


@dataclass(frozen=True)
class WrongBytes(Harmless):
    """As many bytes as promised, with one bit of each flipped."""

    def spoil(self, answer: Answer) -> Answer:
        return replace(answer, body=bytes(byte ^ 1 for byte in answer.body))


@dataclass(frozen=True)
class Packed(Harmless):
    """The same in a form that unpacks itself, behind as many zeros as are wanted: some thousandth of them is sent."""

    packing: str = "gzip"
    zeros: int = 0

    def spoil(self, answer: Answer) -> Answer:
        body = gzip.compress(b" " * self.zeros + answer.body)
        headers = {name: value for name, value in answer.headers.items() if name != "Content-Length"}
        return replace(answer, body=body, headers={**headers, "Content-Encoding": self.packing})


@dataclass(frozen=True)
class NotAHub(Harmless):
    """A page, as a captive portal sends it."""

    acts: bool = False

    def spoil(self, _answer: Answer) -> Answer:
        return Answer(200, b"<html>welcome</html>", {"Content-Type": "text/html"})


@dataclass(frozen=True)
class Truncated(Harmless):
    """Half of the body, then an orderly close."""

    def body_sent(self, body: bytes) -> bytes:
        return body[: len(body) // 2]


@dataclass(frozen=True)
class Reset(Truncated):
    """Half of the body, then a connection reset."""

    @property
    def resets(self) -> bool:
        return True


@dataclass
class Injection:
    """A fault that waits for the next calls of a method to a path."""

    method: str
    pattern: str
    fault: Fault
    times: int

    def strikes(self, method: str, path: str) -> bool:
        """Whether this call is hit; counts it if so."""
        if self.times <= 0 or method != self.method or not re.search(self.pattern, path):
            return False
        self.times -= 1
        return True
