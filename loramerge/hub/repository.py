"""A repository on a Hub as a publisher sees it: refs, files without their bytes, commits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.errors import PublishError
from loramerge.files.digest import git_blob_of, sha256_of
from loramerge.files.reading import content_of, text_of
from loramerge.hub.retry import patiently

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo, CommitOperationCopy


@dataclass(frozen=True)
class Content:
    """What a file shall hold.

    Attributes:
        data: The bytes, or the file that has them.
        sha256: By which large file storage knows them.
        blob: The id that git gives to them.
    """

    data: Path | bytes
    sha256: str
    blob: str

    @classmethod
    def of(cls, data: Path | bytes) -> Content:
        """Take in a file or bytes."""
        if isinstance(data, Path):
            return cls(data, sha256_of(data), git_blob_of(data))
        blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        return cls(data, hashlib.sha256(data).hexdigest(), blob)

    @property
    def text(self) -> str:
        """As text; what is no UTF-8 is replaced."""
        data = content_of(self.data) if isinstance(self.data, Path) else self.data
        return data.decode("utf-8", errors="replace")


@dataclass(frozen=True)
class ListedFile:
    """What a listing says of a file; `sha256` is None for one that lies in git itself.

    Attributes:
        blob: git's id of the bytes, or of the pointer to large file storage.
        sha256: Of the bytes in large file storage.
    """

    blob: str
    sha256: str | None

    def holds(self, content: Content) -> bool:
        """Whether the file has these bytes already."""
        return self.blob == content.blob if self.sha256 is None else self.sha256 == content.sha256


@dataclass(frozen=True)
class Refs:
    """Name → commit of branches and tags, number → commit of pull requests."""

    branches: Mapping[str, str]
    tags: Mapping[str, str]
    pull_requests: Mapping[int, str]


@dataclass(frozen=True)
class Repository:
    """One branch of a repository. Every call is repeated with patience, and raises what the client raises.

    Attributes:
        name: `owner/name`.
        branch: Where commits go.
    """

    name: str
    branch: str

    def create(self, *, private: bool) -> None:
        """Make the repository if it does not exist.

        Raises:
            PublishError: It exists and is public, and shall be private.
        """
        from huggingface_hub import HfApi

        patiently(lambda: HfApi().create_repo(self.name, private=private, exist_ok=True))
        if private and self.is_public():
            raise PublishError(
                f"hf://{self.name} exists and is public, the recipe says `private: true`",
                hint="make it private in its settings on the Hub, or remove `private` from the recipe",
            )

    def is_public(self) -> bool:
        """Whether everybody may read it."""
        from huggingface_hub import HfApi

        return not patiently(lambda: HfApi().model_info(self.name)).private

    def create_branch(self) -> None:
        """Make the branch, beginning at `main`."""
        from huggingface_hub import HfApi

        patiently(lambda: HfApi().create_branch(self.name, branch=self.branch, exist_ok=True))

    def refs(self) -> Refs:
        """What there is, at this moment."""
        from huggingface_hub import HfApi

        found = patiently(lambda: HfApi().list_repo_refs(self.name, include_pull_requests=True))
        return Refs(
            {ref.name: ref.target_commit for ref in found.branches},
            {ref.name: ref.target_commit for ref in found.tags},
            {
                int(number): ref.target_commit
                for ref in found.pull_requests or ()
                if (number := ref.ref.rpartition("/")[2]).isdigit()
            },
        )

    def files(self, commit: str) -> dict[str, ListedFile]:
        """Every file at a commit."""
        from huggingface_hub import HfApi
        from huggingface_hub.hf_api import RepoFile

        tree = patiently(lambda: list(HfApi().list_repo_tree(self.name, recursive=True, revision=commit)))
        return {
            entry.path: ListedFile(entry.blob_id, entry.lfs.sha256 if entry.lfs else None)
            for entry in tree
            if isinstance(entry, RepoFile)
        }

    def text(self, commit: str, file: str) -> str:
        """A small file at a commit; what is no UTF-8 is replaced."""
        from huggingface_hub import HfApi

        path = patiently(lambda: HfApi().hf_hub_download(self.name, file, revision=commit))
        return text_of(Path(path), errors="replace")

    def commit(
        self, title: str, add: Mapping[str, Content], delete: Iterable[str], *, parent: str | None
    ) -> CommitInfo:
        """One try at one commit; without a parent as a pull request.

        Large files that the Hub has already, from a try that failed, are not sent again: it says so when asked.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

        # the client writes into operations: each try needs its own
        operations: list[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete] = [
            CommitOperationAdd(name, content.data) for name, content in add.items()
        ]
        operations += [CommitOperationDelete(name, is_folder=False) for name in delete]
        return HfApi().create_commit(
            self.name,
            operations,
            commit_message=title,
            revision=self.branch,
            parent_commit=parent,
            create_pr=parent is None,
        )

    def since(self, commit: str) -> list[str]:
        """Who moved the branch from a commit: title, authors and id of what came after it, newest first."""
        from huggingface_hub import HfApi

        found = []
        for entry in patiently(lambda: HfApi().list_repo_commits(self.name, revision=self.branch)):
            if entry.commit_id == commit:
                break
            found.append(f"{entry.title!r} by {', '.join(entry.authors)} ({entry.commit_id[:8]})")
        return found

    def open_pull_requests(self, *, own: bool = False) -> dict[int, str]:
        """Number → address.

        Args:
            own: Only those of the repository's owner and of whoever is logged in: anybody may open one.
        """
        from huggingface_hub import HfApi

        found = patiently(
            lambda: list(
                HfApi().get_repo_discussions(self.name, discussion_type="pull_request", discussion_status="open")
            )
        )
        authors = {each.author for each in found}
        if own:
            owner = self.name.partition("/")[0]
            authors = {owner} if authors <= {owner} else {owner, _user()}
        return {each.num: each.url for each in found if each.author in authors}

    def move_tag(self, tag: str, commit: str, *, exists: bool) -> None:
        """Let a tag name a commit."""
        from huggingface_hub import HfApi

        api = HfApi()
        if exists:
            patiently(lambda: api.delete_tag(self.name, tag=tag))
        # `exist_ok` for a try whose answer was lost; an existing tag would stay where it is, so look afterwards
        patiently(lambda: api.create_tag(self.name, tag=tag, revision=commit, exist_ok=True))
        if (found := self.refs().tags.get(tag)) != commit:
            raise PublishError(
                f"hf://{self.name}: the tag {tag} is at {found}, not at the commit {commit} that was published",
                hint="somebody else moves it at this moment; run again",
            )


def _user() -> str:
    """Who is logged in; empty if nobody is, or if the Hub does not say."""
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError

    if get_token() is None:
        return ""
    try:
        return str(patiently(lambda: HfApi().whoami()).get("name", ""))
    except HfHubHTTPError:  # the token that a CI gets for one repository is nobody's
        return ""
