"""Answers of a Hub are taken as they are sent, and end: a few packed kilobytes unpack to more than a machine holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_ASKED = "identity"
_LARGEST = 1 << 28  # bytes of an answer that is no file; those of a repository of 100,000 files have a tenth of it


class UnaskedError(ValueError):
    """An answer has a form or a size that nobody asked for; the message says which."""


def guard() -> None:
    """Have the client of this process ask for bodies that are not packed, and refuse others.

    The client stays the one that it is: whoever gave it a proxy or a certificate of his own keeps them.
    """
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]  # exported lazily since 1.31

    session = get_session()
    hooks = session.event_hooks
    if _look_at not in hooks["response"]:
        session.headers["Accept-Encoding"] = _ASKED
        session.event_hooks = {**hooks, "response": [*hooks["response"], _look_at]}


def _look_at(response: Any) -> None:
    """Look at what an answer says of itself, before any of its body is read."""
    from huggingface_hub import constants

    packing = response.headers.get("Content-Encoding") or _ASKED
    if packing.lower() != _ASKED:
        raise UnaskedError(f"it packs its answers ({packing}), which nobody asked for")
    if str(response.request.url).startswith(f"{constants.ENDPOINT}/api/"):  # all else are files, of any size
        response.stream = _limited(response.stream)


def _limited(stream: Any) -> Any:
    """The same, up to what an answer may have."""
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # exported lazily since 1.31, for 1.x and 2.x

    class Limited(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            left = _LARGEST
            for piece in stream:
                left -= len(piece)
                if left < 0:
                    raise UnaskedError(f"it answers with more than {_LARGEST >> 20} MiB")
                yield piece

        def close(self) -> None:
            stream.close()

    return Limited()
