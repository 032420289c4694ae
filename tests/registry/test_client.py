"""Logins, certificates and redirects, by the client alone."""

import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hub.faults import Status
from secrets_scan import on_purpose

from loramerge.errors import SourceError
from loramerge.registry.address import is_loopback, root_of
from loramerge.registry.credentials import Credentials, credentials_for
from loramerge.registry.errors import RegistryError, explained
from loramerge.registry.repository import ArtifactRepository
from registry.server import PASSWORD, USER


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Writes config.json."""
    place = on_purpose(tmp_path / "docker")
    place.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(place))
    return lambda data: (place / "config.json").write_text(data if isinstance(data, str) else json.dumps(data))


def helper(tmp_path, monkeypatch, script):
    program = tmp_path / "bin" / "docker-credential-made"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")


AUTH = "dGVzdGVyOmhmX21hZGVfdXBfcGFzc3dvcmQ="
KNOWN = Credentials(USER, PASSWORD)


@pytest.mark.parametrize("name", ["ghcr.io", "https://ghcr.io", "https://ghcr.io/v1/"])
def test_a_login_by_any_name_of_the_registry(config, name):
    config({"auths": {name: {"auth": AUTH}}})
    assert credentials_for("ghcr.io") == KNOWN
    assert credentials_for("quay.io") is None


def test_docker_hub_has_names_of_its_own(config):
    config({"auths": {"https://index.docker.io/v1/": {"auth": AUTH}}})
    assert credentials_for("docker.io") == KNOWN
    assert root_of("docker.io") == "https://registry-1.docker.io"


def test_a_password_is_not_shown():
    assert PASSWORD not in repr(KNOWN)


def test_nobody_is_logged_in_where_there_is_no_file(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "none"))
    assert credentials_for("ghcr.io") is None
    monkeypatch.delenv("DOCKER_CONFIG")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert credentials_for("ghcr.io") is None


def test_a_helper_is_asked(config, tmp_path, monkeypatch):
    config({"credsStore": "made", "auths": {"ghcr.io": {}}})
    said = json.dumps({"Username": USER, "Secret": PASSWORD})
    helper(tmp_path, monkeypatch, f"read host; test $host = ghcr.io || exit 1; echo '{said}'")
    on_purpose(tmp_path / "bin")
    assert credentials_for("ghcr.io") == KNOWN
    with pytest.raises(RegistryError, match="docker-credential-made failed"):
        credentials_for("quay.io")
    helper(tmp_path, monkeypatch, "echo credentials not found in native keychain; exit 1")
    assert credentials_for("quay.io") is None


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("{", "not as `docker login` writes it"),
        ("[]", "not as `docker login` writes it"),
        ({"auths": ["ghcr.io"]}, "not as `docker login` writes it"),
        ({"auths": {"ghcr.io": {"auth": "%"}}}, "not as `docker login` writes it"),
        ({"auths": {"ghcr.io": {"identitytoken": PASSWORD}}}, "identity token"),
        ({"credHelpers": {"ghcr.io": "made-up"}}, "docker-credential-made-up, which"),
        ({"credHelpers": {"ghcr.io": "../made"}}, "not as `docker login` writes it"),
    ],
)
def test_a_configuration_that_can_not_be_used_is_told(config, data, said):
    config(data)
    with pytest.raises(RegistryError) as caught:
        credentials_for("ghcr.io")
    assert said in caught.value.message
    assert caught.value.hint
    assert PASSWORD not in caught.value.message


@pytest.mark.parametrize("host", ["localhost", "localhost:5000", "127.0.0.1:5000", "127.1.2.3", "[::1]:5000"])
def test_this_machine_is_asked_in_the_clear(host):
    assert is_loopback(host)
    assert root_of(host).startswith("http://")


@pytest.mark.parametrize("host", ["localhost.example.org", "10.0.0.1:5000", "ghcr.io", "127.0.0.1.example.org"])
def test_others_are_not(host):
    assert not is_loopback(host)
    assert root_of(host).startswith("https://")


def test_a_password_goes_to_no_service_in_the_clear(registry, config):
    config({"auths": {registry.host: {"auth": AUTH}}})
    challenge = {"WWW-Authenticate": 'Bearer realm="http://192.0.2.1/token",service="x"'}
    registry.inject("GET", "/manifests/", Status(401, challenge), times=9)
    with pytest.raises(RegistryError, match=r"192\.0\.2\.1, which is not https"):
        ArtifactRepository(registry.host, "tester/x").manifest("v1")


def test_what_gives_no_token_is_told(registry):
    for challenge in (f'Bearer realm="{registry.url}/nothing"', "Bearer", "Negotiate", ""):
        registry.inject("GET", "/manifests/", Status(401, {"WWW-Authenticate": challenge}), times=9)
        with pytest.raises(RegistryError, match="wants a login"):
            ArtifactRepository(registry.host, "tester/x").manifest("v1")


def test_netrc_is_not_sent(registry, tmp_path, monkeypatch):
    place = on_purpose(tmp_path / "netrc")
    place.write_text(f"machine 127.0.0.1 login {USER} password {PASSWORD}\n")
    monkeypatch.setenv("NETRC", str(place))
    ArtifactRepository(registry.host, "tester/x").find("v1")
    assert {call.token for call in registry.log} == {""}


class Greeting(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(404)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """The host of a registry with a certificate that nobody knows, and that certificate."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    names = ["-subj", "/CN=registry.test", "-addext", "subjectAltName=DNS:registry.test"]
    files = ["-keyout", tmp_path / "key.pem", "-out", tmp_path / "certificate.pem"]
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    subprocess.run(["openssl", "req", *kind, *names, *files], check=True, capture_output=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Greeting)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate.pem", tmp_path / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    original = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *more, **named: original("127.0.0.1", *more, **named))
    monkeypatch.setenv("NO_PROXY", "registry.test")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    yield f"registry.test:{server.server_address[1]}", tmp_path / "certificate.pem"
    server.shutdown()
    server.server_close()


def test_a_certificate_that_nobody_knows_is_told_and_can_be_named(elsewhere, monkeypatch):
    host, certificate = elsewhere
    with pytest.raises(SourceError, match=r"certificate of registry\.test:.* is not trusted") as caught, explained("x"):
        ArtifactRepository(host, "tester/x").find("v1")
    assert "SSL_CERT_FILE" in caught.value.hint
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert ArtifactRepository(host, "tester/x").find("v1") is None
