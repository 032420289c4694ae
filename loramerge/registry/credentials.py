"""What `docker login` and `oras login` left: `config.json` in $DOCKER_CONFIG or ~/.docker, and credential helpers.

oras-py does not know DOCKER_CONFIG, and goes on without a word where a helper fails.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loramerge.files.reading import content_of
from loramerge.registry.errors import RegistryError

_DOCKER_HUB = "https://index.docker.io/v1/"
_SECONDS = 60.0
"""For a helper, which may ask its user."""
_TOKEN = "<token>"  # noqa: S105  what helpers call the user of an identity token


@dataclass(frozen=True)
class Credentials:
    """Who is logged in to a registry."""

    user: str
    password: str = field(repr=False)

    @property
    def basic(self) -> str:
        """As the header of basic authentication has them."""
        return base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


def credentials_for(host: str) -> Credentials | None:
    """Who is logged in to a registry; None for nobody.

    Args:
        host: With its port, if it has one.

    Raises:
        RegistryError: The file, or the helper that it names, can't be used.
    """
    place = Path(os.environ.get("DOCKER_CONFIG") or "~/.docker") / "config.json"
    try:
        place = place.expanduser()
        config = json.loads(content_of(place))
        helpers, entries = config.get("credHelpers", {}), config.get("auths", {})
        names = _entry_names(host)
        helper = next((helpers[name] for name in names if name in helpers), config.get("credsStore"))
        entry: dict[str, Any] = next((entries[name] for name in names if name in entries), {})
        return _asked(str(helper), names[0]) if helper else _in_config(entry)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, RuntimeError) as error:
        raise RegistryError(
            f"{place} can't be read: {getattr(error, 'strerror', None) or error}", "correct its permissions"
        ) from None
    except (ValueError, AttributeError, TypeError, KeyError):
        raise RegistryError(f"{place} is not as `docker login` writes it", "log in again") from None


def _entry_names(host: str) -> list[str]:
    """What entries of a registry may be called; Docker Hub has a name of its own."""
    if host in {"docker.io", "index.docker.io", "registry-1.docker.io"}:
        return [_DOCKER_HUB, "docker.io"]
    return [host, f"https://{host}", f"https://{host}/", f"https://{host}/v1/", f"https://{host}/v2/", f"http://{host}"]


def _in_config(entry: Mapping[str, Any]) -> Credentials | None:
    if entry.get("identitytoken"):
        raise _identity_token()
    if auth := entry.get("auth"):
        user, _, password = base64.b64decode(auth, validate=True).decode().partition(":")
        return Credentials(user, password)
    return Credentials(str(entry["username"]), str(entry["password"])) if "username" in entry else None


def _asked(helper: str, name: str) -> Credentials | None:
    """What a credential helper says: https://github.com/docker/docker-credential-helpers."""
    program = f"docker-credential-{helper}"
    if not re.fullmatch(r"[\w.-]+", helper, re.ASCII):
        raise ValueError(helper)
    try:
        done = subprocess.run(  # noqa: S603  the program that the user's own configuration names
            [program, "get"], input=name.encode(), capture_output=True, timeout=_SECONDS, check=False
        )
    except FileNotFoundError:
        raise RegistryError(f"{program}, which Docker's configuration names, is not on PATH", "install it") from None
    except subprocess.TimeoutExpired:
        raise RegistryError(f"{program} did not answer within {_SECONDS:.0f} s", "log in again") from None
    if done.returncode != 0:
        if b"not found" in done.stdout + done.stderr:
            return None
        raise RegistryError(f"{program} failed for {name}", "run it by hand, or log in again")
    said = json.loads(done.stdout)
    if said["Username"] == _TOKEN:
        raise _identity_token()
    return Credentials(said["Username"], said["Secret"])


def _identity_token() -> RegistryError:
    return RegistryError(
        "the login is an identity token, which oras-py can't use", "log in with a user and a password or access token"
    )
