"""Publishing: what must be uploaded first, and the commit."""

import base64
import json
from collections.abc import Mapping
from fnmatch import fnmatch
from typing import Any
from urllib.parse import unquote

from hub.access import commit_at, readable, user, writable
from hub.git import object_id
from hub.http import KIND, NAME, REVISION, Answer, RefusedError, Request, Route
from hub.routes_account import page
from hub.store import LARGE_FILES, Blob, Repository, Store

_LARGE = 10 << 20


def preupload(store: Store, request: Request, kind: str, name: str, revision: str) -> Answer:
    """Say of each file how it comes in, and which a `.gitignore`, sent along or there already, leaves out."""
    files = commit_at(_open_to(store, request, kind, name), revision).files
    asked = request.json()
    there = files[".gitignore"].data.decode() if ".gitignore" in files else ""
    lines = asked.get("gitIgnore", there).splitlines()
    ignored = [line for line in lines if line and not line.startswith("#")]
    said = []
    for file in asked["files"]:
        path, known = file["path"], files.get(file["path"])
        large = file["size"] > _LARGE or path.endswith(LARGE_FILES) or b"\0" in base64.b64decode(file["sample"])
        said.append(
            {
                "path": path,
                "uploadMode": "lfs" if large else "regular",
                "shouldIgnore": any(fnmatch(path, pattern) for pattern in ignored),
                **({"oid": known.sha256 or known.git_id} if known else {}),
            }
        )
    return Answer.json({"files": said})


def commit(store: Store, request: Request, kind: str, name: str, revision: str) -> Answer:
    repository, as_pull_request = _open_to(store, request, kind, name), "create_pr" in request.query
    head = commit_at(repository, revision)
    header, *operations = (json.loads(line) for line in request.body.splitlines() if line.strip())
    asked = header["value"]
    parent = asked.get("parentCommit")
    if parent and not as_pull_request and not head.git_id.startswith(parent):
        raise RefusedError(412, "A commit has happened since. Please refresh and try again.")
    files: Mapping[str, Blob] = head.files
    for operation in operations:
        files = _applied(store, files, operation["key"], operation["value"])
    git_id = repository.commit(files, asked["summary"], asked.get("description", ""), parent=head.git_id)
    home = page(store, kind, name)
    said = {"success": True, "commitOid": git_id, "commitUrl": f"{home}/commit/{git_id}"}
    if as_pull_request:
        repository.pull_requests.append(user(store, request))
        number = len(repository.pull_requests)
        repository.refs[f"refs/pr/{number}"] = git_id
        return Answer.json({**said, "pullRequestUrl": f"{home}/discussions/{number}"})
    branch = f"refs/heads/{unquote(revision)}"
    repository.refs[branch if branch in repository.refs else unquote(revision)] = git_id
    return Answer.json(said)


def _open_to(store: Store, request: Request, kind: str, name: str) -> Repository:
    """The repository, if the caller owns it or, with any account, proposes a change."""
    if "create_pr" not in request.query:
        return writable(store, request, kind, name)
    user(store, request)
    return readable(store, request, kind, name)


def _applied(store: Store, files: Mapping[str, Blob], key: str, value: Mapping[str, Any]) -> Mapping[str, Blob]:
    path = value["path"]
    match key:
        case "file":
            data = base64.b64decode(value["content"])
            return {**files, path: Blob(object_id("blob", data), len(data), data)}
        case "lfsFile":
            if value["oid"] not in store.large_files:
                raise RefusedError(400, f"LFS pointer pointed to a file that does not exist: {path}")
            return {**files, path: store.large_blob(value["oid"])}
        case "deletedFile":
            if path not in files:
                raise RefusedError(404, "A file with this name doesn't exist", "EntryNotFound")
            return {name: blob for name, blob in files.items() if name != path}
        case "deletedFolder":
            return {name: blob for name, blob in files.items() if not name.startswith(f"{path.rstrip('/')}/")}
    raise RefusedError(400, f"unknown operation {key}")


ROUTES = (
    Route("POST", rf"/api/{KIND}/{NAME}/preupload/{REVISION}", preupload),
    Route("POST", rf"/api/{KIND}/{NAME}/commit/{REVISION}", commit),
)
