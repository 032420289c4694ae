"""What a tag in a registry names: a recipe's artifact as it was published, something of it, or something else."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loramerge.artifact.contents import SIGNATURE
from loramerge.artifact.in_toto import STATEMENT
from loramerge.errors import PublishError
from loramerge.registry.manifest import TITLE, Descriptor, Manifest
from loramerge.registry.referrers import EMPTY, referrers_of
from loramerge.targets import record
from loramerge.targets.held import Orphan
from loramerge.targets.record import Record

if TYPE_CHECKING:
    from loramerge.registry.repository import ArtifactRepository

WAY_OUT = "publish under another `tag`, or move it with --force"
_REFERRERS = {
    STATEMENT: ("application/vnd.in-toto+json", {"in-toto.io/predicate-type": "https://slsa.dev/provenance/v1"}),
    SIGNATURE: (
        "application/vnd.dev.sigstore.bundle.v0.3+json",
        {
            "dev.sigstore.bundle.content": "dsse-envelope",
            "dev.sigstore.bundle.predicateType": "https://model_signing/signature/v1.0",
        },
    ),
}


@dataclass(frozen=True)
class TaggedArtifact:
    """What a tag names.

    Attributes:
        manifest: None where there is no such tag.
        recipe: Whose artifact it is; None where nobody says so.
        known: What its record says; None where there is none, or a damaged one.
        drift: What is no longer as the record has it, in words.
    """

    manifest: Manifest | None = None
    recipe: str | None = None
    known: Record | None = None
    drift: tuple[str, ...] = ()

    @property
    def digest(self) -> str | None:
        """The manifest's; None where there is no such tag."""
        return self.manifest.digest if self.manifest else None

    def refusal(self, recipe: str) -> str:
        """Why a recipe must not have the tag; empty if it may."""
        if self.manifest is None or self.recipe == recipe:
            return ""
        mine = f"an artifact of the recipe {self.recipe}" if self.recipe else "something that loramerge did not make"
        return f"the tag names {mine}"

    def refuse_foreign(self, reference: str, recipe: str) -> None:
        """Nothing of others is replaced.

        Args:
            reference: The tag, for the error.
            recipe: Who wants to have it.

        Raises:
            PublishError: It would be.
        """
        if refusal := self.refusal(recipe):
            raise PublishError(f"{reference}: {refusal}", hint=WAY_OUT)


def tagged(repository: ArtifactRepository, tag: str) -> TaggedArtifact:
    """What a tag names, by one look at its manifest, its record and its referrers.

    Raises:
        RegistryError: It can't be looked up.
    """
    manifest = repository.find(tag)
    if manifest is None:
        return TaggedArtifact()
    own = next(iter(record.places(manifest.files)), None)
    known = Record.parse(repository.content(manifest.files[own]).decode(errors="replace")) if own else None
    if known is None or own != record.place(known.recipe):
        return TaggedArtifact(manifest)
    return TaggedArtifact(manifest, known.recipe, known, (*_drift(repository, manifest, known),))


def referrers_for(manifest: Manifest) -> dict[str, Manifest]:
    """What is to refer to an artifact, by the file of it that it holds: the same for the same."""
    return {
        name: Manifest.made(
            kind,
            EMPTY,
            [Descriptor(kind, manifest.files[name].digest, manifest.files[name].size, {TITLE: name})],
            told,
            subject=manifest.descriptor,
        )
        for name, (kind, told) in _REFERRERS.items()
        if name in manifest.files
    }


def missing_referrers(repository: ArtifactRepository, manifest: Manifest) -> dict[str, Manifest]:
    """Those of them that are not there.

    Raises:
        RegistryError: It can't be looked up.
    """
    wanted = referrers_for(manifest)
    there = {each.digest for each in referrers_of(repository, manifest.digest)} if wanted else set()
    return {name: each for name, each in wanted.items() if each.digest not in there}


def orphans_of(repository: ArtifactRepository, home: str, recipes: Collection[str]) -> Iterator[Orphan]:
    """What a repository holds of recipes of a folder that are no longer in it, whatever the tag.

    Args:
        repository: Where.
        home: What tells that folder of recipes from all others.
        recipes: Names of those that are there.

    Raises:
        RegistryError: It can't be looked up.
    """
    for tag in repository.tags():
        if re.fullmatch(r"sha256-[0-9a-f]{64}", tag):
            continue
        found = tagged(repository, tag)
        if found.known is not None and found.known.home == home and found.known.recipe not in recipes:
            names = tuple(sorted(found.known.files))
            unchanged, changed = ((), names) if _is_other(found) else (names, ())
            yield Orphan(f"oci://{repository.host}/{repository.name}:{tag}", found.known.recipe, unchanged, changed)


def _is_other(found: TaggedArtifact) -> bool:
    """Whether somebody made another artifact of it; a referrer that is gone makes none."""
    return found.manifest is not None and found.known is not None and bool([*_other_files(found.manifest, found.known)])


def _drift(repository: ArtifactRepository, manifest: Manifest, known: Record) -> Iterator[str]:
    yield from _other_files(manifest, known)
    for name in missing_referrers(repository, manifest):
        yield f"the referrer with {name} is missing"


def _other_files(manifest: Manifest, known: Record) -> Iterator[str]:
    there = {name: layer.sha256 for name, layer in manifest.files.items() if name != record.place(known.recipe)}
    for name in sorted(there.keys() | known.files.keys()):
        if name not in there:
            yield f"{name} is missing"
        elif name not in known.files:
            yield f"{name} was added"
        elif there[name] != known.files[name]:
            yield f"{name} was changed"
