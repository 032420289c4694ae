"""With what files on a Hub begin: some hundred kilobytes of what may have gigabytes."""

from __future__ import annotations

from loramerge.files.outline import header_by
from loramerge.hub.retry import patiently


def header_of(repo: str, name: str, commit: str) -> bytes:
    """With what a safetensors file of a repository begins: at least all of its header, if it has one.

    Args:
        repo: `owner/name`.
        name: The file in it.
        commit: 40 hex digits.

    Raises:
        Exception: What the client raises.
    """
    return header_by(lambda count: patiently(lambda: _start_of(repo, name, commit, count)))


def _start_of(repo: str, name: str, commit: str, count: int) -> bytes:
    """The first bytes; no more are taken where a server sends them all."""
    from huggingface_hub import constants, hf_hub_url
    from huggingface_hub.utils import (  # type: ignore[attr-defined]  # exported lazily since 1.31
        build_hf_headers,
        get_session,
        hf_raise_for_status,
    )

    asked = {**build_hf_headers(), "Range": f"bytes=0-{count - 1}", "Accept-Encoding": "identity"}
    url, seconds = hf_hub_url(repo, name, revision=commit), constants.HF_HUB_DOWNLOAD_TIMEOUT
    with get_session().stream("GET", url, headers=asked, timeout=seconds, follow_redirects=True) as response:
        if response.is_error:
            response.read()  # why, for the error
        hf_raise_for_status(response)
        start = b""
        for piece in response.iter_bytes():
            start += piece
            if len(start) >= count:
                break
        return start[:count]
