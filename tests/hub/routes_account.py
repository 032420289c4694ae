"""Users, and repositories as a whole."""

import re

import yaml

from hub.access import user, writable
from hub.http import Answer, RefusedError, Request, Route
from hub.store import Store


def page(store: Store, kind: str, name: str) -> str:
    """Address of a repository."""
    return f"{store.url}/{'' if kind == 'model' else f'{kind}s/'}{name}"


def whoami(store: Store, request: Request) -> Answer:
    token = {"accessToken": {"role": "write"}}
    return Answer.json({"type": "user", "name": user(store, request), "orgs": [], "auth": token})


def validate_yaml(store: Store, request: Request) -> Answer:
    front = re.match(r"---\n(.*?)\n---", request.json()["content"], re.DOTALL)
    if front is None:
        return Answer.json({"errors": [], "warnings": [{"message": "empty or missing yaml metadata in repo card"}]})
    try:
        yaml.safe_load(front[1])
    except yaml.YAMLError as error:
        raise RefusedError(400, "bad yaml", body={"errors": [{"message": str(error)}], "warnings": []}) from error
    return Answer.json({"errors": [], "warnings": []})


def create(store: Store, request: Request) -> Answer:
    asked = request.json()
    kind, owner = asked.get("type") or "model", asked.get("organization") or user(store, request)
    name = f"{owner}/{asked['name']}"
    if owner != user(store, request):
        raise RefusedError(403, f"You don't have the rights to create a {kind} under the namespace {owner!r}")
    if (kind, name) in store.repositories:
        # the client reads `url` from this body when it is called with exist_ok=True
        message = f"You already created this {kind} repo"
        raise RefusedError(409, message, body={"error": message, "url": page(store, kind, name)})
    store.create(kind, name, private=asked.get("visibility") == "private")
    return Answer.json({"url": page(store, kind, name), "name": name, "id": "0"})


def delete(store: Store, request: Request) -> Answer:
    asked = request.json()
    kind, owner = asked.get("type") or "model", asked.get("organization") or user(store, request)
    repository = writable(store, request, kind, f"{owner}/{asked['name']}")
    del store.repositories[kind, repository.name]
    return Answer.json({})


ROUTES = (
    Route("GET", "/api/whoami-v2", whoami),
    Route("POST", "/api/validate-yaml", validate_yaml),
    Route("POST", "/api/repos/create", create),
    Route("DELETE", "/api/repos/delete", delete),
)
