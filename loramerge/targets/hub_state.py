"""What a Hub repository holds of a recipe at a commit, and what of others is in the way."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loramerge.artifact.contents import CARD, recipe_of
from loramerge.artifact.in_toto import STATEMENT
from loramerge.artifact.model_card import is_as_written
from loramerge.hub.repository import Content, ListedFile
from loramerge.targets import record
from loramerge.targets.held import Held, Orphan
from loramerge.targets.record import Record

if TYPE_CHECKING:
    from loramerge.hub.repository import Repository


@dataclass(frozen=True)
class State:
    """What a repository holds at a commit.

    Attributes:
        commit: 40 hex digits.
        files: Everything.
        ours: Names of what this recipe put there, and no other recipe since.
        known: What this recipe's record says; None where there is none, or a damaged one.
        card: The text of a model card that is not, to the byte, as this recipe published it.
    """

    commit: str
    files: Mapping[str, ListedFile]
    ours: frozenset[str]
    known: Record | None = None
    card: str | None = None

    @property
    def drift(self) -> Iterator[str]:
        """What is no longer as this recipe published it, in words."""
        if self.known is not None:
            yield from self.known.drift(self.files, _as_recorded(self.known, self.files, self.card))

    @property
    def held(self) -> Held:
        """What there is of this recipe."""
        if self.known is None:
            return Held()
        return Held(
            definition=self.known.definition,
            outputs=self.known.outputs,
            names=frozenset(self.known.files),
            drift=(*self.drift,),
        )


def state_of(repository: Repository, recipe: str, commit: str) -> State:
    """What a repository holds of a recipe at a commit."""
    files, own = repository.files(commit), record.place(recipe)
    records = {place: Record.parse(repository.text(commit, place)) for place in record.places(files)}
    known = records.pop(own, None)
    card = _edited_card(repository, commit, files, [known, *records.values()])
    theirs = {name for other in records.values() if other is not None for name in _as_recorded(other, files, card)}
    ours = {own, *((set(known.files) if known else set()) - theirs)} & set(files)
    return State(commit, files, frozenset(ours), known, card)


def orphans_of(repository: Repository, home: str, recipes: Collection[str], commit: str) -> Iterator[Orphan]:
    """What a repository holds of recipes of a folder that are no longer in it.

    Args:
        repository: Where.
        home: What tells that folder of recipes from all others.
        recipes: Names of those that are there.
        commit: What is looked at.
    """
    for place in record.places(repository.files(commit)):
        known = Record.parse(repository.text(commit, place))
        if known is None or known.home != home or known.recipe in recipes:
            continue
        yield left_by(repository, known.recipe, commit)


def left_by(repository: Repository, recipe: str, commit: str) -> Orphan:
    """What a repository holds of a recipe and of no other.

    Args:
        repository: Where.
        recipe: The recipe's name.
        commit: What is looked at.
    """
    state, place = state_of(repository, recipe, commit), f"hf://{repository.name}@{repository.branch}"
    if state.known is None:
        return Orphan(place, recipe, (), ())
    there = sorted(state.ours & set(state.known.files))
    still = {name for name in there if state.files[name].holds(_recorded(state.known, name))}
    changed = tuple(name for name in there if name not in still)
    return Orphan(place, recipe, tuple(name for name in there if name in still), changed)


def removable(repository: Repository, recipe: str, commit: str) -> list[str]:
    """The files of a recipe that nobody changed and no other counts on, and its record; those that are there.

    Args:
        repository: Where.
        recipe: The recipe's name.
        commit: What is looked at.
    """
    names = {*left_by(repository, recipe, commit).unchanged, record.place(recipe)}
    return sorted(names & repository.files(commit).keys())


def foreign(repository: Repository, state: State, names: Iterable[str]) -> list[str]:
    """Which of the names are files of others. The card that the Hub made with a repository is nobody's.

    Args:
        repository: Where.
        state: What it holds.
        names: Files that would be replaced.
    """
    found = [name for name in names if name in state.files and name not in state.ours]
    if CARD in found and _is_the_hubs_own(repository.text(state.commit, CARD)):
        found.remove(CARD)
    return found


def artifact_of(repository: Repository, state: State) -> str | None:
    """Name of the recipe whose artifact the repository holds, by its provenance; None where that is unknown."""
    try:
        return recipe_of(repository.text(state.commit, STATEMENT)) if STATEMENT in state.files else None
    except (ValueError, KeyError, TypeError):
        return None


def _as_recorded(known: Record, files: Mapping[str, ListedFile], card: str | None) -> set[str]:
    """Which files of a record are there with the content that it says; a card may say more."""
    found = {name for name in known.files if name in files and files[name].holds(_recorded(known, name))}
    if card is not None and is_as_written(card.encode(), known.files.get(CARD, "")):
        found.add(CARD)
    return found


def _recorded(known: Record, name: str) -> Content:
    return Content(b"", known.files[name], known.blobs.get(name, ""))


def _edited_card(
    repository: Repository, commit: str, files: Mapping[str, ListedFile], records: Iterable[Record | None]
) -> str | None:
    """The text of a model card that was published here, and is no longer as any record says."""
    named = [known for known in records if known is not None and CARD in known.files]
    if CARD not in files or not named or any(files[CARD].holds(_recorded(known, CARD)) for known in named):
        return None
    return repository.text(commit, CARD)


def _is_the_hubs_own(card: str) -> bool:
    """The card of a repository that was made on the Hub's page is a licence and nothing else."""
    return re.fullmatch(r"\s*(---\s*\n(license: *\S+\s*\n)?---\s*)?", card) is not None
