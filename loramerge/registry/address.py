"""How registries, repositories, tags and digests are spelt.

https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md
"""

from __future__ import annotations

import ipaddress
import re

HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
NAME = rf"{_PART}(?:/{_PART})*"
TAG = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
DIGEST = r"sha256:[0-9a-f]{64}"
SCHEME = "oci://"
_DOCKER_HUB = {"docker.io": "registry-1.docker.io", "index.docker.io": "registry-1.docker.io"}


def is_digest(text: str) -> bool:
    """Whether a text names bytes by their SHA-256; no other algorithm is compared."""
    return re.fullmatch(DIGEST, text) is not None


def root_of(host: str) -> str:
    """Where a registry is asked: over TLS, but on this machine itself in the clear, as Docker does it.

    Args:
        host: With its port, if it has one.
    """
    host = _DOCKER_HUB.get(host, host)
    return f"{'http' if is_loopback(host) else 'https'}://{host}"


def is_loopback(host: str) -> bool:
    """Whether a host, with or without a port, is this machine itself."""
    bare = re.sub(r":[0-9]+$", "", host).strip("[]").lower()
    try:
        return bare == "localhost" or ipaddress.ip_address(bare).is_loopback
    except ValueError:  # a name
        return False
