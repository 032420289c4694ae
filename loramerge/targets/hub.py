"""A repository on a Hugging Face Hub. Publishing is one commit, and none where everything is there already."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from loramerge.artifact.contents import PAPERS
from loramerge.errors import PublishError, SourceError
from loramerge.fields import in_words
from loramerge.formats.loading import Address
from loramerge.hub.errors import explained
from loramerge.hub.repository import Refs, Repository
from loramerge.messages import some
from loramerge.targets.held import Held, Live, Orphan
from loramerge.targets.hub_publication import HubPublication
from loramerge.targets.hub_state import State, artifact_of, foreign, orphans_of, removable, state_of
from loramerge.targets.target import Delivery, Receipt, Target

if TYPE_CHECKING:
    from loramerge.progress import Progress

_DEFAULT = "main"
_PUBLIC = "it is public, and the recipe says `private: true`"
_NO_BRANCH = "a pull request needs a branch that exists"
_REF = r"^[A-Za-z0-9_][A-Za-z0-9_+-]*(?:[./][A-Za-z0-9_+-]+)*$"
_IN_WORDS = "a name of letters, digits, '_', '+' and '-', with single '.' or '/' between them"


class HubTarget(Target):
    """Commits the outputs, and the artifact's papers with them, to a branch of a repository.

    Files of others stay as they are, and are never replaced without force. With `create_pr` the commit is proposed in
    a pull request instead; one that is open and proposes the same is not opened twice.
    """

    needs_papers: ClassVar[bool] = True

    kind: Literal["hub"] = Field(description="A repository on a Hugging Face Hub.")
    repo: str = Field(
        max_length=96,
        pattern=r"^\w+(?:[.-]\w+)*/\w+(?:[.-]\w+)*$",
        description="owner/name; made if it does not exist.",
        json_schema_extra=in_words("owner/name, of letters, digits and '_', with single '.' or '-' between them"),
    )
    revision: str = Field(
        _DEFAULT,
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

    @property
    def spelling(self) -> str:
        """The repository, as it was given."""
        return self.repo

    @property
    def reference(self) -> str | None:
        """The repository at its tag or branch."""
        return f"hf://{self.repo}{f'@{self._revision}' if self._revision else ''}"

    def address(self, origin: Path) -> str | None:
        """The branch; nobody commits to it by proposing a pull request."""
        del origin
        return None if self.create_pr else f"hf://{self.repo.casefold()}@{self.revision}"

    def own_place(self, recipe: str) -> str:
        """A repository beside this one."""
        return f"repo: {self.repo.partition('/')[0]}/{recipe}"

    def place(self, output: str, outputs: Sequence[str]) -> Address | None:
        """A single output lies at the repository's root."""
        chosen = self.chosen(outputs)
        if output not in chosen:
            return None
        return Address(self.repo, self._revision, "" if len(chosen) == 1 else output)

    @property
    def _revision(self) -> str | None:
        """What names the published commit; None for the default branch."""
        return self.tag or (None if self.revision == _DEFAULT else self.revision)

    def live(self, recipe: str, origin: Path, claims: Collection[str] = ()) -> Live:
        """What the branch holds of a recipe. Reading a public repository needs no token.

        Args:
            recipe: The recipe's name.
            origin: Not used: a repository has no relative path.
            claims: Not used: the papers alone tell whether files of others are in the way.

        Raises:
            PublishError: The Hub can't be reached or refuses.
        """
        del origin, claims
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
                    note = "it does not exist, or is private and no token may read it"
                    refusal = _NO_BRANCH if self.create_pr and self.revision != _DEFAULT else ""
                    return Live(place, note, refusal=refusal, tag=self.tag)
                return self._live(repository, recipe, refs, place)
        except SourceError as error:
            raise PublishError(error.message, hint=error.hint) from error

    def _live(self, repository: Repository, recipe: str, refs: Refs, place: str) -> Live:
        def held(commit: str) -> Held:
            return state_of(repository, recipe, commit).held

        # a branch that is not there yet begins at main
        commit = refs.branches.get(self.revision) or refs.branches.get(_DEFAULT)
        state = state_of(repository, recipe, commit) if commit else State("", {}, frozenset())
        there = self.revision in refs.branches
        now = state.held if there else Held()
        public = self.private and repository.is_public()
        opened = repository.open_pull_requests(own=True) if self.create_pr and there else {}
        return Live(
            place,
            published=there and state.known is not None,
            definition=now.definition,
            outputs=now.outputs,
            names=now.names,
            drift=(*now.drift, *(["everybody may read it"] if public else ())),
            refusal=self._refusal(repository, recipe, state, there=there, public=public),
            tag=self.tag,
            tagged=held(refs.tags[self.tag]) if self.tag and self.tag in refs.tags else None,
            proposals={
                address: held(refs.pull_requests[number])
                for number, address in opened.items()
                if number in refs.pull_requests
            },
        )

    def _refusal(self, repository: Repository, recipe: str, state: State, *, there: bool, public: bool) -> str:
        """What of a refusal can be known before the files are."""
        if public:
            return _PUBLIC
        if self.create_pr and not there:
            return f"there is no branch {self.revision}, and {_NO_BRANCH}"
        if state.known is None and artifact_of(repository, state) == recipe:
            return ""  # its record was lost; files that are the same are not replaced
        theirs = foreign(repository, state, sorted({*PAPERS, *state.held.names}))
        held = f"it holds {some(theirs)}, which this recipe did not put there"
        return f"{held}; publish to another repository, or replace them with --force" if theirs else ""

    def orphans(self, home: str, recipes: Collection[str], origin: Path) -> tuple[Orphan, ...]:
        """As the records on the branch say; a repository that nobody may read has none."""
        del origin
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

        repository = Repository(self.repo, self.revision)
        try:
            with explained(f"hf://{self.repo}", self.repo, self.revision):
                try:
                    commit = repository.refs().branches.get(self.revision)
                except GatedRepoError:
                    raise
                except RepositoryNotFoundError:
                    return ()
                return tuple(orphans_of(repository, home, recipes, commit)) if commit else ()
        except SourceError as error:
            raise PublishError(error.message, hint=error.hint) from error

    def prune(self, orphan: Orphan, origin: Path) -> None:
        """Remove the files and the record in one commit, which holds only on what was looked at for it."""
        del origin
        repository = Repository(self.repo, self.revision)
        with explained(f"hf://{self.repo}", self.repo, self.revision, publishing=True):
            parent = repository.refs().branches[self.revision]
            if removed := removable(repository, orphan.recipe, parent):
                repository.commit(f"Remove {orphan.recipe}", {}, removed, parent=parent)

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
            publication = HubPublication.of(repository, delivery, force=force)
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
            raise PublishError(f"hf://{self.repo} has no branch {self.revision}", hint=_NO_BRANCH)
        repository.create_branch()
        return repository.refs()

    def _tagging(self, publication: HubPublication, refs: Refs) -> bool:
        """Whether the tag has to be set or moved. Known before anything is committed, so that nothing is half done."""
        if self.tag is None or self.create_pr:
            return False
        if self.tag not in refs.tags:
            return True
        tagged: State = publication.state(refs.tags[self.tag])
        if publication.fits(tagged):
            return False
        if not publication.force:
            raise PublishError(
                f"hf://{self.repo} has a tag {self.tag} at {tagged.commit[:8]}, with other files",
                hint="choose another `tag`, or move this one with --force",
            )
        return True
