"""A token in the environment, an address or a proxy, and everything that fails: no error says it, with -v neither."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product

import artifacts
import pytest
from command_line import invoke, process, write_recipe
from hub.faults import Harmless
from hub.http import Answer

from loramerge import recipe as recipes
from loramerge.cli.commands import commands
from loramerge.errors import ExitCode

pytestmark = pytest.mark.long

TOKEN = "hf_" + "aB3" * 11 + "x"
PASSWORD = "PASS.WORD-1"


@dataclass(frozen=True)
class Echo(Harmless):
    """A Hub that says the token which it was shown, wherever an answer has room for it."""

    status: int
    acts: bool = False

    def spoil(self, _answer):
        said = f"the token {TOKEN} at https://user:{PASSWORD}@hub/?token={TOKEN} may not"
        headers = {"X-Error-Message": said, "X-Error-Code": TOKEN, "X-Request-Id": TOKEN, "WWW-Authenticate": said}
        return Answer.json({"error": said, "message": said}, headers, status=self.status)


def unsaid(result):
    assert result.exit_code not in {ExitCode.DONE, ExitCode.CHANGES_PENDING}, result.output
    assert TOKEN not in result.output
    assert PASSWORD not in result.output


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.chdir(artifacts.workspace(tmp_path))
    return tmp_path


@pytest.mark.parametrize("status", [401, 403, 404, 412, 429, 500])
def test_a_hub_that_says_the_token_itself(hub, place, status):
    content = (place / "a.safetensors").read_bytes()
    hub.repository("me/a", {"a.safetensors": content})
    reading = write_recipe(place, name="reading", base="base", loras={"a": "hf://me/a/a.safetensors"})
    target = {"kind": "hub", "repo": "me/out"}
    writing = write_recipe(
        place, name="writing", base="base", loras={"a": "a.safetensors"}, license="mit", publish=[target]
    )
    for method in ("GET", "HEAD", "POST", "PUT"):
        hub.inject(method, "", Echo(status), times=10_000)
    for arguments in (
        ("plan", reading), ("run", reading), ("lock", reading), ("inspect", "hf://me/a"), ("verify", "hf://me/a"),
        ("merge", "hf://me/a", "a.safetensors", "-o", "x.safetensors"), ("run", writing),
    ):  # fmt: skip
        unsaid(invoke(*arguments))
    unsaid(invoke("run", writing, "--json"))
    assert hub.log
    assert not [path for path in place.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]


@pytest.mark.parametrize("source", ["hf://me/{}", "hf://me/a/{}.bin", "{}.safetensors", "https://h/x?y={}", "hf:{}"])
def test_a_token_in_the_place_of_a_name(hub, place, source):
    named = source.format(TOKEN)
    unsaid(invoke("inspect", named))
    unsaid(invoke("run", write_recipe(place, name="x", base=named, loras={"a": named})))


@pytest.mark.parametrize("verbose", [[], ["-v"]])
def test_a_defect_whose_words_have_a_token(place, monkeypatch, capfd, verbose):
    def failing(*_, **__):
        raise ZeroDivisionError(f"https://user:{PASSWORD}@h/a.safetensors?token={TOKEN}")

    monkeypatch.setattr(recipes, "read_each", failing)
    with pytest.raises(SystemExit):
        commands.main(["validate", "r.yaml", *verbose])
    said = "".join(capfd.readouterr())
    assert ("Traceback" in said) is bool(verbose)
    assert TOKEN not in said
    assert PASSWORD not in said


ENVIRONMENTS = {
    "endpoint": {"HF_ENDPOINT": f"http://user:{PASSWORD}@127.0.0.1:9"},
    "proxy": {
        "HTTPS_PROXY": f"http://user:{PASSWORD}@127.0.0.1:9",
        "HF_ENDPOINT": "https://localhost:9",
        "NO_PROXY": "",
    },
    "broken token": {"HF_TOKEN": f"{TOKEN}\nx"},
}
SOURCES = {
    "hub": "hf://me/a",
    "web": {"source": f"https://localhost:9/x.safetensors?token={TOKEN}", "sha256": "a" * 64},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """All of them at once: each waits for a server that is not there."""
    place = artifacts.workspace(tmp_path_factory.mktemp("environments"))
    for name, source in SOURCES.items():
        write_recipe(place, name=name, base="base", loras={"a": source})

    def run(case):
        variables = {"HF_TOKEN": TOKEN, "HF_HUB_ETAG_TIMEOUT": "1", **ENVIRONMENTS[case[0]]}
        return process("run", f"{case[1]}.yaml", "-v", cwd=place, env=variables)

    cases = list(product(ENVIRONMENTS, SOURCES))
    with ThreadPoolExecutor(len(cases)) as pool:
        return dict(zip(cases, pool.map(run, cases), strict=True))


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_the_environment_has(runs, environment, source):
    done = runs[environment, source]
    assert done.returncode == ExitCode.BAD_SOURCE, done.stderr
    assert "Traceback" not in done.stderr
    for secret in (TOKEN, PASSWORD):
        assert secret not in done.stdout + done.stderr
