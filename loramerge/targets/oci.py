"""A tag in an OCI registry. Publishing pushes what is not there yet, and nothing where everything is."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from loramerge.errors import LoramergeError, PublishError
from loramerge.fields import in_words
from loramerge.registry.address import HOST, NAME, SCHEME, TAG
from loramerge.registry.errors import RegistryError, explained
from loramerge.registry.repository import ArtifactRepository
from loramerge.targets.held import Live, Orphan
from loramerge.targets.oci_publication import OciPublication
from loramerge.targets.oci_removal import remove
from loramerge.targets.oci_state import WAY_OUT, orphans_of, tagged
from loramerge.targets.target import Delivery, Receipt, Target

if TYPE_CHECKING:
    from loramerge.progress import Progress

_LONGEST = 255  # as other clients limit it


class OciTarget(Target):
    """Pushes the outputs, and the artifact's papers with them, as a model of CNCF's ModelPack.

    A tag names one recipe's artifact. One that names something else is never moved without force. Provenance and
    signature are attached to the artifact besides, so that those who look for referrers find them.
    """

    needs_papers: ClassVar[bool] = True

    kind: Literal["oci"] = Field(description="An OCI registry.")
    repository: str = Field(
        max_length=_LONGEST,
        pattern=rf"^{HOST}/{NAME}$",
        description="host/name, such as ghcr.io/me/ink; most registries make it if it does not exist.",
        json_schema_extra=in_words(
            "host/name, of lower-case letters and digits, with single '.', '_', '-' or '/' between them"
        ),
    )
    tag: str = Field(
        max_length=128,
        pattern=rf"^{TAG}$",
        description="Tag that the artifact gets.",
        json_schema_extra=in_words("a name of letters, digits, '_', '.' and '-'"),
    )

    @property
    def spelling(self) -> str:
        """Repository and tag."""
        return f"{self.repository}:{self.tag}"

    @property
    def reference(self) -> str:
        """As sources spell it."""
        return f"{SCHEME}{self.spelling}"

    def address(self, origin: Path) -> str:
        """The tag."""
        del origin
        return f"{SCHEME}{self.repository.casefold()}:{self.tag}"

    def shelf(self, origin: Path) -> str:
        """The repository: what is under its other tags may be of recipes that are gone."""
        del origin
        return f"{SCHEME}{self.repository.casefold()}"

    def own_place(self, recipe: str) -> str:
        """A tag beside this one."""
        return f"tag: {recipe}"

    def live(self, recipe: str, origin: Path, claims: Collection[str] = ()) -> Live:
        """What the tag names. Reading a public repository needs no login.

        Args:
            recipe: The recipe's name.
            origin: Not used: a registry has no relative path.
            claims: Not used: the tag names one artifact, whole.

        Raises:
            PublishError: The registry can't be reached or refuses.
        """
        del origin, claims
        repository = self._repository()
        with explained(self.reference, publishing=True):
            try:
                found = tagged(repository, self.tag)
            except RegistryError as error:
                if error.denied and not repository.client.knows_somebody:
                    return Live(self.reference, "it does not exist, or is private and nobody is logged in")
                raise
        known = found.known if found.recipe == recipe else None
        if known is None:
            refusal = found.refusal(recipe)
            return Live(self.reference, refusal=f"{refusal}; {WAY_OUT}" if refusal else "")
        return Live(
            self.reference,
            published=True,
            definition=known.definition,
            outputs=known.outputs,
            names=frozenset(known.files),
            drift=found.drift,
        )

    def orphans(self, home: str, recipes: Collection[str], origin: Path) -> tuple[Orphan, ...]:
        """As the records under the repository's tags say; a repository that nobody may read has none."""
        del origin
        repository = self._repository()
        with explained(self.reference, publishing=True):
            try:
                return tuple(orphans_of(repository, home, recipes))
            except RegistryError as error:
                if error.denied and not repository.client.knows_somebody:
                    return ()
                raise

    def prune(self, orphan: Orphan, origin: Path) -> None:
        """Take the tag away, and the artifact where no other tag names it."""
        del origin
        with explained(orphan.place, publishing=True):
            if orphan.unchanged:
                remove(self._repository(), orphan.place.rpartition(":")[2])

    def publish(self, delivery: Delivery, origin: Path, *, force: bool, progress: Progress | None = None) -> Receipt:
        """Push files to the registry.

        Args:
            delivery: What to push.
            origin: Not used: a registry has no relative path.
            force: Move a tag that names something else.
            progress: Not used: others who push at the same time are not waited for.

        Raises:
            PublishError: The registry can't be reached or refuses, or the tag is not this recipe's.
        """
        del origin, progress
        repository = self._repository()
        try:
            with explained(self.reference, publishing=True):
                before = tagged(repository, self.tag)
                if not force:
                    before.refuse_foreign(self.reference, delivery.recipe)
                publication = OciPublication.of(delivery)
                changed = publication.put(repository, self.tag, before)
        except PublishError:
            raise
        except LoramergeError as error:
            raise PublishError(f"publishing to {self.reference} failed: {error.message}", hint=error.hint) from None
        except OSError as error:
            raise PublishError(
                f"publishing to {self.reference} failed: {error.filename}: {error.strerror or error}",
                hint="make the artifact anew, or mend what is named",
            ) from None
        address = f"{SCHEME}{self.repository}@{publication.manifest.digest}"
        return Receipt(self.reference, changed=changed, url=address)

    def _repository(self) -> ArtifactRepository:
        return ArtifactRepository(*self.repository.split("/", 1))
