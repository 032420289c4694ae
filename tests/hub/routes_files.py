"""The bytes of files: served with redirects and ranges, taken in through git's large file storage protocol."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from hub.access import admitted, commit_at, writable
from hub.http import IN_REPOSITORY, REVISION, Answer, RefusedError, Request, Route, ranged
from hub.routes_account import page

if TYPE_CHECKING:
    from hub.store import Store

_SHA256 = r"(?P<sha256>[0-9a-f]{64})"


def resolve(store: Store, request: Request, kind: str | None, name: str, revision: str, path: str) -> Answer:
    commit = commit_at(admitted(store, request, kind or "model", name), revision)
    blob = commit.files.get(unquote(path))
    said = {"X-Repo-Commit": commit.git_id}
    if blob is None:
        raise RefusedError(404, "Entry not found", "EntryNotFound", headers=said)
    said["ETag"] = f'"{blob.git_id}"'
    if blob.sha256 is None:
        return ranged(request, blob.data, said)
    said |= {"X-Linked-Size": str(blob.size), "X-Linked-Etag": f'"{blob.sha256}"'}
    if store.redirects:
        return Answer(302, headers={**said, "Location": f"{store.content_url}/_content/{blob.sha256}"})
    return ranged(request, store.large_files[blob.sha256], said)


def content(store: Store, request: Request, sha256: str) -> Answer:
    if request.token:
        raise RefusedError(400, "the token was sent to another origin")
    return ranged(request, store.large_files[sha256], {"ETag": f'"{sha256}"'})


def batch(store: Store, request: Request, kind: str | None, name: str) -> Answer:
    writable(store, request, kind or "model", name)
    verify_url = f"{page(store, kind or 'model', name)}.git/info/lfs/objects/verify"
    objects = []
    for wanted in request.json()["objects"]:
        said: dict[str, Any] = {"oid": wanted["oid"], "size": wanted["size"]}
        if wanted["oid"] not in store.large_files:  # no `actions` means that there is nothing to upload
            upload = _upload(store, wanted["oid"], wanted["size"])
            said["actions"] = {"upload": upload, "verify": {"href": verify_url, "header": {}}}
        objects.append(said)
    transfer = "multipart" if store.part_size else "basic"
    media_type = {"Content-Type": "application/vnd.git-lfs+json"}
    return Answer.json({"transfer": transfer, "objects": objects}, media_type)


def _upload(store: Store, sha256: str, size: int) -> dict[str, Any]:
    target = f"{store.content_url}/_upload/{sha256}"
    if not store.part_size or size <= store.part_size:
        return {"href": target}
    parts = {str(part): f"{target}/{part}" for part in range(1, -(-size // store.part_size) + 1)}
    return {
        "href": f"{store.url}/_upload/{sha256}/complete",
        "header": {"chunk_size": str(store.part_size), **parts},
    }


def upload(store: Store, request: Request, sha256: str, part: str | None) -> Answer:
    if part:
        store.parts.setdefault(sha256, {})[int(part)] = request.body
    else:
        _keep(store, sha256, request.body)
    return Answer(headers={"ETag": f'"{hashlib.md5(request.body, usedforsecurity=False).hexdigest()}"'})


def complete(store: Store, request: Request, sha256: str) -> Answer:
    parts = store.parts.pop(sha256)
    if len(request.json()["parts"]) != len(parts):
        raise RefusedError(400, "parts are missing")
    _keep(store, sha256, b"".join(parts[part] for part in sorted(parts)))
    return Answer.json({})


def verify(store: Store, request: Request, kind: str | None, name: str) -> Answer:
    asked = request.json()
    if len(store.large_files.get(asked["oid"], b"")) != asked["size"]:
        raise RefusedError(404, "object missing")
    return Answer.json({})


def _keep(store: Store, sha256: str, data: bytes) -> None:
    if hashlib.sha256(data).hexdigest() != sha256:
        raise RefusedError(400, "sha256 mismatch")
    store.large_files[sha256] = data


ROUTES = (
    Route("GET", rf"{IN_REPOSITORY}/resolve/{REVISION}/(?P<path>.+)", resolve),
    Route("GET", rf"/_content/{_SHA256}", content),
    Route("POST", rf"{IN_REPOSITORY}\.git/info/lfs/objects/batch", batch),
    Route("POST", rf"{IN_REPOSITORY}\.git/info/lfs/objects/verify", verify),
    Route("PUT", rf"/_upload/{_SHA256}(/(?P<part>\d+))?", upload),
    Route("POST", rf"/_upload/{_SHA256}/complete", complete),
)
