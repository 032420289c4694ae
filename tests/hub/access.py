"""Who may read and write what; refusals as the real Hub words them."""

from urllib.parse import unquote

from hub.http import RefusedError, Request
from hub.store import Commit, Repository, Store


def visitor(store: Store, request: Request) -> str | None:
    """The user, or None for an anonymous call."""
    if request.token and request.token not in store.tokens:
        raise RefusedError(401, "Invalid credentials in Authorization header")
    return store.tokens.get(request.token)


def user(store: Store, request: Request) -> str:
    """The user; an anonymous call is refused."""
    name = visitor(store, request)
    if name is None:
        raise RefusedError(401, "Invalid username or password.")
    return name


def readable(store: Store, request: Request, kind: str, name: str) -> Repository:
    """The repository, if the caller may know of it. Missing and private look the same: 401, or 404 with a token."""
    who = visitor(store, request)
    repository = store.repositories.get((kind, name))
    if repository is None or (repository.private and who != repository.owner):
        raise RefusedError(404 if who else 401, "Repository not found", "RepoNotFound")
    return repository


def admitted(store: Store, request: Request, kind: str, name: str) -> Repository:
    """The repository, if the caller may read its files."""
    repository = readable(store, request, kind, name)
    who = visitor(store, request)
    if repository.gated and who not in {repository.owner, *repository.admitted}:
        raise RefusedError(403 if who else 401, f"Access to model {name} is restricted.", "GatedRepo")
    return repository


def writable(store: Store, request: Request, kind: str, name: str) -> Repository:
    """The repository, if the caller owns it."""
    repository = readable(store, request, kind, name)
    if user(store, request) != repository.owner:
        raise RefusedError(403, "You don't have the required permissions")
    return repository


def commit_at(repository: Repository, revision: str) -> Commit:
    """The commit that a percent-encoded revision names."""
    commit = repository.resolve(unquote(revision))
    if commit is None:
        raise RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    return commit
