"""A repository on a Hugging Face Hub, or a file or folder in one; read at one commit."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from loramerge.errors import SourceError
from loramerge.files.outline import write_outline
from loramerge.hub.errors import explained
from loramerge.hub.headers import header_of
from loramerge.hub.listing import CardFacts, Promise, promises_of, revisions_of
from loramerge.hub.retry import patiently
from loramerge.sources.listing import below, refuse_leaving
from loramerge.sources.source import (
    Given,
    Located,
    check_sha256,
    files_below,
    missing,
    nearest,
    stays_inside,
)

_COMMIT = re.compile(r"[0-9a-f]{40}")
_NAME = re.compile(r"(?!.*(?:--|\.\.))(?!.*\.git$)\w(?:[\w.-]{0,94}\w)?", re.ASCII)  # as huggingface_hub validates it


@dataclass(frozen=True)
class HubSource:
    """`hf://owner/name[/path/in/repo]`.

    Attributes:
        reference: As the recipe gives it.
        repo: `owner/name`.
        path: A file or folder in the repository; empty for all of it.
        revision: Branch, tag or commit; None for the default branch.
        sha256: What the one file must have.
    """

    reference: str
    repo: str
    path: str = ""
    revision: str | None = None
    sha256: str | None = None

    @classmethod
    def parse(cls, given: Given, /) -> HubSource | None:
        """Take `hf://…`.

        Raises:
            SourceError: Owner, name, path or revision can't be right.
        """
        reference = given.reference
        if not reference.startswith("hf:"):
            return None
        owner, name, path = [*reference.removeprefix("hf://").split("/", 2), "", ""][:3]
        if "@" in owner + name:
            raise SourceError(
                f"{reference}: '@' can't be part of it", hint="give a revision as `revision:`, and a token as HF_TOKEN"
            )
        if re.search(r"\?.*=", reference):
            raise SourceError(
                f"{reference}: hf:// has no query",
                hint="give a revision as `revision:`, and a token as HF_TOKEN or by `hf auth login`",
            )
        if not reference.startswith("hf://") or not _NAME.fullmatch(owner) or not _NAME.fullmatch(name):
            raise SourceError(f"{reference} names no repository", hint="write hf://owner/name or hf://owner/name/file")
        if path and not stays_inside(path):
            raise SourceError(
                f"{reference}: {path!r} is no path in a repository",
                hint="separate the parts by single '/', without '.', '..', ':' and '\\'",
            )
        if given.revision is not None and (
            not given.revision.isprintable() or re.search(r"^$|\s|\.\.", given.revision)
        ):
            raise SourceError(f"{reference}: {given.revision!r} is no branch, tag or commit")
        if given.sha256 is not None and not path:
            raise SourceError(
                f"{reference}: it is a repository, and `sha256` is for one file",
                hint="name the file, or pin the repository by a commit in `revision`",
            )
        return cls(reference, f"{owner}/{name}", path, given.revision, given.sha256)

    @property
    def local(self) -> Path | None:
        """None: it has to be fetched."""
        return None

    def at(self, commit: str, /) -> HubSource:
        """The same at a commit."""
        return replace(self, revision=commit)

    def locate(self) -> Located:
        """Resolve the revision to a commit and list the files at it.

        Offline (`HF_HUB_OFFLINE=1`) a commit is answered from huggingface_hub's cache, as far as it was downloaded.

        Raises:
            SourceError: Repository, revision or file is missing, gated or unreachable.
        """
        commit, card, listing = self._cached() if _offline() else self._listed()
        refuse_leaving(self.reference, "repository", listing)
        folder, promises = below(self.reference, f"the repository {self.repo}", self.path, listing)
        if self.path in listing:
            self._check_file(listing[self.path])
        elif self.sha256 is not None:
            raise SourceError(f"{self.reference}: it is a folder, and `sha256` is for one file", hint="name the file")
        return Located(
            self.reference,
            commit,
            tuple(sorted(promises)),
            partial(self._fetch, commit, folder, promises),
            card.licence,
            {name: digest for name, promise in promises.items() if (digest := promise.digest) is not None},
            tuple(sorted(name for name in listing if not self.path and name not in promises)),
            card,
            None if _offline() else partial(self._outline, commit, folder, promises),
        )

    def _listed(self) -> tuple[str, CardFacts, dict[str, Promise]]:
        from huggingface_hub import HfApi, constants
        from huggingface_hub.errors import RevisionNotFoundError

        with explained(self.reference, self.repo, self.revision):
            api, seconds = HfApi(), constants.HF_HUB_DOWNLOAD_TIMEOUT
            try:
                info = patiently(
                    lambda: api.model_info(self.repo, revision=self.revision, files_metadata=True, timeout=seconds)
                )
            except RevisionNotFoundError as error:
                if hint := nearest(self.revision or "", revisions_of(self.repo)):
                    message = f"{self.reference}: {self.repo} has no revision {self.revision}"
                    raise SourceError(message, hint=hint) from error
                raise
            if info.gated:
                patiently(lambda: api.auth_check(self.repo))
            promises = promises_of(info)
        if not _COMMIT.fullmatch(str(info.sha)):
            raise SourceError(f"{self.reference}: the Hub did not say which commit this is", hint="check HF_ENDPOINT")
        return str(info.sha), CardFacts.on_the_hub(info), promises

    def _cached(self) -> tuple[str, CardFacts, dict[str, Promise]]:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        if self.revision is None or not _COMMIT.fullmatch(self.revision):
            moving = self.revision or "the default branch"
            raise SourceError(
                f"{self.reference}: offline, and {moving} can mean another commit by now",
                hint="unset HF_HUB_OFFLINE, or give a 40-digit commit as `revision`",
            )
        try:
            snapshot = snapshot_download(self.repo, revision=self.revision, local_files_only=True, allow_patterns=[])
        except LocalEntryNotFoundError as error:
            raise SourceError(
                f"{self.reference}: offline, and nothing of commit {self.revision} is in the cache",
                hint="run it once without HF_HUB_OFFLINE",
            ) from error
        card = CardFacts.here(Path(snapshot) / "README.md")
        return self.revision, card, dict.fromkeys(files_below(Path(snapshot)), Promise())

    def _check_file(self, promise: Promise) -> None:
        if promise.size == 0:
            raise SourceError(f"{self.reference}: the file is empty", hint="ask its author for the right one")
        if self.sha256 is not None and promise.sha256 is not None and promise.sha256 != self.sha256:
            raise SourceError(
                f"{self.reference}: the file is not the one that was promised: "
                f"its sha256 is {promise.sha256}, expected {self.sha256}",
                hint="pin the right commit in `revision`, or correct `sha256` if the change is intended",
            )

    def _fetch(self, commit: str, folder: str, promises: Mapping[str, Promise], names: Iterable[str], /) -> Path:
        wanted = tuple(names)
        if not wanted:
            raise ValueError("no names to fetch")
        missing(wanted, promises, reference=self.reference)
        for name in wanted:
            file = self._download(commit, folder + name, promises[name])
            if self.sha256 not in {None, promises[name].sha256}:
                check_sha256(file, self.sha256, name=self.reference)
        return file.parents[name.count("/")]

    def _outline(
        self, commit: str, folder: str, promises: Mapping[str, Promise], names: Iterable[str], into: Path, /
    ) -> None:
        for name in names:
            file = into / name
            file.parent.mkdir(parents=True, exist_ok=True)
            if name.endswith(".safetensors"):
                with explained(self.reference, self.repo, commit):
                    start = header_of(self.repo, folder + name, commit)
                size = promises[name].size
                write_outline(file, start, len(start) if size is None else size)
            else:
                shutil.copyfile(self._download(commit, folder + name, promises[name]), file)

    def _download(self, commit: str, name: str, promise: Promise) -> Path:
        """A file at a commit, compared with its listing even when the cache had it: the client checks sizes only."""
        from huggingface_hub import hf_hub_download

        with explained(self.reference, self.repo, commit):
            file = Path(patiently(lambda: hf_hub_download(self.repo, name, revision=commit)))
            if promise.broken_by(file):
                file = Path(patiently(lambda: hf_hub_download(self.repo, name, revision=commit, force_download=True)))
        if wrong := promise.broken_by(file):
            raise SourceError(f"{self.reference}: {name} is not what the Hub lists: {wrong}", hint="try again later")
        return file


def _offline() -> bool:
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE
