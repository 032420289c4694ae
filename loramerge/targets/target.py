"""What every target offers, takes and answers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from loramerge.artifact.contents import CARD, LOCK, RECIPE, REPORT
from loramerge.artifact.in_toto import STATEMENT
from loramerge.fields import Listed, Name, StrictModel
from loramerge.files.digest import files_of

if TYPE_CHECKING:
    from loramerge.formats.loading import Address
    from loramerge.progress import Progress
    from loramerge.targets.held import Live, Orphan


@dataclass(frozen=True)
class Delivery:
    """What is to be published.

    Attributes:
        recipe: The recipe's name.
        files: Name in the target → where the file is now.
        definition: What the files were made from; the target keeps it, and compares nothing of it.
        outputs: Folders of the outputs that the files belong to; kept as well.
        home: What tells the folder of recipes from all others; kept as well.
    """

    recipe: str
    files: Mapping[str, Path]
    definition: Mapping[str, Any] | None = None
    outputs: tuple[str, ...] | None = None
    home: str = ""


@dataclass(frozen=True)
class Receipt:
    """What publishing to a target did.

    Attributes:
        place: Where the files are now.
        changed: Whether anything had to be written.
        url: Where to look at them, at the pull request that proposes them, or what names them for good.
        commit: The 40-hex commit that has them, for a target that has commits.
    """

    place: str
    changed: bool
    url: str | None = None
    commit: str | None = None


class Target(StrictModel):
    """A place that artifacts are brought to.

    Attributes:
        needs_papers: It gets card, provenance and signature whatever outputs it takes: a model there needs its card.
    """

    needs_papers: ClassVar[bool] = False

    kind: str
    outputs: Listed[Name] | None = Field(
        None, min_length=1, description="Folders of the outputs to publish; all if absent."
    )

    @property
    @abstractmethod
    def spelling(self) -> str:
        """What the recipe calls it."""

    @property
    def takes_papers(self) -> bool:
        """Whether it gets the artifact's papers: card, provenance, signature and the like."""
        return self.outputs is None or self.needs_papers

    @property
    def reference(self) -> str | None:
        """What `loramerge verify` calls it from anywhere; None where that is this machine's business."""
        return None

    def address(self, origin: Path) -> str | None:
        """What two targets share when they write to one place; None for what nobody else can write to.

        Args:
            origin: Where a relative path starts.

        Raises:
            PublishError: There can be no such place.
        """
        folder = self.folder(origin)
        return None if folder is None else str(folder)

    def shelf(self, origin: Path) -> str | None:
        """Where recipes that are gone may have left something, as far as this target tells; its address by default.

        Args:
            origin: Where a relative path starts.

        Raises:
            PublishError: There can be no such place.
        """
        return self.address(origin)

    @abstractmethod
    def own_place(self, recipe: str) -> str:
        """The line that gives a recipe a place that no other has.

        Args:
            recipe: The recipe's name.
        """

    def claims(self, names: Mapping[str, Sequence[str]]) -> frozenset[str]:
        """What lies at the target's root once it is published, as far as the recipe tells it.

        Args:
            names: Folder of every output of the recipe → what lies at its top.
        """
        chosen = self.chosen(tuple(names))
        found = {*names[chosen[0]]} if len(chosen) == 1 else {*chosen}
        return frozenset(found | ({CARD, STATEMENT, LOCK, RECIPE, REPORT} if self.takes_papers else set()))

    def folder(self, origin: Path) -> Path | None:
        """The folder of this machine that the files go to; None where there is none.

        Args:
            origin: Where a relative path starts.

        Raises:
            PublishError: There can be no such path.
        """
        del origin
        return None

    def place(self, output: str, outputs: Sequence[str]) -> Address | None:
        """Where others load an output from; None where they can't, or the target does not take it.

        Args:
            output: Its folder.
            outputs: Folders of all outputs of the recipe.
        """
        del output, outputs
        return None

    def chosen(self, outputs: Sequence[str]) -> tuple[str, ...]:
        """The folders that it takes of all that there are."""
        return tuple(outputs) if self.outputs is None else tuple(self.outputs)

    def files(self, artifact: Path, outputs: Collection[str]) -> dict[str, Path]:
        """Name in the target → file in the artifact.

        One output alone lies at the target's root, several lie in folders by name; a target that takes all of them
        gets the artifact's papers as well, and so does one where a model needs its card.

        Args:
            artifact: The finished folder.
            outputs: Folders of all of its outputs.
        """
        chosen = self.chosen(tuple(outputs))
        found: dict[str, Path] = {}
        for name in chosen:
            start = "" if len(chosen) == 1 else f"{name}/"
            found |= {f"{start}{file}": path for file, path in files_of(artifact / name).items()}
        if self.takes_papers:
            found |= {file: path for file, path in files_of(artifact).items() if file.partition("/")[0] not in outputs}
        return found

    def tidy(self, recipe: str, origin: Path, progress: Progress | None = None) -> None:
        """Remove what killed runs of this recipe left there, where there is any.

        Args:
            recipe: The recipe's name.
            origin: Where a relative path starts.
            progress: Told of what is removed.
        """
        del recipe, origin, progress

    def orphans(self, home: str, recipes: Collection[str], origin: Path) -> tuple[Orphan, ...]:
        """What is there of recipes of a folder that are no longer in it.

        Args:
            home: What tells that folder from all others.
            recipes: Names of those that are there.
            origin: Where a relative path starts.

        Raises:
            PublishError: It can't be looked at.
        """
        del home, recipes, origin
        return ()

    def prune(self, orphan: Orphan, origin: Path) -> None:
        """Remove what is unchanged of it, and forget it.

        Raises:
            PublishError: It can't be removed.
        """
        del orphan, origin

    @abstractmethod
    def live(self, recipe: str, origin: Path, claims: Collection[str] = ()) -> Live:
        """What the target holds of a recipe.

        Args:
            recipe: The recipe's name.
            origin: Where a relative path starts.
            claims: What will lie at its root.

        Raises:
            PublishError: It can't be looked at.
        """

    @abstractmethod
    def publish(self, delivery: Delivery, origin: Path, *, force: bool, progress: Progress | None = None) -> Receipt:
        """Bring files there.

        Args:
            delivery: What to bring.
            origin: Where a relative path starts.
            force: Overwrite files of others.
            progress: Told of what is waited for.

        Raises:
            PublishError: It can't be reached or refuses, or files of others are in the way.
        """
