import hashlib
import logging
import shutil
import socket
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from loramerge.errors import SourceError
from loramerge.files.digest import FileDigest
from loramerge.sources import parse

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")

NUMBERS = bytes(range(256)) * 10_000
WEIGHTS = save({"numbers": np.frombuffer(NUMBERS, np.uint8)})
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.log.append(self.path)
        name = self.path.partition("?")[0].strip("/").partition("/")[0]
        if name.isdigit():
            self.send_response(int(name))
            self.send_header("Retry-After", "30")
            self.end_headers()
        elif name in {"moved", "downgraded"}:
            self.send_response(302)
            target = "/file/lora.safetensors" if name == "moved" else "http://127.0.0.1:9/lora.safetensors?t=secret"
            self.send_header("Location", target)
            self.end_headers()
        else:
            body = WEIGHTS if name != "other" else WEIGHTS[::-1]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body if name != "short" else body[:1000])

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificate")
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", folder / "key.pem", "-out", folder / "certificate.pem"]
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    subprocess.run(["openssl", "req", *kind, *names, *files], check=True, capture_output=True)
    return folder


@pytest.fixture
def server(certificate, monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "certificate.pem"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "certificate.pem", certificate / "key.pem")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None
    server.log = []
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def locate(server, path="file/lora.safetensors", sha256=SHA256):
    url = f"https://localhost:{server.server_address[1]}/{path}"
    return parse(url, folder=Path("/nowhere"), sha256=sha256).locate()


def left_over(tmp_path):
    return [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_file_is_downloaded_once(server, tmp_path):
    located = locate(server)
    assert located.files == ("lora.safetensors",)
    assert server.log == []
    folder = located.fetch(located.files)
    assert folder == tmp_path / "cache/loramerge" / SHA256
    assert (folder / "lora.safetensors").read_bytes() == WEIGHTS
    assert located.fetch(located.files) == folder
    assert server.log == ["/file/lora.safetensors"]
    assert left_over(tmp_path) == [folder / "lora.safetensors"]


@pytest.fixture
def log(monkeypatch):
    """What anybody logs, of any level."""
    said, handle = [], logging.Logger.handle
    monkeypatch.setattr(
        logging.Logger, "handle", lambda logger, each: said.append(each.getMessage()) or handle(logger, each)
    )
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.NOTSET)
    root.debug("a word")
    assert said == ["a word"]
    yield said
    root.setLevel(level)


def test_an_address_with_a_token_is_not_logged(server, log):
    located = locate(server, "moved/lora.safetensors?token=secret")
    located.fetch(located.files)
    assert "secret" not in "".join(log)


def test_a_proxy_for_other_protocols_is_left_alone(server, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    located = locate(server)
    assert (located.fetch(located.files) / "lora.safetensors").read_bytes() == WEIGHTS


def test_a_cached_file_that_was_damaged_is_downloaded_again(server):
    located = locate(server)
    file = located.fetch(located.files) / "lora.safetensors"
    file.write_bytes(b"damaged")
    located.fetch(located.files)
    assert file.read_bytes() == WEIGHTS


def test_a_redirect_is_followed(server):
    located = locate(server, "moved/lora.safetensors")
    assert (located.fetch(located.files) / "lora.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    ("path", "message", "hint"),
    [
        ("other/lora.safetensors", "not the one that was promised", "correct `sha256`"),
        ("short/lora.safetensors", f"broke off after 1000 of {len(WEIGHTS)} bytes", "try again"),
        (
            "downgraded/lora.safetensors",
            r"http://127.0.0.1:9/lora.safetensors\?…, which is not https",
            "https",
        ),
        ("401/lora.safetensors", r"the server refuses it \(401\)", "give its path"),
        ("403/lora.safetensors", r"the server refuses it \(403\)", "give its path"),
        ("404/lora.safetensors", r"there is no such file \(404\)", "check the address"),
        ("429/lora.safetensors", "rate limit", "try again in 30 s"),
        ("500/lora.safetensors", r"the server failed \(500\)", "try again later"),
    ],
)
def test_what_goes_wrong_leaves_nothing(server, tmp_path, log, path, message, hint):
    located = locate(server, f"{path}?token=secret")
    with pytest.raises(SourceError, match=message) as raised:
        located.fetch(located.files)
    assert hint in raised.value.hint
    assert "secret" not in str(raised.value) + "".join(log)
    assert left_over(tmp_path) == []


def test_a_certificate_that_nobody_vouches_for(server, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    located = locate(server)
    with pytest.raises(SourceError, match="certificate is not trusted") as raised:
        located.fetch(located.files)
    assert "SSL_CERT_FILE" in raised.value.hint


def test_nobody_there(server):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"https://localhost:{unused.getsockname()[1]}/lora.safetensors"
        located = parse(url, folder=Path(), sha256=SHA256).locate()
        with pytest.raises(SourceError, match="can't reach the server"):
            located.fetch(located.files)


def test_a_cache_that_can_not_be_written(server, tmp_path):
    (tmp_path / "cache").write_text("in the way")
    located = locate(server)
    with pytest.raises(SourceError, match="can't keep the file in") as raised:
        located.fetch(located.files)
    assert "XDG_CACHE_HOME" in raised.value.hint


def test_another_name_is_refused(server):
    with pytest.raises(SourceError, match="there is no file other"):
        locate(server).fetch(["other"])


def test_digests_are_those_of_what_is_downloaded(server):
    located = locate(server)
    assert located.digests(located.files) == {"lora.safetensors": FileDigest(len(WEIGHTS), SHA256)}
    assert server.log == ["/file/lora.safetensors"]
