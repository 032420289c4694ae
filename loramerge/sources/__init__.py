"""Where bases and LoRAs come from. One file per kind; `SOURCES` lists them in the order in which they are asked."""

from __future__ import annotations

import re
from pathlib import Path

from loramerge.errors import SourceError
from loramerge.files.pickles import PICKLES, conversion
from loramerge.sources.https import HttpsSource
from loramerge.sources.hub import HubSource
from loramerge.sources.oci import OciSource
from loramerge.sources.path import PathSource
from loramerge.sources.s3 import S3Source
from loramerge.sources.source import Fetch, Given, Located, Source, shown

__all__ = [
    "SOURCES",
    "Fetch",
    "HttpsSource",
    "HubSource",
    "Located",
    "OciSource",
    "PathSource",
    "S3Source",
    "Source",
    "parse",
    "shown",
]

SOURCES: tuple[type[Source], ...] = (
    HubSource,
    HttpsSource,
    OciSource,
    S3Source,
    PathSource,
)


def parse(reference: str, *, folder: Path, revision: str | None = None, sha256: str | None = None) -> Source:
    """Read a reference; nothing is looked up.

    Args:
        reference: `hf://owner/name[/path]`, `https://…`, `oci://host/name:tag[/path]`,
            `s3://bucket/path` or a path.
        folder: Where relative paths start.
        revision: Branch, tag or commit of a Hub repository; version of an object in a bucket.
        sha256: SHA-256 of the one file that the reference names.

    Raises:
        SourceError: The reference is of no known kind, names a pickle, or goes with a `revision` or `sha256` that
            its kind can't use.
    """
    if not reference.strip() or reference != reference.strip() or not reference.isprintable():
        raise SourceError(
            f"{shown(reference)!r} is no source: it is empty, or has spaces around it or control characters in it",
            hint="write paths with slashes, or in single quotes: in double quotes a backslash begins an escape"
            if re.search(r"[\0-\x1f]", reference.strip())
            else "write hf://owner/name[/file], https://…, oci://host/name:tag[/file], s3://bucket/path or a path",
        )
    if shown(reference).lower().endswith(PICKLES):
        raise SourceError(
            f"{shown(reference)} is refused: a pickle can run code when it is opened; only safetensors is read",
            hint=conversion(shown(reference)),
        )
    if sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise SourceError(f"{shown(reference)}: sha256 must be 64 lower-case hex digits, not {sha256!r}")
    given = Given(reference, folder, revision, sha256)
    for kind in SOURCES:
        if (source := kind.parse(given)) is not None:
            return source
    raise SourceError(
        f"{shown(reference)}: sources of this kind are not read",
        hint="write hf://owner/name[/file], https://… (with sha256), oci://host/name:tag, s3://bucket/path or a path "
        "without a scheme",
    )
