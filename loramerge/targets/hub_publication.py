"""The files of one recipe on their way to one branch of a Hub repository."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from loramerge.artifact import model_card
from loramerge.artifact.contents import CARD
from loramerge.errors import PublishError
from loramerge.hub.repository import Content, Repository
from loramerge.hub.retry import patiently
from loramerge.messages import some
from loramerge.targets import record
from loramerge.targets.hub_state import State, foreign, state_of
from loramerge.targets.record import Record

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo

    from loramerge.targets.target import Delivery

_RACES = 5
_SHOWN = 5
_PRECONDITION_FAILED = 412


@dataclass(frozen=True)
class HubPublication:
    """What shall be in the repository, and the steps that bring it there.

    What was put there is remembered in `.loramerge/<recipe>.json`: those files are replaced and removed as the recipe
    asks, whoever edited them since, because the history keeps every edit. All others are left alone, and so is what
    the owner wrote into the model card beside our part of it.

    Attributes:
        repository: Where to.
        recipe: The recipe's name.
        record: What this recipe's record shall say.
        wanted: Name → content, with the record.
        force: Replace files of others.
    """

    repository: Repository
    recipe: str
    record: Record
    wanted: Mapping[str, Content]
    force: bool

    @classmethod
    def of(cls, repository: Repository, delivery: Delivery, *, force: bool) -> HubPublication:
        """Read the digests of files and write the record of them."""
        recipe = delivery.recipe
        wanted = {name: Content.of(path) for name, path in sorted(delivery.files.items())}
        recorded = dict(wanted)
        if (ours := _our_card(wanted)) is not None:
            recorded[CARD] = Content.of(ours.encode())
        digests = {name: content.sha256 for name, content in recorded.items()}
        blobs = {name: content.blob for name, content in recorded.items()}
        known = Record(recipe, digests, delivery.definition, delivery.outputs, blobs, home=delivery.home)
        text = Content.of(known.text().encode())
        return cls(repository, recipe, known, {**wanted, record.place(recipe): text}, force)

    def state(self, commit: str) -> State:
        """What the repository holds at a commit."""
        return state_of(self.repository, self.recipe, commit)

    def done(self, state: State) -> bool:
        """Whether nothing is left to be changed."""
        return not self._additions(state) and not state.ours - set(self.wanted)

    def fits(self, state: State) -> bool:
        """Whether a state is made from the same, and as it was published: files made again may be other bytes."""
        known, wanted = state.known, self.record
        if self.done(state):
            return True
        return (
            known is not None
            and known.definition is not None
            and (known.definition, known.outputs) == (wanted.definition, wanted.outputs)
            and set(wanted.files) <= set(known.files)
            and not [*state.drift]
        )

    def commit(self, state: State) -> str:
        """Bring everything to the branch in one commit, and return it.

        A 412 says that the branch moved meanwhile: where our files did not change, the commit is made from there.

        Raises:
            PublishError: Files of others are in the way, or came in the way.
        """
        from huggingface_hub.errors import HfHubHTTPError

        for _ in range(_RACES):
            self.refuse_foreign(state)
            try:
                commit = patiently(partial(self._try, state, parent=state.commit)).oid
            except HfHubHTTPError as error:
                if error.response.status_code != _PRECONDITION_FAILED:
                    raise
                moved = self.state(self.repository.refs().branches[self.repository.branch])
                if self.done(moved):  # our own commit: its answer was lost, and it was sent again
                    return moved.commit
                self._refuse_race(state, moved)
                state = moved
            else:
                self._check(commit, state)
                return commit
        raise PublishError(
            f"{self}: others commit to it all the time; nothing was published after {_RACES} tries",
            hint="run again when they are done",
        )

    def propose(self, state: State, pull_requests: Mapping[int, str]) -> tuple[str, str, bool]:
        """Open a pull request; returns its commit, its address, and False if it was open before.

        Args:
            state: What the branch holds.
            pull_requests: Number → commit.

        Raises:
            PublishError: Files of others are in the way.
        """
        self.refuse_foreign(state)
        known = {*pull_requests}

        def attempt() -> tuple[str, str, bool]:
            refs = self.repository.refs().pull_requests
            for number, address in self.repository.open_pull_requests().items():
                if number in refs and self.done(self.state(refs[number])):
                    return refs[number], address, number not in known
            made = self._try(state, parent=None)
            return made.oid, str(made.pr_url), True

        commit, address, changed = patiently(attempt)
        self._check(commit, state)
        return commit, address, changed

    def refuse_foreign(self, state: State) -> None:
        """Nothing of others is replaced without force.

        Raises:
            PublishError: It would be.
        """
        if not self.force and (theirs := foreign(self.repository, state, self._additions(state))):
            raise PublishError(
                f"{self} holds {some(theirs, _SHOWN)}, which this recipe did not put there",
                hint="publish to another repository, or replace them with --force",
            )

    def __str__(self) -> str:
        return f"hf://{self.repository.name}@{self.repository.branch}"

    def _additions(self, state: State) -> dict[str, Content]:
        wanted = {**self.wanted, **self._card(state)}
        return {
            name: content
            for name, content in wanted.items()
            if name not in state.files or not state.files[name].holds(content)
        }

    def _card(self, state: State) -> dict[str, Content]:
        """Our card with what its owner wrote into the one that is there."""
        ours = _our_card(self.wanted)
        if ours is None or state.card is None or CARD not in state.ours:
            return {}
        unchanged = model_card.ours_in(state.card) == ours
        return {CARD: Content.of((state.card if unchanged else model_card.merged(ours, state.card)).encode())}

    def _try(self, state: State, *, parent: str | None) -> CommitInfo:
        removed = sorted(state.ours - set(self.wanted))
        return self.repository.commit(f"Publish {self.recipe}", self._additions(state), removed, parent=parent)

    def _refuse_race(self, before: State, now: State) -> None:
        # a card that came in between is merged with ours when we try again
        merged = set() if _our_card(self.wanted) is None else {CARD} & now.ours
        names = sorted({*self.wanted, *before.ours} - merged)
        if touched := [name for name in names if before.files.get(name) != now.files.get(name)]:
            movers = self.repository.since(before.commit)
            raise PublishError(
                f"{self} was changed while we published: {some(touched, _SHOWN)}, by {some(movers, _SHOWN)}",
                hint="look at these commits; run again to publish over them",
            )

    def _check(self, commit: str, before: State) -> None:
        """Look at what came of it: the Hub leaves out, without a word, what a `.gitignore` in the repository names."""
        now = self.state(commit)
        absent = [*self._additions(now), *sorted((before.ours - set(self.wanted)) & set(now.files))]
        if absent:
            raise PublishError(
                f"{self}: the commit {commit[:8]} is not what was sent: {some(absent, _SHOWN)}",
                hint="does a .gitignore in the repository name them? Remove it, and run again",
            )


def _our_card(wanted: Mapping[str, Content]) -> str | None:
    """The model card that is to be published; None where it has no marks, or there is none."""
    return model_card.ours_in(wanted[CARD].text) if CARD in wanted else None
