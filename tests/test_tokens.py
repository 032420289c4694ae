"""What may be a token in an address reaches no file, no output and no error."""

import hashlib

import pytest
import tiny
from artifacts import write_lora
from command_line import invoke, listing, write_recipe
from secrets_scan import on_purpose

from loramerge.errors import ExitCode

pytestmark = pytest.mark.slow

SECRET = "=secret-of-the-address"


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A recipe of a LoRA behind an address with a token, which was downloaded before."""
    content = write_lora(tmp_path / "ink.safetensors", 0).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    cached = tmp_path / "cache" / "loramerge" / digest / "ink.safetensors"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(content)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    ink = {"source": f"https://example.org/ink.safetensors?token{SECRET}", "sha256": digest}
    publish = [{"kind": "folder", "path": "models"}]
    return on_purpose(
        write_recipe(
            tmp_path, base=tiny.folder("sd15"), loras={"ink": ink}, license="mit", publish=publish, report="full"
        )
    )


def test_what_a_run_writes(recipe, tmp_path):
    result = invoke("run", "small.yaml")
    assert result.exit_code == ExitCode.DONE, result.output
    assert "has https://example.org/ink.safetensors without its query, which may hold a token" in result.stderr
    written = {**listing(tmp_path / "dist"), **listing(tmp_path / "models")}
    assert len(written) > 8
    assert not [name for name, content in written.items() if content and SECRET.encode() in content]
    assert invoke("plan", "small.yaml").exit_code == ExitCode.DONE
    assert invoke("verify", "dist/small", "--rebuild").exit_code == ExitCode.DONE


@pytest.mark.parametrize("key", ["loras.0.source", "loras.0.sorce", "name"])
def test_what_errors_say_of_a_value_that_was_set(recipe, key):
    result = invoke("validate", "small.yaml", "--set", f"{key}=https://user:pass@example.org/a.bin?token{SECRET}")
    assert result.exit_code == ExitCode.INVALID_RECIPE
    assert SECRET not in result.output
    assert "pass@" not in result.output
