"""A recipe whose sources and target are in buckets, by the commands that a user has."""

import pytest
import tiny
from artifacts import write_lora
from command_line import facts, invoke, listing, write_recipe

from loramerge.errors import ExitCode
from loramerge.files.digest import files_of

pytestmark = pytest.mark.slow


@pytest.fixture
def recipe(storage, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    base = {f"base/{name}": path.read_bytes() for name, path in files_of(tiny.folder("sd15")).items()}
    storage.bucket("models", base, ChecksumAlgorithm="SHA256")
    for seed, name in enumerate("ab"):
        storage.put("models", f"{name}.safetensors", write_lora(tmp_path / f"{name}.safetensors", seed).read_bytes())
    storage.bucket("merged")
    loras = {name: f"s3://models/{name}.safetensors" for name in "ab"}
    outputs = [{"kind": "adapter", "format": "diffusers"}, {"kind": "pipeline", "dtype": "float16"}]
    publish = [{"kind": "s3", "url": "s3://merged/small"}]
    return write_recipe(tmp_path, base="s3://models/base", loras=loras, outputs=outputs, publish=publish, license="mit")


def downloaded(storage):
    """Paths of objects that were fetched, without what a target holds."""
    paths = {call.path for call in storage.log if call.method == "GET" and "list-type" not in call.path}
    return {path for path in paths if path.startswith("/models")}


def test_from_bucket_to_bucket(storage, recipe, tmp_path):
    assert invoke("plan", recipe).exit_code == ExitCode.CHANGES_PENDING
    assert {name for name in downloaded(storage) if name.endswith(".safetensors")} == {
        "/models/a.safetensors",  # which do not say what they are
        "/models/b.safetensors",
    }
    assert invoke("lock", recipe).exit_code == 0
    storage.log.clear()
    assert invoke("plan", recipe).exit_code == ExitCode.CHANGES_PENDING
    assert downloaded(storage) == set()
    done = invoke("run", recipe)
    assert done.exit_code == 0, done.output
    held = storage.objects("merged", "small/")
    assert held.pop("small/.loramerge/small.json")
    assert held == {
        f"small/{name}": data for name, data in listing(tmp_path / "dist/small").items() if data is not None
    }
    assert b"s3://merged/small" in held["small/README.md"]
    assert invoke("plan", recipe).exit_code == ExitCode.DONE
    storage.log.clear()
    assert invoke("run", recipe).exit_code == 0
    assert not [call for call in storage.log if call.method not in {"GET", "HEAD"}]
    assert invoke("verify", "s3://merged/small").exit_code == 0
    assert facts("inspect", "s3://models/a.safetensors")

    storage.put("merged", "small/report.json", b"{}")
    assert "report.json was changed" in invoke("plan", recipe).output
    verified = invoke("verify", "s3://merged/small")
    assert verified.exit_code == ExitCode.NOT_VERIFIED
    assert "report.json was changed" in verified.output
    assert invoke("run", recipe).exit_code == ExitCode.NOT_PUBLISHED
    assert invoke("run", recipe, "--force").exit_code == 0
    assert invoke("verify", "s3://merged/small").exit_code == 0

    storage.put("models", "a.safetensors", write_lora(tmp_path / "c.safetensors", 7).read_bytes())
    moved = invoke("run", recipe, "--rebuild", "--force")
    assert moved.exit_code == ExitCode.BAD_SOURCE
    assert "loramerge lock" in moved.output


def test_from_buckets_without_a_recipe(storage, recipe, tmp_path):
    base = ("--base", "s3://models/base")
    loras = ("s3://models/a.safetensors:0.7", "s3://models/b.safetensors")
    merged = invoke("merge", *loras, *base, "-o", "m.safetensors")
    assert merged.exit_code == 0, merged.output
    begun = invoke("init", "s3://models/a.safetensors", *base, "-o", "new.yaml")
    assert begun.exit_code == 0, begun.output
    assert "source: s3://models/base" in (tmp_path / "new.yaml").read_text()
    converted = invoke("convert", "s3://models/a.safetensors", "-o", "k.safetensors", "--format", "kohya", *base)
    assert converted.exit_code == 0, converted.output
    lost = invoke("validate", recipe, "--set", "loras.0.source=s3://key:secret@models/a.safetensors")
    assert lost.exit_code == ExitCode.INVALID_RECIPE
    assert "neither '@' nor ':'" in lost.output
    assert ":secret@" not in lost.output
    twice = {"kind": "s3", "url": "s3://merged/small/"}
    again = invoke("validate", recipe, "--set", f"publish={[*2 * [twice]]}")
    assert "publishes to this prefix already" in again.output
