"""The registry: manifests, blobs, uploads whole or in chunks, ranges, referrers, tokens, conditions, deletion."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from hub.http import Answer, RefusedError, Request, ranged
from loopback import Loopback

NAME = r"(?P<name>[a-z0-9._/-]+)"
INDEX = "application/vnd.oci.image.index.v1+json"
USER, PASSWORD = "tester", "hf_made_up_password"
PULL, PUSH = "hf_made_up_pull", "hf_made_up_push"
_CODES = {400: "UNSUPPORTED", 401: "UNAUTHORIZED", 403: "DENIED", 404: "MANIFEST_UNKNOWN", 405: "UNSUPPORTED"}


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class Repository:
    """What is kept under one name."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


class Registry(Loopback):
    """A registry on a free port of this machine.

    Attributes:
        repositories: Name → what it holds.
        referrers: Whether it keeps account of referrers.
        deletion: Whether anything can be deleted.
        tags_deletion: Whether a tag can be deleted alone.
        login: `""`, `basic` or `token`: what it asks for.
        public: Whether it gives tokens to read to everybody.
        etags: Whether it takes conditions.
        elsewhere: Where it sends those who ask for blobs; empty for nowhere.
        page: How many tags or referrers it lists at once.
        seen: What was in the header `Authorization` of calls to other names of this machine.
    """

    def reset(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.referrers = self.deletion = self.tags_deletion = self.public = True
        self.login, self.etags, self.elsewhere, self.page = "", False, "", 100
        self.uploads: dict[str, bytes] = {}
        self.seen: list[str] = []
        super().reset()

    @property
    def host(self) -> str:
        """As references have it."""
        return f"127.0.0.1:{self.port}"

    def answered(self, request: Request) -> Answer:
        try:
            if request.headers.get("Host", "").startswith("localhost"):  # where blobs are sent to
                self.seen.append(request.headers.get("Authorization") or "")
            elif request.path == "/token":
                return self._token(request)
            else:
                self._check_login(request)
            return self._routed(request)
        except RefusedError as refused:
            return refused.answer

    def _routed(self, request: Request) -> Answer:
        routes = {
            rf"/v2/{NAME}/manifests/(?P<reference>[^/]+)": self._manifests,
            rf"/v2/{NAME}/blobs/uploads/(?P<upload>[^/]*)": self._upload,
            rf"/v2/{NAME}/blobs/(?P<digest>[^/]+)": self._blobs,
            rf"/v2/{NAME}/referrers/(?P<digest>[^/]+)": self._referrers,
            rf"/v2/{NAME}/tags/list": self._tags,
        }
        for pattern, action in routes.items():
            if match := re.fullmatch(pattern, request.path):
                named = match.groupdict()
                return action(request, self.repositories.setdefault(named.pop("name"), Repository()), **named)
        raise _no(404)

    # who may do what

    def _check_login(self, request: Request) -> None:
        given = request.headers.get("Authorization") or ""
        writes = request.method not in {"GET", "HEAD"}
        basic = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.login == "basic" and given != basic:
            raise _no(401, {"WWW-Authenticate": 'Basic realm="basic-realm"'})
        if self.login == "token" and given not in {f"Bearer {PUSH}", *([] if writes else [f"Bearer {PULL}"])}:
            scope = f"repository:any:{'pull,push' if writes else 'pull'}"
            challenge = f'Bearer realm="{self.url}/token",service="loopback",scope="{scope}"'
            raise _no(401, {"WWW-Authenticate": challenge})

    def _token(self, request: Request) -> Answer:
        given = request.headers.get("Authorization") or ""
        basic = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if given and given != basic:
            raise _no(401)
        if not given and not self.public:
            raise _no(401)
        writes = "push" in request.query["scope"][0]
        return Answer.json({"token": PUSH if given and writes else PULL})

    # manifests

    def _manifests(self, request: Request, repository: Repository, reference: str) -> Answer:
        digest = reference if ":" in reference else repository.tags.get(reference, "")
        known = repository.manifests.get(digest)
        if request.method in {"GET", "HEAD"}:
            if known is None:
                raise _no(404)
            told = {"Content-Type": known[0], "Docker-Content-Digest": digest}
            return Answer(200, known[1], told | ({"ETag": f'"{digest}"'} if self.etags else {}))
        if request.method == "DELETE":
            return self._delete(repository, reference)
        if self.etags and (wanted := request.headers.get("If-Match")) and wanted != f'"{digest}"':
            raise _no(412)
        return self._put(request, repository, reference)

    def _put(self, request: Request, repository: Repository, reference: str) -> Answer:
        data, digest = json.loads(request.body), digest_of(request.body)
        parts = [*data.get("layers", []), *([data["config"]] if "config" in data else [])]
        absent = [each["digest"] for each in parts if each["digest"] not in repository.blobs]
        absent += [each["digest"] for each in data.get("manifests", []) if each["digest"] not in repository.manifests]
        if absent or (":" in reference and reference != digest):
            raise _no(400)
        repository.manifests[digest] = (request.headers.get("Content-Type") or "", request.body)
        if ":" not in reference:
            repository.tags[reference] = digest
        subject = {"OCI-Subject": data["subject"]["digest"]} if self.referrers and "subject" in data else {}
        return Answer(201, b"", {"Location": request.path, "Docker-Content-Digest": digest, **subject})

    def _delete(self, repository: Repository, reference: str) -> Answer:
        if not self.deletion or (":" not in reference and not self.tags_deletion):
            raise _no(405)
        if ":" not in reference:
            found = repository.tags.pop(reference, None)
        else:
            found = repository.manifests.pop(reference, None)
            repository.tags = {tag: digest for tag, digest in repository.tags.items() if digest != reference}
        if found is None:
            raise _no(404)
        return Answer(202)

    # blobs

    def _blobs(self, request: Request, repository: Repository, digest: str) -> Answer:
        if digest not in repository.blobs:
            raise _no(404)
        if self.elsewhere and request.method == "GET" and not request.headers["Host"].startswith("localhost"):
            return Answer(307, b"", {"Location": f"{self.elsewhere}{request.path}?signature=secret"})
        return ranged(request, repository.blobs[digest], {"Docker-Content-Digest": digest})

    def _upload(self, request: Request, repository: Repository, upload: str) -> Answer:
        if request.method == "POST":
            upload = str(len(self.uploads) + 1)
            self.uploads[upload] = b""
            return Answer(202, b"", {"Location": f"{request.path}{upload}?state=a%20b"})
        if upload not in self.uploads or "state" not in request.query:
            raise _no(404)
        start = (request.headers.get("Content-Range") or "0-").partition("-")[0]
        if request.method == "PATCH" and int(start) != len(self.uploads[upload]):
            raise _no(416)
        data = self.uploads[upload] + request.body
        if request.method == "PATCH":
            self.uploads[upload] = data
            return Answer(202, b"", {"Location": request.target, "Range": f"0-{len(data) - 1}"})
        digest = parse_qs(urlsplit(request.target).query)["digest"][0]
        if digest_of(data) != digest:
            raise _no(400)
        del self.uploads[upload]
        repository.blobs[digest] = data
        return Answer(201, b"", {"Location": f"/v2/x/blobs/{digest}", "Docker-Content-Digest": digest})

    # listings

    def _tags(self, request: Request, repository: Repository) -> Answer:
        last = request.query.get("last", [""])[0]
        tags = [tag for tag in sorted(repository.tags) if tag > last]
        more = {"Link": f'<{request.path}?last={tags[self.page - 1]}>; rel="next"'} if len(tags) > self.page else {}
        return Answer.json({"name": "x", "tags": tags[: self.page] or None}, more)

    def _referrers(self, request: Request, repository: Repository, digest: str) -> Answer:
        if not self.referrers:
            return Answer(404, b"404 page not found\n")
        start = int(request.query.get("start", ["0"])[0])
        found = []
        for own, (kind, content) in repository.manifests.items():
            data = json.loads(content)
            if (data.get("subject") or {}).get("digest") == digest:
                told = {"mediaType": kind, "digest": own, "size": len(content), "artifactType": data["artifactType"]}
                found.append(told | {"annotations": data.get("annotations", {})})
        end = start + self.page
        more = {"Link": f'<{request.path}?start={end}>; rel="next"'} if len(found) > end else {}
        body = {"schemaVersion": 2, "mediaType": INDEX, "manifests": found[start:end]}
        return Answer.json(body, {"Content-Type": INDEX, **more})


def _no(status: int, headers: dict[str, str] | None = None) -> RefusedError:
    body = {"errors": [{"code": _CODES.get(status, "UNKNOWN"), "message": "hf_made_up of the registry"}]}
    return RefusedError(status, "", body=body, headers=headers)
