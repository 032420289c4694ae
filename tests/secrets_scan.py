"""No token of any test is in what loramerge writes, says, logs, raises or publishes: looked after in every session.

Imported by conftest.py. What a test writes on purpose, such as a recipe with a token in an address, it names with
`on_purpose`; nothing else is exempt.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from loramerge.errors import LoramergeError

SECRETS = (
    "hf_loopback_tester",
    "hf_loopback_stranger",
    "hf_made_up",
    "hf_wrong",
    "hf_secret",
    "hf_jwt_loopback",
    "s3-loopback-secret",
    "AKIALOOPBACK",
    "=secret",  # in the query of an address
    ":secret@",  # a password in an address
)
_WORDS = (b"hf_", b"secret", b"AKIA")  # three are looked for in less time than all of them
assert all(any(word in each.encode() for word in _WORDS) for each in SECRETS)
_MOST = 5_000_000  # bytes: what is larger are weights
_ON_PURPOSE: set[Path] = set()
_FOUND: list[str] = []


def on_purpose(path: Path) -> Path:
    """Let a test write a token into a file, or into any below a folder; returns it."""
    _ON_PURPOSE.add(path.resolve())
    return path


def secret_in(data: bytes | str) -> str | None:
    """A token in bytes or text."""
    content = data.encode(errors="replace") if isinstance(data, str) else data
    if not any(word in content for word in _WORDS):
        return None
    return next((each for each in SECRETS if each.encode() in content), None)


def secrets_below(folder: Path) -> Iterator[str]:
    """`file: token` for every small file below a folder that has one, in its content or its name."""
    folder = folder.resolve()  # once: links are not followed, so what is below is resolved as well
    if not _ON_PURPOSE.isdisjoint((folder, *folder.parents)):
        return
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(each for each in folders if Path(here, each) not in _ON_PURPOSE)
        for path in (Path(here, each) for each in (*folders, *sorted(files))):
            if path in _ON_PURPOSE:
                continue
            if secret := secret_in(path.name):
                yield f"{path}: {secret} in its name"
            small = path.is_file() and not path.is_symlink() and path.stat().st_size < _MOST
            if small and (secret := secret_in(path.read_bytes())):
                yield f"{path}: {secret}"


def refuse(data: bytes | str, where: str) -> None:
    """Remember a token that should not be there; the session fails at its end, whatever the test makes of it."""
    if secret := secret_in(data):
        _FOUND.append(f"{where}: {secret}")


@pytest.fixture(scope="session", autouse=True)
def no_secrets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Listen to errors and logs while tests run; look through all files when they are done."""
    from hub.environment import CACHE

    original = LoramergeError.__init__

    def said(error: LoramergeError, message: str, *, hint: str = "") -> None:
        original(error, message, hint=hint)
        refuse(str(error), f"error {type(error).__name__}")

    handle = logging.Logger.handle

    def handled(logger: logging.Logger, record: logging.LogRecord) -> None:
        refuse(record.getMessage(), f"log of {record.name}")
        handle(logger, record)

    LoramergeError.__init__ = said
    logging.Logger.handle = handled
    yield
    LoramergeError.__init__ = original
    logging.Logger.handle = handle
    places = (tmp_path_factory.getbasetemp(), CACHE.parent, Path(__file__).parents[1] / "dist")
    found = [*_FOUND, *(each for place in places if place.exists() for each in secrets_below(place))]
    if found:
        pytest.fail("tokens where none may be:\n" + "\n".join(found), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Look through what a test printed."""
    report = yield
    for title, text in report.sections:
        refuse(text, f"{item.nodeid}, {title}")
    return report
