"""A file or folder on this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.errors import SourceError
from loramerge.files.file_view import FileBytes, digest_of
from loramerge.files.home import expanded
from loramerge.files.neighbours import beside
from loramerge.files.reading import open_file
from loramerge.hub.listing import CardFacts
from loramerge.sources.source import Given, Located, files_below, missing, not_promised

if TYPE_CHECKING:
    from loramerge.files.digest import FileDigest

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_DRIVE = re.compile(r"([A-Za-z]):[\\/]")
_HUB_NAME = re.compile(r"[\w-]+/[\w.-]+")


def is_relative(reference: str) -> bool:
    """Whether a reference is a path that starts at the recipe's folder."""
    return not _SCHEME.match(reference) and not expanded(reference).is_absolute()


@dataclass(frozen=True)
class PathSource:
    """A file or folder.

    Attributes:
        reference: As the recipe gives it.
        path: Absolute unless the recipe's own folder was given relative; not looked up.
        sha256: What the file must have; folders have none.
    """

    reference: str
    path: Path
    sha256: str | None = None

    @classmethod
    def parse(cls, given: Given, /) -> PathSource | None:
        """Take whatever has no scheme.

        Raises:
            SourceError: A revision was given, or the home folder is unknown.
        """
        if _SCHEME.match(given.reference):
            return None
        if given.revision is not None:
            raise SourceError(
                f"{given.reference}: a path has no revision", hint="leave out the revision, or write hf://owner/name"
            )
        try:
            path = expanded(given.reference)
        except RuntimeError as error:
            raise SourceError(f"{given.reference}: there is no such home folder") from error
        return cls(given.reference, given.folder / path, given.sha256)

    @property
    def local(self) -> Path | None:
        """The path."""
        return self.path

    def at(self, commit: str, /) -> PathSource:
        """The same: a path has no commits."""
        del commit
        return self

    def locate(self) -> Located:
        """List the files.

        Raises:
            SourceError: It is missing, empty or unreadable.
        """
        try:
            if self.path.is_dir():
                folder, files = self.path, tuple(sorted(files_below(self.path)))
                self._check_folder(files)
                card = CardFacts.here(folder / "README.md") if "README.md" in files else CardFacts()
            else:
                folder, files = self.path.parent, (self.path.name,)
                self._check_file()
                card = CardFacts()  # what lies beside a file is not about it alone
        except OSError as error:
            raise self._unreadable(error) from error
        fetch, bring = (partial(each, folder, files) for each in (self._fetch, self._bring))
        return Located(self.reference, None, files, fetch, card.licence, card=card, unproven=bring, prove=self._prove)

    def _check_folder(self, files: tuple[str, ...]) -> None:
        if not files:
            raise SourceError(f"{self.reference}: the folder {self.path} is empty")
        if self.sha256 is not None:
            raise SourceError(
                f"{self.reference}: it is a folder, and `sha256` is for one file",
                hint=f"name the file, such as {self.reference.rstrip('/')}/{files[0]}, or remove `sha256`",
            )

    def _check_file(self) -> None:
        if not self.path.exists():
            raise SourceError(f"{self.reference}: there is no file or folder {self.path}", hint=self._hint())
        if not self.path.is_file():
            raise SourceError(f"{self.reference}: {self.path} is neither a file nor a folder")
        if self.path.stat().st_size == 0:
            raise SourceError(f"{self.reference}: the file {self.path} is empty", hint="get the file again")

    def _hint(self) -> str:
        if os.name != "nt" and (drive := _DRIVE.match(self.reference)):
            there = f"/mnt/{drive[1].lower()}/{self.reference[3:]}".replace("\\", "/")
            return f"{drive[1]}: is a drive of Windows, and this system has none; under WSL it is {there}"
        if "\\" in self.reference:
            return f"parts of a path are separated by slashes: {self.reference.replace(chr(92), '/')}"
        endings = [".safetensors"] if self.reference.endswith(".safetensors") else []
        said = beside(self.path, endings, spelt=Path(self.reference))
        if not endings and not said.startswith("did you mean") and _HUB_NAME.fullmatch(self.reference):
            return f"a repository on the Hub is hf://{self.reference}"
        return said

    def _fetch(self, folder: Path, files: tuple[str, ...], names: Iterable[str], /) -> Path:
        wanted = tuple(names)
        self._bring(folder, files, wanted)
        for name in wanted if self.sha256 is not None else ():
            self._prove({name: digest_of(folder / name, self.reference)})
        return folder

    def _bring(self, folder: Path, files: tuple[str, ...], names: Iterable[str], /) -> Path:
        wanted = tuple(names)
        missing(wanted, files, reference=self.reference)
        try:
            for name in wanted:
                with open_file(folder / name):
                    pass
                if self.sha256 is not None and (known := FileBytes.at(folder / name, self.reference).known_digest()):
                    self._prove({name: known})
        except OSError as error:
            raise self._unreadable(error) from error
        return folder

    def _prove(self, found: Mapping[str, FileDigest]) -> None:
        for digest in found.values():
            if self.sha256 is not None and digest.sha256 != self.sha256:
                raise not_promised(self.reference, digest.sha256, self.sha256)

    def _unreadable(self, error: OSError) -> SourceError:
        return SourceError(
            f"{self.reference}: can't read {error.filename or self.path}: {error.strerror or error}",
            hint="check its permissions" if isinstance(error, PermissionError) else "",
        )
