"""What every kind of source offers, and what they share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Protocol

from loramerge.errors import SourceError
from loramerge.files.file_view import FileBytes, digest_of
from loramerge.files.tensor_header import read_header
from loramerge.hub.listing import CardFacts
from loramerge.masking import masked

if TYPE_CHECKING:
    from loramerge.files.digest import FileDigest


@dataclass(frozen=True)
class Given:
    """What a recipe says of one source.

    Attributes:
        reference: Where it is.
        folder: The recipe's folder, at which relative paths start.
        revision: Branch, tag or commit.
        sha256: SHA-256 of the one file that the reference names, 64 lower-case hex digits.
    """

    reference: str
    folder: Path
    revision: str | None = None
    sha256: str | None = None


class Source(Protocol):
    """A parsed reference. Parsing touches neither disk nor network."""

    @property
    def reference(self) -> str:
        """The reference as the recipe gives it."""

    @property
    def local(self) -> Path | None:
        """The file or folder of this machine that is meant; None where it has to be fetched."""

    @classmethod
    def parse(cls, given: Given, /) -> Source | None:
        """Read the reference; None when it is of another kind.

        Raises:
            SourceError: It is of this kind and wrong.
        """

    def at(self, commit: str, /) -> Source:
        """The same at what `Located.revision` said; unchanged where the kind has no commits."""

    def locate(self) -> Located:
        """Find out what is there, and at which commit, without fetching any weights.

        Raises:
            SourceError: It is missing, refused, gated or unreachable.
        """


@dataclass(frozen=True)
class Located:
    """What a source turned out to be at one moment.

    Attributes:
        reference: The reference as the recipe gives it.
        revision: The 40-hex commit, for a source that has commits; in a registry the digest of the manifest.
        files: Names of all files in it, relative to it, '/'-separated, sorted. A reference to one file has one.
        fetch: Makes the named files available and returns the local folder in which they lie under those names.
        licence: What the source says of its licence, where it says anything.
        listed: Size and SHA-256 of those files of which the source tells them without handing them over.
        hidden: Names of files on a Hub that no reference means: they, or a folder above them, begin with a dot.
        card: What the source's model card says.
        outline: Writes files into a folder, of safetensors the headers alone, where that spares a download.
        unproven: As `fetch`, for whoever is going to read all bytes anyway: what is compared byte by byte is left to
            `prove`. None where `fetch` compares nothing, or has done so long ago.
        prove: Compares files with what was promised, by their digests; raises `SourceError` where they are others.
    """

    reference: str
    revision: str | None
    files: tuple[str, ...]
    fetch: Fetch
    licence: str | None = None
    listed: Mapping[str, FileDigest] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    card: CardFacts = field(default_factory=CardFacts)
    outline: Outline | None = None
    unproven: Fetch | None = None
    prove: Callable[[Mapping[str, FileDigest]], None] = lambda _found: None

    def bring(self, names: Iterable[str]) -> Path:
        """The folder in which the named files lie; `prove` has to be asked before anything is made of them for good.

        Raises:
            SourceError: A file can't be had, or is known not to be the one that was promised.
        """
        return (self.unproven or self.fetch)(names)

    @contextmanager
    def outlines(self, names: Iterable[str]) -> Iterator[Path]:
        """A folder in which the named files lie while the block runs; safetensors may have no numbers.

        Raises:
            SourceError: A file can't be had.
        """
        if self.outline is None:
            yield self.fetch(names)
            return
        with TemporaryDirectory(prefix="loramerge-") as folder:
            self.outline(names, Path(folder))
            yield Path(folder)

    def digests(self, names: Iterable[str]) -> dict[str, FileDigest]:
        """Size and SHA-256 of the named files, sorted by name; only what is not listed is fetched.

        Raises:
            SourceError: A file is not among those located, can't be had, or is called safetensors and none.
        """
        wanted = sorted(names)
        missing(wanted, self.files, reference=shown(self.reference))
        unknown = [name for name in wanted if name not in self.listed]
        folder = self.fetch(unknown) if unknown else Path()
        files = {name: FileBytes.at(folder / name, shown_file(self.reference, name)) for name in unknown}
        for name, file in files.items():
            if name.endswith(".safetensors"):
                read_header(file)  # before anything is hashed, which may take minutes
        return {name: self.listed.get(name) or files[name].digest() for name in wanted}

    def knowing(self, found: Mapping[str, FileDigest]) -> Located:
        """The same, when files were read for their digests already; what the source itself says of them stays."""
        return replace(self, listed={**found, **self.listed})


class Fetch(Protocol):
    """Bring files here; read-only for the caller."""

    def __call__(self, names: Iterable[str], /) -> Path:
        """Return the folder in which the named files lie; at least one name is needed.

        Raises:
            SourceError: A file is not among those located, can't be had, or is not the one that was promised.
        """


class Outline(Protocol):
    """Write files of a source into a folder, of safetensors the headers alone."""

    def __call__(self, names: Iterable[str], into: Path, /) -> None:
        """Write the named files under their names.

        Raises:
            SourceError: A file can't be had.
        """


def shown(reference: str) -> str:
    """A reference as messages and papers show it: an address without its query, which may hold a token.

    In one that is misspelt, whatever may be a secret is masked.
    """
    if reference.startswith("https://"):
        return re.sub(r"(?<=://)[^/]*@", "", re.sub(r"[?#].*", "", reference))
    return masked(reference)


def shown_file(reference: str, name: str) -> str:
    """A file as errors call it, without secrets; a source may be the file itself."""
    place = shown(reference)
    return place if place.rpartition("/")[2] == name else f"{place}/{name}"


def stays_inside(name: str) -> bool:
    """Whether a '/'-separated name is relative and can't leave the folder that it is relative to."""
    parts = name.split("/")
    return bool(name) and not {"", ".", ".."} & set(parts) and not re.search(r"\\|\0|^[A-Za-z]:", name)


def files_below(folder: Path, *, _trail: frozenset[Path] = frozenset()) -> Iterator[str]:
    """Names of all files below a folder, '/'-separated; hidden ones and those with odd names are left out."""
    here = folder.resolve()
    if here in _trail:  # a link back up
        return
    for path in folder.iterdir():
        if path.name.startswith(".") or not stays_inside(path.name) or not path.name.isprintable():
            continue
        if path.is_dir():
            yield from (f"{path.name}/{below}" for below in files_below(path, _trail=_trail | {here}))
        elif path.is_file():
            yield path.name


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint with the name most like `name`, as a whole or in its last part; empty when none is."""
    known = tuple(names)
    by_last_part = {PurePosixPath(each).name: each for each in known}
    for close in get_close_matches(name, known, n=1):
        return f"did you mean {close}?"
    for close in get_close_matches(PurePosixPath(name).name, by_last_part, n=1):
        return f"did you mean {by_last_part[close]}?"
    return ""


def check_sha256(path: Path, expected: str, *, name: str) -> None:
    """Compare a file with its promised SHA-256.

    Raises:
        SourceError: They differ; the message calls the file `name` and shows both.
    """
    found = digest_of(path, name).sha256
    if found != expected:
        raise not_promised(name, found, expected)


def not_promised(name: str, found: str, expected: str) -> SourceError:
    """The error for a file that has another SHA-256 than the recipe gives; it calls the file `name` and shows both."""
    return SourceError(
        f"{name}: the file is not the one that was promised: its sha256 is {found}, expected {expected}",
        hint="get the right file, or correct `sha256` if the change is intended",
    )


def missing(names: Iterable[str], located: Iterable[str], *, reference: str) -> None:
    """Refuse names that a source does not have.

    Raises:
        SourceError: A name is not among those located.
    """
    known = dict.fromkeys(located)
    for name in names:
        if name not in known:
            raise SourceError(f"{reference}: there is no file {name}", hint=nearest(name, known))
