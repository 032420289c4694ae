"""What the Hub keeps: repositories with their commits and refs, and the large files beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone

from hub.git import commit_id, object_id, pointer, tree_id

LARGE_FILES = (".safetensors", ".bin", ".pt", ".ckpt", ".png", ".gguf")
ATTRIBUTES = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LARGE_FILES).encode()
TOKENS = {"hf_loopback_tester": "tester", "hf_loopback_stranger": "stranger"}
_EPOCH = 1_700_000_000


@dataclass(frozen=True)
class Blob:
    """A file at a commit: its content lies in `data`, or in large file storage under `sha256`."""

    git_id: str
    size: int
    data: bytes = b""
    sha256: str | None = None


@dataclass(frozen=True)
class Commit:
    """A state of all files."""

    git_id: str
    parent: str | None
    files: Mapping[str, Blob]
    title: str
    description: str
    date: str


@dataclass
class Repository:
    """Commits by id, and refs (`refs/heads/main`) that name them.

    `pull_requests` are the names of their authors: the first one opened number 1. `admitted` may read it although it
    is gated; where it is `trusted`, a CI may publish without a token of its own.
    """

    kind: str
    name: str
    private: bool = False
    gated: bool = False
    trusted: bool = False
    admitted: set[str] = field(default_factory=set)
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    pull_requests: list[str] = field(default_factory=list)

    @property
    def owner(self) -> str:
        return self.name.partition("/")[0]

    @property
    def head(self) -> str:
        """Commit that `main` names."""
        return self.refs["refs/heads/main"]

    def resolve(self, revision: str) -> Commit | None:
        """The commit that a branch, a tag, a ref or at least seven digits of an id name."""
        for ref in (revision, f"refs/heads/{revision}", f"refs/tags/{revision}"):
            if ref in self.refs:
                return self.commits[self.refs[ref]]
        known = (commit for git_id, commit in self.commits.items() if git_id.startswith(revision))
        return next(known, None) if len(revision) >= 7 else None

    def commit(self, files: Mapping[str, Blob], title: str, description: str = "", parent: str | None = None) -> str:
        """Add a commit; no ref names it yet."""
        seconds = _EPOCH + len(self.commits)
        message = f"{title}\n\n{description}" if description else title
        tree = tree_id({name: blob.git_id for name, blob in files.items()})
        git_id = commit_id(tree, parent, f"hub <hub@localhost> {seconds} +0000", message)
        date = datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        self.commits[git_id] = Commit(git_id, parent, dict(files), title, description, date)
        return git_id


@dataclass
class Store:
    """Everything that one server keeps.

    Attributes:
        url: The server's address.
        content_url: Its second address, another origin: the client must not send its token there.
        part_size: Size of the parts in which large files are uploaded; None for one piece.
        redirects: Whether large files are served from `content_url`.
    """

    url: str
    content_url: str
    tokens: Mapping[str, str] = field(default_factory=lambda: dict(TOKENS))
    part_size: int | None = None
    redirects: bool = True
    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)
    large_files: dict[str, bytes] = field(default_factory=dict)
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)

    def create(self, kind: str, name: str, *, private: bool = False, gated: bool = False) -> Repository:
        """A new repository, which has one commit already as on the real Hub."""
        repository = self.repositories[kind, name] = Repository(kind, name, private, gated)
        files = {".gitattributes": self.blob(".gitattributes", ATTRIBUTES)}
        repository.refs["refs/heads/main"] = repository.commit(files, "initial commit")
        return repository

    def write(self, repository: Repository, files: Mapping[str, bytes | None], *, branch: str = "main") -> str:
        """Commit files, or their removal where the content is None, to a branch; returns the commit."""
        ref = f"refs/heads/{branch}"
        parent = repository.refs[ref]
        blobs = dict(repository.commits[parent].files)
        for name, data in files.items():
            blobs.pop(name, None)
            if data is not None:
                blobs[name] = self.blob(name, data)
        repository.refs[ref] = repository.commit(blobs, "write", parent=parent)
        return repository.refs[ref]

    def blob(self, name: str, data: bytes) -> Blob:
        """Take in a file, to large file storage if its name says so."""
        if not name.endswith(LARGE_FILES):
            return Blob(object_id("blob", data), len(data), data)
        sha256 = hashlib.sha256(data).hexdigest()
        self.large_files[sha256] = data
        return self.large_blob(sha256)

    def large_blob(self, sha256: str) -> Blob:
        """A file that large file storage has already."""
        size = len(self.large_files[sha256])
        return Blob(object_id("blob", pointer(sha256, size)), size, sha256=sha256)
