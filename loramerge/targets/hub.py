"""A repository on a Hugging Face Hub. Publishing is one commit, and none where everything is there already."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from loramerge.errors import PublishError, SourceError
from loramerge.fields import Listed, Name, StrictModel, in_words
from loramerge.hub_errors import explained
from loramerge.targets.hub_publication import Publication, State, state_of
from loramerge.targets.hub_repository import Refs, Repository
from loramerge.targets.target import Delivery, Live, Receipt

if TYPE_CHECKING:
    from loramerge.progress import Progress

_REF = r"^[A-Za-z0-9_][A-Za-z0-9_+-]*(?:[./][A-Za-z0-9_+-]+)*$"
_IN_WORDS = "a name of letters, digits, '_', '+' and '-', with single '.' or '/' between them"


class HubTarget(StrictModel):
    """Commits the outputs, and the artifact's papers with them, to a branch of a repository.

    Files of others stay as they are, and are never replaced without force. With `create_pr` the commit is proposed in
    a pull request instead; one that is open and proposes the same is not opened twice.
    """

    takes_papers: ClassVar[bool] = True

    kind: Literal["hub"] = Field(description="A repository on a Hugging Face Hub.")
    repo: str = Field(
        max_length=96,
        pattern=r"^\w+(?:[.-]\w+)*/\w+(?:[.-]\w+)*$",
        description="owner/name; made if it does not exist.",
        json_schema_extra=in_words("owner/name, of letters, digits and '_', with single '.' or '-' between them"),
    )
    revision: str = Field(
        "main",
        max_length=128,
        pattern=_REF,
        description="Branch; made if it does not exist.",
        json_schema_extra=in_words(_IN_WORDS),
    )
    private: bool = Field(default=False, description="Make a new repository private, and refuse a public one.")
    tag: str | None = Field(
        None,
        max_length=128,
        pattern=_REF,
        description="Tag that the published commit gets.",
        json_schema_extra=in_words(_IN_WORDS),
    )
    create_pr: bool = Field(default=False, description="Open a pull request instead of committing to the branch.")
    outputs: Listed[Name] | None = Field(
        None, min_length=1, description="Folders of the outputs to publish; all if absent."
    )

    def live(self, recipe: str, origin: Path) -> Live:
        """What the branch holds of a recipe. Reading a public repository needs no token.

        Args:
            recipe: The recipe's name.
            origin: Not used: a repository has no relative path.

        Raises:
            PublishError: The Hub can't be reached or refuses.
        """
        del origin
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

        place = f"hf://{self.repo}@{self.revision}"
        repository = Repository(self.repo, self.revision)
        try:
            with explained(f"hf://{self.repo}", self.repo, self.revision):
                try:
                    refs = repository.refs()
                except GatedRepoError:
                    raise
                except RepositoryNotFoundError:
                    return Live(place, "it does not exist, or is private and no token may read it", tag=self.tag)
                return self._live(repository, recipe, refs, place)
        except SourceError as error:
            raise PublishError(error.message, hint=error.hint) from error

    def _live(self, repository: Repository, recipe: str, refs: Refs, place: str) -> Live:
        def definition(commit: str) -> Mapping[str, Any] | None:
            known = state_of(repository, recipe, commit).known
            return known.definition if known else None

        if self.revision not in refs.branches:
            return Live(place, tag=self.tag, tag_exists=self.tag in refs.tags)
        state = state_of(repository, recipe, refs.branches[self.revision])
        opened = repository.open_pull_requests() if self.create_pr else {}
        return Live(
            place,
            published=state.known is not None,
            definition=state.known.definition if state.known else None,
            names=frozenset(state.known.files if state.known else ()),
            drift=tuple(state.drift),
            tag=self.tag if not self.create_pr else None,
            tagged=definition(refs.tags[self.tag]) if self.tag and self.tag in refs.tags else None,
            tag_exists=self.tag in refs.tags,
            proposals={
                address: definition(refs.pull_requests[number])
                for number, address in opened.items()
                if number in refs.pull_requests
            },
        )

    def publish(self, delivery: Delivery, origin: Path, *, force: bool, progress: Progress | None = None) -> Receipt:
        """Commit files to the repository.

        Args:
            delivery: What to commit.
            origin: Not used: a repository has no relative path.
            force: Replace files of others, and move a tag that names something else.
            progress: Not used: others who commit at the same time are not waited for.

        Raises:
            PublishError: The Hub can't be reached or refuses, or holds what this recipe did not put there.
        """
        del origin, progress
        from huggingface_hub import constants

        repository = Repository(self.repo, self.revision)
        with explained(f"hf://{self.repo}", self.repo, self.revision, publishing=True):
            publication = Publication.of(repository, delivery, force=force)
            repository.create(private=self.private)
            refs = self._refs(repository)
            state = publication.state(refs.branches[self.revision])
            tagging = self._tagging(publication, refs)
            commit, address = state.commit, f"{constants.ENDPOINT}/{self.repo}/tree/{self.revision}"
            changed = not publication.done(state)
            if changed and self.create_pr:
                commit, address, changed = publication.propose(state, refs.pull_requests)
            elif changed:
                commit = publication.commit(state)
            if self.tag is not None and tagging:
                repository.move_tag(self.tag, commit, exists=self.tag in refs.tags)
        return Receipt(f"hf://{self.repo}@{self.revision}", changed=changed or tagging, url=address, commit=commit)

    def _refs(self, repository: Repository) -> Refs:
        refs = repository.refs()
        if self.revision in refs.branches:
            return refs
        if self.create_pr:
            raise PublishError(
                f"hf://{self.repo} has no branch {self.revision}", hint="a pull request needs a branch that exists"
            )
        repository.create_branch()
        return repository.refs()

    def _tagging(self, publication: Publication, refs: Refs) -> bool:
        """Whether the tag has to be set or moved. Known before anything is committed, so that nothing is half done."""
        if self.tag is None or self.create_pr:
            return False
        if self.tag not in refs.tags:
            return True
        tagged: State = publication.state(refs.tags[self.tag])
        if publication.done(tagged):
            return False
        if not publication.force:
            raise PublishError(
                f"hf://{self.repo} has a tag {self.tag} at {tagged.commit[:8]}, with other files",
                hint="choose another `tag`, or move this one with --force",
            )
        return True
