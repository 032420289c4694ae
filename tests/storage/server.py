"""The storage as tests see it: its objects by boto3, and the door that loramerge goes through."""

from __future__ import annotations

import atexit
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from hub.faults import Fault, Harmless
from hub.http import Answer, Request
from loopback import Loopback

KEY = "AKIALOOPBACKEXAMPLE0"
SECRET = "s3-loopback-secret/key+of=nobody"
_OWN = {"connection", "transfer-encoding", "server", "date"}


@dataclass(frozen=True)
class Refusal(Harmless):
    """The storage says no, as S3 does."""

    code: str
    status: int
    more: str = ""
    acts: bool = False

    def spoil(self, _answer: Answer) -> Answer:
        said = f"<Error><Code>{self.code}</Code><Message>injected</Message>{self.more}</Error>"
        return Answer(self.status, said.encode(), {"Content-Type": "application/xml"})


class _Whole(Request):
    """A request whose path has its query, as S3 has calls of one path."""

    @property
    def path(self) -> str:
        return self.target


class Storage(Loopback):
    """A storage on a free port of this machine.

    Attributes:
        log: All calls since the last reset.
        damages: What is written to such a path arrives with one bit of each byte flipped.
    """

    damages = ""

    def __init__(self) -> None:
        self._moto = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("serve.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        atexit.register(self._end)
        self._behind = int(self._moto.stdout.readline())
        super().__init__()

    def _end(self) -> None:
        self._moto.stdin.close()
        self._moto.wait(10)
        self._moto.stdout.close()

    def reset(self) -> None:
        """Forget all buckets, calls and faults; come back up if down."""
        self.damages = ""
        super().reset()
        self._forwarded(Request("POST", "/moto-api/reset", {}, b""))

    def answer(self, request: Request) -> tuple[Answer, Fault | None]:
        return super().answer(_Whole(request.method, request.target, request.headers, request.body))

    def answered(self, request: Request) -> Answer:
        return self._forwarded(request)

    def _forwarded(self, request: Request) -> Answer:
        connection = HTTPConnection("127.0.0.1", self._behind, timeout=30)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in {*_OWN, "expect"}}
        headers["Content-Length"] = str(len(request.body))
        flips = self.damages and request.method == "PUT" and self.damages in request.target
        body = bytes(byte ^ 1 for byte in request.body) if flips else request.body
        connection.request(request.method, request.target, body, headers)
        response = connection.getresponse()
        body = response.read()
        found = {name.title(): value for name, value in response.getheaders() if name.lower() not in _OWN}
        connection.close()
        return Answer(response.status, body, found)

    @cached_property
    def client(self) -> Any:
        """boto3's, past the door."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self._behind}",
            aws_access_key_id="other",
            aws_secret_access_key="other",
            region_name="us-east-1",
            config=Config(response_checksum_validation="when_required"),  # damaged objects are looked at as well
        )

    def bucket(
        self, name: str, objects: Mapping[str, bytes] | None = None, *, versioned: bool = False, **more: Any
    ) -> None:
        """Make a bucket, with objects in it as any other program puts them there."""
        self.client.create_bucket(Bucket=name)
        if versioned:
            self.client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        for key, data in (objects or {}).items():
            self.put(name, key, data, **more)

    def put(self, bucket: str, key: str, data: bytes, **more: Any) -> str:
        """Write an object as any other program does; returns its version."""
        return self.client.put_object(Bucket=bucket, Key=key, Body=data, **more).get("VersionId", "")

    def remove(self, bucket: str, key: str) -> None:
        """Remove an object."""
        self.client.delete_object(Bucket=bucket, Key=key)

    def objects(self, bucket: str, prefix: str = "") -> dict[str, bytes]:
        """Everything in a bucket by its key."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        return {key: self.client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}

    def buckets(self) -> list[str]:
        """Names of all buckets."""
        return [each["Name"] for each in self.client.list_buckets()["Buckets"]]

    def uploads(self, bucket: str) -> list[str]:
        """Keys of uploads that were begun and not finished."""
        return [each["Key"] for each in self.client.list_multipart_uploads(Bucket=bucket).get("Uploads", ())]
