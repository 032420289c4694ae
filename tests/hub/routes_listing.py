"""What a repository has at a revision."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

import yaml

from hub.access import admitted, commit_at, readable
from hub.git import pointer, tree_id
from hub.http import KIND, NAME, REVISION, Answer, RefusedError, Request, Route

if TYPE_CHECKING:
    from hub.store import Blob, Commit, Store

_PAGE = 1000


def info(store: Store, request: Request, kind: str, name: str, revision: str | None) -> Answer:
    """Open to all even when the repository is gated, as on the real Hub."""
    repository = readable(store, request, kind, name)
    commit = commit_at(repository, revision or "main")
    card = _card(commit)
    return Answer.json(
        {
            "_id": "0",
            "id": name,
            "modelId": name,
            "author": repository.owner,
            "sha": commit.git_id,
            "private": repository.private,
            "gated": "auto" if repository.gated else False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": (card or {}).get("tags", []),
            "cardData": card,
            "siblings": [
                _sibling(path, blob, detailed="blobs" in request.query) for path, blob in sorted(commit.files.items())
            ],
            "createdAt": "2023-11-14T22:13:20.000Z",
            "lastModified": commit.date,
        }
    )


def auth_check(store: Store, request: Request, kind: str, name: str) -> Answer:
    admitted(store, request, kind, name)
    return Answer.json({})


def tree(store: Store, request: Request, kind: str, name: str, revision: str, below: str | None) -> Answer:
    commit = commit_at(readable(store, request, kind, name), revision)
    base = f"{unquote(below)}/" if below else ""
    recursive = request.query.get("recursive") == ["true"]
    files = {path: blob for path, blob in sorted(commit.files.items()) if path.startswith(base)}
    if base and not files:
        raise RefusedError(404, f"{below} does not exist", "EntryNotFound")
    folders: dict[str, dict[str, str]] = {}
    entries = []
    for path, blob in files.items():
        parts = path.removeprefix(base).split("/")
        for depth in range(1, len(parts)):
            folders.setdefault(base + "/".join(parts[:depth]), {})["/".join(parts[depth:])] = blob.git_id
        if recursive or len(parts) == 1:
            entries.append(_entry(path, blob))
    entries += [
        {"type": "directory", "path": folder, "size": 0, "oid": tree_id(blobs)}
        for folder, blobs in folders.items()
        if recursive or "/" not in folder.removeprefix(base)
    ]
    start = int(request.query.get("cursor", ["0"])[0])
    rest = start + _PAGE
    following = f"{store.url}{request.path}?recursive={str(recursive).lower()}&cursor={rest}"
    links = {"Link": f'<{following}>; rel="next"'} if rest < len(entries) else {}
    return Answer.json(entries[start:rest], links)


def paths_info(store: Store, request: Request, kind: str, name: str, revision: str) -> Answer:
    files = commit_at(readable(store, request, kind, name), revision).files
    wanted = parse_qs(request.body.decode()).get("paths", [])
    return Answer.json([_entry(path, files[path]) for path in wanted if path in files])


def commits(store: Store, request: Request, kind: str, name: str, revision: str) -> Answer:
    repository = readable(store, request, kind, name)
    commit: Commit | None = commit_at(repository, revision)
    history = []
    while commit:
        said = {"id": commit.git_id, "title": commit.title, "message": commit.description, "date": commit.date}
        history.append({**said, "authors": [{"user": repository.owner}]})
        commit = repository.commits.get(commit.parent) if commit.parent else None
    return Answer.json(history)


def _large(blob: Blob) -> dict[str, Any]:
    return {"size": blob.size, "pointerSize": len(pointer(blob.sha256 or "", blob.size))}


def _sibling(path: str, blob: Blob, *, detailed: bool) -> dict[str, Any]:
    if not detailed:
        return {"rfilename": path}
    large = {"lfs": {"sha256": blob.sha256, **_large(blob)}} if blob.sha256 else {}
    return {"rfilename": path, "size": blob.size, "blobId": blob.git_id, **large}


def _entry(path: str, blob: Blob) -> dict[str, Any]:
    large = {"lfs": {"oid": blob.sha256, **_large(blob)}} if blob.sha256 else {}
    return {"type": "file", "path": path, "size": blob.size, "oid": blob.git_id, **large}


def _card(commit: Commit) -> dict[str, Any] | None:
    readme = commit.files.get("README.md")
    front = re.match(rb"---\n(.*?)\n---", readme.data, re.DOTALL) if readme else None
    return yaml.safe_load(front[1]) if front else None


ROUTES = (
    Route("GET", rf"/api/{KIND}/{NAME}(/revision/{REVISION})?", info),
    Route("GET", rf"/api/{KIND}/{NAME}/auth-check", auth_check),
    Route("GET", rf"/api/{KIND}/{NAME}/tree/{REVISION}(/(?P<below>.+))?", tree),
    Route("POST", rf"/api/{KIND}/{NAME}/paths-info/{REVISION}", paths_info),
    Route("GET", rf"/api/{KIND}/{NAME}/commits/{REVISION}", commits),
)
