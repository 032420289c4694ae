"""A repository in a registry: manifests, blobs and tags. Every call is repeated with patience."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

from loramerge.registry.address import is_digest
from loramerge.registry.client import Body, RegistryClient
from loramerge.registry.errors import NO_DELETION, RegistryError, not_a_registry
from loramerge.registry.manifest import ACCEPTED, LARGEST, Descriptor, MalformedError, Manifest, digest_of_bytes
from loramerge.registry.retry import patiently

if TYPE_CHECKING:
    from requests import Response

_MOST_PAGES = 1000
_BYTES = "application/octet-stream"
_NO_DELETION = "delete it on the registry's own pages, or ask whoever runs it to allow deletion"


class ArtifactRepository:
    """One repository.

    Args:
        host: The registry, with its port if it has one.
        name: What it is called there.
    """

    def __init__(self, host: str, name: str) -> None:
        self.host, self.name = host, name
        self.client = RegistryClient(host)

    def manifest(self, reference: str) -> Manifest:
        """What a tag or a digest names.

        Raises:
            RegistryError: There is none, it is no manifest, or it has another digest.
        """
        return patiently(self.host, lambda: self._manifest(reference))

    def find(self, reference: str) -> Manifest | None:
        """The same; None where there is no such tag or digest, or no such repository."""
        try:
            return self.manifest(reference)
        except RegistryError as error:
            if not error.not_found:
                raise
            return None

    def push(self, manifest: Manifest, reference: str, *, etag: str = "") -> str:
        """Put a manifest under a tag or its digest.

        Args:
            manifest: What refers to nothing that is not there.
            reference: The tag or the digest.
            etag: What is to be there still, as the registry calls it.

        Returns:
            The digest of the manifest that it is a referrer of, where the registry keeps account of referrers.
        """
        headers = {"Content-Type": manifest.media_type, **({"If-Match": etag} if etag else {})}

        def attempt() -> str:
            with self.client.call(
                "PUT", self._path("manifests", reference), headers, body=lambda: manifest.content, good=(201,)
            ) as response:
                return response.headers.get("OCI-Subject", "")

        return patiently(self.host, attempt)

    def has(self, blob: Descriptor) -> bool:
        """Whether a blob is there, with the size that it should have."""

        def attempt() -> bool:
            with self.client.call("HEAD", self._path("blobs", blob.digest), good=(200, 404)) as response:
                told = response.headers.get("Content-Length", "")
                return response.status_code == 200 and told in {"", str(blob.size)}  # noqa: PLR2004

        return patiently(self.host, attempt)

    def upload(self, blob: Descriptor, opened: Callable[[], IO[bytes]]) -> None:
        """Send a blob: from its beginning at each try, and never all of it in memory."""
        body: Body = opened if blob.size else bytes

        def attempt() -> None:
            with self.client.call("POST", self._path("blobs", "uploads/"), good=(202,)) as response:
                place = urljoin(str(response.url), response.headers.get("Location", ""))
            address = urlsplit(place)
            query = urlencode([*parse_qsl(address.query, keep_blank_values=True), ("digest", blob.digest)])
            place = urlunsplit(address._replace(query=query))
            with self.client.call("PUT", place, {"Content-Type": _BYTES}, body=body, good=(201,)) as response:
                told = response.headers.get("Docker-Content-Digest", blob.digest)
            if told != blob.digest:
                raise RegistryError(f"{self.host} took {blob.digest} for {_known_digest(told)}", "try again", lost=True)

        patiently(self.host, attempt)

    @contextmanager
    def reading(self, blob: Descriptor, first: int = 0, last: int | None = None) -> Iterator[tuple[int, Response]]:
        """One try at the bytes of a blob.

        Args:
            blob: Which.
            first: Where to begin, if the registry can.
            last: Up to which byte, if the registry can.

        Yields:
            Where the answer begins, and the answer.
        """
        wanted = f"bytes={first}-{'' if last is None else last}"
        headers = {"Accept-Encoding": "identity", **({"Range": wanted} if first or last is not None else {})}
        with self.client.call("GET", self._path("blobs", blob.digest), headers, good=(200, 206)) as response:
            begun = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
            yield int(begun[1]) if response.status_code == 206 and begun else 0, response  # noqa: PLR2004

    def content(self, blob: Descriptor, most: int = LARGEST) -> bytes:
        """All of a small blob, compared with its digest.

        Raises:
            RegistryError: It can't be had, is larger than that, or is another one.
        """
        if blob.size > most:
            message = f"{blob.digest} has {blob.size} bytes, more than the {most} that are read"
            raise RegistryError(message, "do not use this artifact")

        def attempt() -> bytes:
            with self.reading(blob) as (_, response):
                found = read(response, blob.size, self.host)
            if digest_of_bytes(found) != blob.digest:
                raise RegistryError(f"what {self.host} sent for {blob.digest} is another file", "try again later")
            return found

        return patiently(self.host, attempt)

    def tags(self) -> list[str]:
        """Every tag; none where there is no repository."""
        found: list[str] = []
        for page in self.pages(self._path("tags", "list")):
            tags = page.get("tags") or []
            found += [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []
        return found

    def pages(self, where: str) -> Iterator[dict[str, Any]]:
        """The JSON objects of a listing, page by page; none where there is nothing such."""
        seen: set[str] = set()
        while where and where not in seen and len(seen) < _MOST_PAGES:
            seen.add(where)
            try:
                page, where = patiently(self.host, lambda place=where: self._page(place))  # type: ignore[misc]
            except RegistryError as error:
                if error.not_found:
                    return
                raise
            yield page

    def delete(self, reference: str) -> None:
        """Take a tag or a manifest away; nothing is amiss where it is not there.

        Raises:
            RegistryError: The registry does not let anybody; its status is 400 or 405.
        """
        try:
            patiently(self.host, lambda: self._delete(reference))
        except RegistryError as error:
            if error.status in NO_DELETION:
                message = f"the registry does not allow deletion ({error.status})"
                raise RegistryError(message, _NO_DELETION, status=error.status) from error
            raise

    def _delete(self, reference: str) -> None:
        with self.client.call("DELETE", self._path("manifests", reference), good=(200, 202, 204, 404)):
            pass

    def _manifest(self, reference: str) -> Manifest:
        where, headers = self._path("manifests", reference), {"Accept": ", ".join(ACCEPTED)}
        with self.client.call("GET", where, headers) as response:
            content = read(response, LARGEST, self.host)
            told = response.headers.get("Docker-Content-Digest", "")
        found = digest_of_bytes(content)
        for promised in (reference if is_digest(reference) else "", told if is_digest(told) else ""):
            if promised and promised != found:
                raise RegistryError(
                    f"what {self.host} sent for {promised} is another manifest: its digest is {found}",
                    "try again later; do not use this registry if it stays so",
                )
        try:
            return Manifest.parse(content)
        except MalformedError as error:
            raise RegistryError(
                f"what {self.host} has under {reference} is no manifest: {error}", "check the reference"
            ) from None

    def _page(self, where: str) -> tuple[dict[str, Any], str]:
        with self.client.call("GET", where) as response:
            content = read(response, LARGEST, self.host)
            following = response.links.get("next", {}).get("url", "")
            place = urljoin(str(response.url), following) if following else ""
        import json

        try:
            page = json.loads(content)
        except (ValueError, RecursionError):
            raise not_a_registry(self.host) from None
        if not isinstance(page, dict):
            raise not_a_registry(self.host)
        return page, place

    def _path(self, kind: str, what: str) -> str:
        return f"/v2/{self.name}/{kind}/{what}"


def read(response: Response, most: int, host: str) -> bytes:
    """A body that must not have more than so many bytes.

    Raises:
        RegistryError: It has more.
    """
    found = bytearray()
    for piece in response.iter_content(1 << 16):
        found += piece
        if len(found) > most:
            raise RegistryError(f"{host} sent more than the {most} bytes that there may be", "check the reference")
    return bytes(found)


def _known_digest(text: str) -> str:
    return text if is_digest(text) else "something else"
