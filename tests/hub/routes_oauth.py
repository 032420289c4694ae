"""Trusted publishers: a CI's identity token for a token of one repository (RFC 8693), and the CI that hands it out."""

from hub.http import Answer, RefusedError, Request, Route
from hub.store import Store

IDENTITY = "identity-of-the-workflow"
"""What the CI says of a job; the real one is a signed JWT."""
REQUEST_TOKEN = "of-this-job-alone"
EXCHANGED = "hf_jwt_loopback_exchanged"
_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"


def identity(store: Store, request: Request) -> Answer:
    if request.token != REQUEST_TOKEN:
        raise RefusedError(401, "not a job of this CI")
    assert request.query["audience"] == [store.url]
    return Answer.json({"value": IDENTITY})


def exchange(store: Store, request: Request) -> Answer:
    asked = request.json()
    assert (asked["grant_type"], asked["subject_token_type"]) == (_EXCHANGE, _ID_TOKEN)
    repository = store.repositories.get(("model", asked["resource"]))
    if asked["subject_token"] != IDENTITY or repository is None or not repository.trusted:
        raise RefusedError(400, "invalid_grant")
    store.tokens = {**store.tokens, EXCHANGED: repository.owner}
    return Answer.json({"access_token": EXCHANGED, "token_type": "bearer", "expires_in": 3600})


ROUTES = (
    Route("GET", "/ci/identity", identity),
    Route("POST", "/oauth/token", exchange),
)
