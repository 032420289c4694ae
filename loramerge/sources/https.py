"""A file on the web, pinned by its SHA-256."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from loramerge.errors import SourceError
from loramerge.files.cache import cache_folder
from loramerge.files.file_view import FileBytes
from loramerge.sources.keeping import keeping
from loramerge.sources.source import Given, Located, missing, shown, stays_inside

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?")


@dataclass(frozen=True)
class HttpsSource:
    """One file behind an address.

    Attributes:
        reference: As the recipe gives it; its query may hold a token, so messages leave it out.
        name: The last part of its path.
        sha256: What the file must have.
    """

    reference: str
    name: str
    sha256: str

    @classmethod
    def parse(cls, given: Given, /) -> HttpsSource | None:
        """Take `https://…`.

        Raises:
            SourceError: It has no SHA-256, names no file, or carries a revision or a password.
        """
        if not given.reference.startswith("https://"):
            return None
        address = shown(given.reference)
        host = given.reference.removeprefix("https://").partition("/")[0]
        if not _HOST.fullmatch(host):
            raise SourceError(
                f"{address}: what follows https:// must be a host name, without user and password",
                hint="write https://host/path/file.safetensors",
            )
        name = unquote(urlsplit(address).path.rpartition("/")[2])
        if not stays_inside(name) or "/" in name or name.startswith(".") or not name.isprintable():
            raise SourceError(f"{address} names no file", hint="write the address of one .safetensors file")
        if given.revision is not None:
            raise SourceError(
                f"{address}: an https source has no revision", hint="leave out the revision; `sha256` pins it"
            )
        if given.sha256 is None:
            raise SourceError(
                f"{address}: `sha256` is required, because what lies behind an address can change",
                hint="in a recipe, add `sha256:` as the author gives it, or as `sha256sum` prints it for the file; "
                "elsewhere, download the file and name that",
            )
        return cls(given.reference, name, given.sha256)

    @property
    def local(self) -> Path | None:
        """None: it has to be fetched."""
        return None

    def at(self, commit: str, /) -> HttpsSource:
        """The same: an address has no commits."""
        del commit
        return self

    def locate(self) -> Located:
        """Name the file. The SHA-256 says already what it is, so nothing is asked of the network."""
        return Located(shown(self.reference), None, (self.name,), self._fetch)

    def _fetch(self, names: Iterable[str], /) -> Path:
        missing(names, (self.name,), reference=shown(self.reference))
        from loramerge.sources.download import download  # TLS takes a third of the start-up time of `validate`

        folder = cache_folder() / self.sha256
        with keeping(shown(self.reference), folder):
            if not (folder / self.name).is_file() or not self._is_right(folder / self.name):
                download(self.reference, folder / self.name, sha256=self.sha256)
        return folder

    def _is_right(self, file: Path) -> bool:
        return FileBytes.at(file, shown(self.reference)).digest().sha256 == self.sha256
