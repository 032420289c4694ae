"""The fixtures `registry`, ours, and `registries`, ours and Debian's in turn."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from secrets_scan import refuse

from registry.server import Registry

DEBIAN = shutil.which("docker-registry")
_CONFIG = """version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}", secret: loopback}}
"""


@pytest.fixture(scope="session")
def one_registry() -> Registry:
    return Registry()


@pytest.fixture
def registry(one_registry: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Registry]:
    """The loopback registry, empty, with nothing in the cache and nobody logged in; nobody waits for it."""
    monkeypatch.setattr("loramerge.registry.retry.sleep", lambda _: None)
    monkeypatch.setattr("loramerge.registry.retry._RETRYING.spent", set())
    monkeypatch.setattr("loramerge.registry.client.SECONDS", 2.0)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    shutil.rmtree(Path(os.environ["XDG_CACHE_HOME"], "loramerge", "oci"), ignore_errors=True)
    one_registry.reset()
    yield one_registry
    for name, repository in one_registry.repositories.items():
        for digest, data in (
            *repository.blobs.items(),
            *((each, two[1]) for each, two in repository.manifests.items()),
        ):
            refuse(data, f"{name}@{digest} in the registry")
    one_registry.reset()


@pytest.fixture(scope="session")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The host of Debian's docker-registry, which is distribution 2.8 and knows no referrers."""
    if DEBIAN is None:
        pytest.skip("docker-registry is not on PATH: apt-get install docker-registry")
    folder = tmp_path_factory.mktemp("docker-registry")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = folder / "config.yml"
    config.write_text(_CONFIG.format(folder=folder / "store", port=port))
    with subprocess.Popen([DEBIAN, "serve", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(port)
            yield f"127.0.0.1:{port}"
        finally:
            process.kill()


@pytest.fixture(params=["ours", "ours without referrers", "docker-registry"])
def registries(request: pytest.FixtureRequest, registry: Registry) -> str:
    """The host of a registry: one that lists referrers, one that does not, and one that others wrote."""
    registry.referrers = request.param != "ours without referrers"
    return request.getfixturevalue("debian") if request.param == "docker-registry" else registry.host


def _wait_for(port: int) -> None:
    for _ in range(200):
        with socket.socket() as connection:
            if connection.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError("docker-registry does not answer")
