"""The Hub: what answers to which call."""

from __future__ import annotations

from collections.abc import Mapping

from loopback import Call, Loopback

from hub import routes_account, routes_commit, routes_files, routes_listing, routes_oauth, routes_refs
from hub.http import Answer, RefusedError, Request
from hub.store import Repository, Store

__all__ = ["Call", "Hub"]

ROUTES = (
    *routes_account.ROUTES,
    *routes_listing.ROUTES,
    *routes_refs.ROUTES,
    *routes_commit.ROUTES,
    *routes_files.ROUTES,
    *routes_oauth.ROUTES,
)


class Hub(Loopback):
    """A Hub on a free port of this machine.

    Attributes:
        store: What it keeps.
    """

    def reset(self) -> None:
        """Forget all repositories as well."""
        self.store = Store(self.url, f"http://localhost:{self.port}")
        super().reset()

    def repository(
        self, name: str, files: Mapping[str, bytes] | None = None, *, private: bool = False, gated: bool = False
    ) -> Repository:
        """A new model repository with files on `main`."""
        repository = self.store.create("model", name, private=private, gated=gated)
        if files:
            self.store.write(repository, files)
        return repository

    def answered(self, request: Request) -> Answer:
        """By the first route that takes it."""
        try:
            answers = (route.answer(self.store, request) for route in ROUTES)
            found = next((answer for answer in answers if answer is not None), None)
        except RefusedError as refused:
            return refused.answer
        return found or Answer.json({"error": f"no such page: {request.method} {request.path}"}, status=404)
