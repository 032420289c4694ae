"""Branches and tags."""

from urllib.parse import unquote

from hub.access import commit_at, readable, writable
from hub.http import KIND, NAME, Answer, RefusedError, Request, Route
from hub.store import Store

_REF = r"(?P<sort>branch|tag)/(?P<ref>[^/]+)"


def refs(store: Store, request: Request, kind: str, name: str) -> Answer:
    known = readable(store, request, kind, name).refs

    def below(prefix: str) -> list[dict[str, str]]:
        return [
            {"name": ref.removeprefix(prefix), "ref": ref, "targetCommit": commit}
            for ref, commit in known.items()
            if ref.startswith(prefix)
        ]

    listed = {"branches": below("refs/heads/"), "tags": below("refs/tags/"), "pullRequests": below("refs/pr/")}
    return Answer.json({**listed, "converts": []})


def create(store: Store, request: Request, kind: str, name: str, sort: str, ref: str) -> Answer:
    """A branch is named in the address and its start in the body; a tag the other way round."""
    repository = writable(store, request, kind, name)
    asked = request.json()
    full, start = (
        (f"refs/heads/{unquote(ref)}", asked.get("startingPoint") or "main")
        if sort == "branch"
        else (f"refs/tags/{asked['tag']}", unquote(ref))
    )
    commit = commit_at(repository, start)
    if full in repository.refs:
        raise RefusedError(409, f"Reference already exists: {full}")
    repository.refs[full] = commit.git_id
    return Answer.json({})


def delete(store: Store, request: Request, kind: str, name: str, sort: str, ref: str) -> Answer:
    repository = writable(store, request, kind, name)
    full = f"refs/{'heads' if sort == 'branch' else 'tags'}/{unquote(ref)}"
    if full not in repository.refs:
        raise RefusedError(404, "Revision not found", "RevisionNotFound")
    del repository.refs[full]
    return Answer.json({})


def discussions(store: Store, request: Request, kind: str, name: str) -> Answer:
    """Every pull request is open: nobody merges or closes one here."""
    repository = readable(store, request, kind, name)
    said = [
        {
            "num": number,
            "title": repository.commits[repository.refs[f"refs/pr/{number}"]].title,
            "author": {"name": author},
            "createdAt": "2023-11-14T22:13:20.000Z",
            "status": "open",
            "isPullRequest": True,
            "repo": {"name": name, "type": kind},
        }
        for number, author in enumerate(repository.pull_requests, 1)
    ]
    return Answer.json({"discussions": said, "count": len(said), "start": 0})


ROUTES = (
    Route("GET", rf"/api/{KIND}/{NAME}/discussions", discussions),
    Route("GET", rf"/api/{KIND}/{NAME}/refs", refs),
    Route("POST", rf"/api/{KIND}/{NAME}/{_REF}", create),
    Route("DELETE", rf"/api/{KIND}/{NAME}/{_REF}", delete),
)
