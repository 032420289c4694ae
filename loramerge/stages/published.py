"""What lies at a place that holds an artifact: a folder, a repository on a Hub, a tag in a registry, a bucket."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.artifact.contents import BESIDE
from loramerge.artifact.in_toto import STATEMENT
from loramerge.errors import SourceError
from loramerge.files.digest import files_of
from loramerge.files.neighbours import beside
from loramerge.files.reading import text_of
from loramerge.sources import parse
from loramerge.targets import record
from loramerge.targets.record import Record

if TYPE_CHECKING:
    from loramerge.provenance.provenance import Provenance
    from loramerge.sources import Located, Source


@dataclass(frozen=True)
class Published:
    """What was found, whosever it is.

    Attributes:
        files: Name → file; what git, a Hub and targets put beside an artifact is left out.
        odd: Names of what is neither a file nor a folder, and of hidden files far away: no artifact has any.
        records: Name → file of what targets remember.
    """

    files: Mapping[str, Path]
    odd: Sequence[str]
    records: Mapping[str, Path]

    def published(self, provenance: Provenance) -> Sequence[str]:
        """Folders of the outputs that a target took, as its record says; all of them where there is none.

        A record of no output at all counts as none: nobody publishes that.
        """
        place = record.place(provenance.recipe)
        if place not in self.records:
            return provenance.outputs
        known = Record.parse(text_of(self.records[place], errors="replace"))
        outputs = [name for name in provenance.outputs if known and name in (known.outputs or ())]
        return outputs or provenance.outputs

    def as_in_artifact(self, provenance: Provenance) -> dict[str, Path]:
        """Files but the provenance by their names in the artifact: a single output lies at a target's root."""
        files = {name: path for name, path in self.files.items() if name != STATEMENT}
        published = self.published(provenance)
        if len(published) != 1:
            return files
        start = f"{published[0]}/"
        moved = {name.removeprefix(start): name for name in provenance.files if name.startswith(start)}
        at_root, in_folder = sum(name in files for name in moved), sum(name in files for name in moved.values())
        return {moved.get(name, name): path for name, path in files.items()} if at_root > in_folder else files


def folder_of(reference: str) -> Path | None:
    """The folder that a reference names, there or not; None where it names what is far away.

    Raises:
        SourceError: It is none that can be read.
    """
    return _read_reference(reference)[1].local


def held(reference: str) -> Published:
    """Look at a place.

    Args:
        reference: A folder, `hf://owner/name[@revision]`, `oci://host/name:tag`,
            `oci://host/name@sha256:…` or `s3://bucket/prefix`.

    Raises:
        SourceError: It is missing or unreachable.
    """
    place, source = _read_reference(reference)
    if source.local is not None:
        if not os.path.isdir(source.local):  # noqa: PTH112  which takes any text
            hint = "name an artifact's folder, hf://owner/name, oci://host/name:tag or s3://bucket/prefix"
            lies = "" if os.path.lexists(source.local) else beside(Path(place))
            raise SourceError(f"{reference} is no folder", hint="; ".join(filter(None, (lies, hint))))
        found, odd = files_of(source.local), tuple(_odd(source.local))
    else:
        located = source.locate()
        found, odd = _fetched(located), located.hidden
        with suppress(SourceError):  # somebody else's repository has no records
            below = parse(f"{place}/{record.FOLDER}", folder=Path.cwd())
            records = (below.at(located.revision) if located.revision else below).locate()
            found |= {f"{record.FOLDER}/{name}": path for name, path in _fetched(records).items()}
    return Published(
        {name: path for name, path in found.items() if not _beside(name)},
        [name for name in odd if not _beside(name)],
        {name: path for name, path in found.items() if name.partition("/")[0] == record.FOLDER},
    )


def _read_reference(reference: str) -> tuple[str, Source]:
    """A reference without its revision, and what it names."""
    place, _, revision = reference.partition("@") if reference.startswith("hf://") else (reference, "", "")
    return place, parse(place, folder=Path.cwd(), revision=revision or None)


def _beside(name: str) -> bool:
    return name.partition("/")[0] in BESIDE


def _fetched(located: Located) -> dict[str, Path]:
    folder = located.fetch(located.files)
    return {name: folder / name for name in located.files}


def _odd(folder: Path) -> Iterator[str]:
    """Folders that are links, and what is neither a file nor a folder."""
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent, name) for name in sorted([*folders, *files])):
            if not path.is_file() and (path.is_symlink() or not path.is_dir()):
                yield path.relative_to(folder).as_posix()
