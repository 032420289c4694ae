"""What git knows of a recipe file."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from loramerge.files.digest import sha256_of
from loramerge.files.reading import text_of

_TIMEOUT = 20.0  # seconds
_SCP = re.compile(r"(?:[^@/:]+@)?(?P<host>[^/:]+):(?!//)(?P<path>.+)")


@dataclass(frozen=True)
class RecipeCommit:
    """The commit that a recipe comes from.

    Attributes:
        commit: The last one that touched the recipe, 40 or 64 hex digits: commits that have nothing to do with it
            leave its artifact as it is.
        path: The recipe within the repository.
        clean: Whether the file is as that commit has it.
        sha256: Of the file as it is.
        url: Where the repository comes from, without user and password; None if only this machine has it.
    """

    commit: str
    path: str
    clean: bool
    sha256: str
    url: str | None


@dataclass(frozen=True)
class ToldByGit:
    """What git knows of recipes where they lie, for a machine on which they do not.

    Attributes:
        commits: File → its commit.
        homes: Folder → what tells it from all others.
    """

    commits: Mapping[Path, RecipeCommit | None]
    homes: Mapping[Path, str]

    @classmethod
    def of(cls, folder: Path, files: Iterable[Path]) -> ToldByGit:
        """Ask git about a folder of recipes, and about files in it."""
        return cls({file: recipe_commit(file) for file in files}, {folder: home_of(folder)})

    @contextmanager
    def believed(self) -> Iterator[None]:
        """Ask nobody else inside a `with`."""
        _told.append(self)
        try:
            yield
        finally:
            _told.remove(self)


_told: list[ToldByGit] = []


def recipe_commit(recipe: Path) -> RecipeCommit | None:
    """Ask git about a recipe; None without git, outside of a work tree, or for a file that was never committed.

    A shallow clone does not know what came before its first commits, and shows every file as touched by them: there
    it is None as well, so that the answer does not change with every commit that a runner checks out.
    """
    for told in _told:
        if recipe in told.commits:
            return told.commits[recipe]
    folder, name = recipe.parent, f"./{recipe.name}"
    commit = _git(folder, "log", "-1", "--format=%H", "--", name)
    path = _git(folder, "ls-files", "--full-name", "--", name)
    if not commit or not path or commit in _first_known(folder):
        return None
    clean = _git(folder, "status", "--porcelain", "--", name) == ""
    url = public_url(_git(folder, "config", "--get", "remote.origin.url") or "")
    return RecipeCommit(commit, path, clean, sha256_of(recipe), url)


def home_of(folder: Path) -> str:
    """What tells a folder of recipes from all others, 16 hex digits: its repository and its place in that.

    On every machine the same, where git knows where the repository comes from; else the folder's own path tells it.
    """
    for told in _told:
        if folder in told.homes:
            return told.homes[folder]
    url = public_url(_git(folder, "config", "--get", "remote.origin.url") or "")
    known = f"{url} {_git(folder, 'rev-parse', '--show-prefix')}" if url else str(folder.resolve())
    return hashlib.sha256(known.encode()).hexdigest()[:16]


def _first_known(folder: Path) -> list[str]:
    """Commits at which the history of a shallow clone is cut off."""
    listed = _git(folder, "rev-parse", "--git-path", "shallow")
    try:
        return text_of(folder / listed).split() if listed else []
    except (OSError, ValueError):
        return []


def public_url(url: str) -> str | None:
    """A remote's address without user, password and query; None for a path on this machine."""
    if "://" not in url:
        found = _SCP.fullmatch(url)
        return f"ssh://{found['host']}/{found['path'].lstrip('/')}" if found and len(found["host"]) > 1 else None
    parts = urlsplit(url)
    if parts.scheme == "file" or not parts.hostname:
        return None
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _git(folder: Path, *arguments: str) -> str | None:
    program = shutil.which("git")
    if program is None:
        return None
    # A hook's variables would lead git to the repository that the hook runs for.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        done = subprocess.run(  # noqa: S603  no shell, and no argument that begins with a dash
            [program, "--no-optional-locks", "--literal-pathspecs", "-c", "core.quotePath=false", *arguments],
            cwd=folder,
            env={**environment, "LC_ALL": "C"},
            capture_output=True,
            check=True,
            timeout=_TIMEOUT,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace").strip()
