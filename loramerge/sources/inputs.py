"""What went into a merge, down to the bytes of each file; digests are taken while the files are put to use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from loramerge.files.digest import FileDigest
from loramerge.files.file_view import FileBytes
from loramerge.sources.source import shown_file


@dataclass(frozen=True)
class InputFile:
    """A file that went into a merge, by its name within its source."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class _Hashed:
    """A file on its way to its digest."""

    name: str
    file: FileBytes
    digest: Callable[[], FileDigest]

    def known(self) -> InputFile:
        digest = self.digest()
        self.file.check()
        return InputFile(self.name, digest.size, digest.sha256)


class InputFiles:
    """Files of one source.

    Args:
        pool: Takes their digests.
        reference: The source, for errors.
        folder: Where they lie.
        names: '/'-separated.
        in_passing: Weights among them are going to be read anyway, and hashed then: their digests are asked for when
            that is done.

    Raises:
        SourceError: One is not there.
    """

    def __init__(
        self, pool: Executor, reference: str, folder: Path, names: Iterable[str], *, in_passing: bool = False
    ) -> None:
        places = {name: FileBytes.at(folder / name, shown_file(reference, name)) for name in sorted(names)}
        self._hashed = [
            _Hashed(
                name,
                place,
                place.digest if in_passing and name.endswith(".safetensors") else pool.submit(place.digest).result,
            )
            for name, place in places.items()
        ]

    def files(self) -> tuple[InputFile, ...]:
        """All of them, when the last digest is there. Each time it is looked whether they are still the same.

        Raises:
            SourceError: One can't be read, or was changed since it was named here: what was merged may be anything.
        """
        return tuple(hashed.known() for hashed in self._hashed)

    def hashed_before(self) -> tuple[str, ...]:
        """Names of those that were not read for their digest: an earlier run had, and they did not change since."""
        return tuple(hashed.name for hashed in self._hashed if hashed.file.hashed_before)

    def damaged_entries(self) -> tuple[str, ...]:
        """Where in the cache something is damaged that an earlier run kept of them."""
        return tuple(filter(None, (hashed.file.damaged_entry for hashed in self._hashed)))

    def digests(self) -> dict[str, FileDigest]:
        """Size and SHA-256 by name.

        Raises:
            SourceError: As `files`.
        """
        return {file.name: FileDigest(file.size, file.sha256) for file in self.files()}
