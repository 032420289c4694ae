"""A Hub that answers every call with the same bytes, inside of this process: a server would take most of the time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def answering(data: bytes) -> Iterator[None]:
    """The client of huggingface_hub gets these bytes while the block runs, and no call is repeated."""
    from huggingface_hub import close_session, set_client_factory
    from huggingface_hub.utils import httpx
    from huggingface_hub.utils._http import default_client_factory

    headers = {"content-type": "application/json"}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=data, headers=headers))
    set_client_factory(lambda: httpx.Client(transport=transport))
    try:
        yield
    finally:
        close_session()
        set_client_factory(default_client_factory)
