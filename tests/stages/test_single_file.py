"""A base that is one file, as a user has it: from `init` to `verify --rebuild`."""

import json
import shutil

import foreign
import pytest
import single_files
import tiny
import torch
from command_line import invoke, write_recipe
from hub.environment import CACHE
from safetensors.torch import load_file, save_file

from loramerge import read_recipe, run
from loramerge.bases.published import architecture
from loramerge.errors import ExitCode, MismatchError, SourceError
from loramerge.files.digest import sha256_of
from loramerge.stages.base import base_of
from loramerge.stages.lock import lock as lock_sources
from loramerge.stages.resolve import resolve

pytestmark = pytest.mark.slow

MODEL = [{"kind": "model"}]
BASE = {"source": "base.safetensors", "config": "./folder"}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A checkpoint of Stable Diffusion 1.5, what says what it is, and a LoRA."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name in ("model_index.json", "unet/config.json", "text_encoder/config.json", "scheduler/scheduler_config.json"):
        (tmp_path / "folder" / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(tiny.folder("sd15") / name, tmp_path / "folder" / name)
    single_files.write(single_files.checkpoint("sd15", tiny.folder("sd15")), tmp_path / "base.safetensors")
    pairs = foreign.random_lora(tiny.shared("sd15"), rank=4, alpha=2, seed=3, few=True)
    foreign.write_diffusers(pairs, tmp_path / "ink.safetensors")
    return tmp_path


def recipe(here, outputs=MODEL, base=BASE, lora="ink.safetensors", **more):
    path = write_recipe(here, base="x", loras={"ink": lora}, outputs=list(outputs), **more)
    text = path.read_text()
    assert "source: x\n" in text
    path.write_text(
        text.replace("source: x\n", "".join(f"{key}: {value}\n  " for key, value in base.items()).rstrip() + "\n")
    )
    return path


def test_from_run_to_rebuild(here):
    path = recipe(here, [*MODEL, {"kind": "adapter", "format": "kohya"}])
    done = invoke("run", path)
    assert done.exit_code == ExitCode.DONE, done.output
    out = here / "dist" / "small"
    assert [each.name for each in (out / "model").iterdir()] == ["small.safetensors"]
    assert (out / "model" / "small.safetensors").stat().st_mode & 0o444 == 0o444
    stated = json.loads((out / "provenance.json").read_text())["predicate"]["buildDefinition"]["resolvedDependencies"]
    roles = {each["name"]: each["annotations"]["role"] for each in stated}
    assert roles["base.safetensors"] == "base"
    assert roles["unet/config.json"] == "config"
    card = (out / "README.md").read_text()
    assert "cp model/small.safetensors ComfyUI/models/checkpoints/" in card
    assert 'StableDiffusionPipeline.from_single_file("model/small.safetensors")' in card
    assert invoke("verify", out).exit_code == ExitCode.DONE
    again = invoke("verify", out, "--rebuild", "--recipe", path)
    assert again.exit_code == ExitCode.DONE, again.output
    assert "up to date" in invoke("plan", path).output


def test_a_lock_holds_the_file_and_what_says_what_it_is(here):
    path = recipe(here)
    assert invoke("lock", path).exit_code == ExitCode.DONE
    lock = lock_sources(read_recipe(path))
    assert {*lock.sources.base.files} == {"base.safetensors"}
    assert {*lock.sources.config.files} == {
        "model_index.json", "unet/config.json", "text_encoder/config.json", "scheduler/scheduler_config.json",
    }  # fmt: skip
    assert invoke("run", path).exit_code == ExitCode.DONE
    shutil.rmtree(here / "dist")
    config = here / "folder" / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text() + "\n")
    refused = invoke("run", path)
    assert refused.exit_code == ExitCode.BAD_SOURCE
    assert "base.config (./folder): scheduler/scheduler_config.json has" in " ".join(refused.output.split())
    path.write_text(path.read_text().replace("./folder", "./other"))
    refused = invoke("run", path)
    assert "base.config is ./other, the lock has ./folder" in " ".join(refused.output.split())


def test_adapters_are_written_for_such_a_base_as_for_its_folder(here):
    formats = [{"kind": "adapter", "format": each} for each in ("peft", "diffusers", "kohya", "comfyui")]
    run(read_recipe(recipe(here, formats)), out=here / "file", device="cpu")
    folder = recipe(here, formats, base={"source": tiny.folder("sd15")})
    run(read_recipe(folder), out=here / "as-folder", device="cpu")
    for name in sorted((here / "file").rglob("*.safetensors")):
        other = load_file(here / "as-folder" / name.relative_to(here / "file"))
        assert {key: each.tolist() for key, each in load_file(name).items()} == {
            key: each.tolist() for key, each in other.items()
        }


def test_a_text_encoder_that_the_file_lacks_can_be_left_out(here):
    tensors = load_file(here / "base.safetensors")
    save_file({name: each for name, each in tensors.items() if name.startswith("model.")}, here / "base.safetensors")
    with pytest.raises(MismatchError, match=r"text_encoder.*the base has no such module") as caught:
        run(read_recipe(recipe(here)), out=here / "out", device="cpu")
    assert "`unmatched: skip`" in caught.value.hint
    lora = {"source": "ink.safetensors", "unmatched": "skip"}
    run(read_recipe(recipe(here, lora=lora)), out=here / "out", device="cpu")
    assert {*load_file(here / "out" / "model" / "small.safetensors")} == {
        name for name in tensors if name.startswith("model.")
    }


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ({"outputs": [{"kind": "pipeline"}]}, "is one file and no pipeline"),
        ({"preview": {"prompts": ["a fox"]}}, "pictures need the folder of a pipeline"),
        ({"base": {"source": tiny.folder("sd15"), "config": "./folder"}}, "has configs of its own"),
        ({"base": {**BASE, "config": "./ink.safetensors"}}, "is a file of weights"),
        ({"base": {**BASE, "config": "flux/dev"}}, r"is not the FLUX\.1 that base\.config says"),
    ],
)
def test_what_does_not_go_together_is_refused(here, more, match):
    with pytest.raises(MismatchError, match=match):
        run(read_recipe(recipe(here, **more)), out=here / "out", device="cpu")
    assert not (here / "out").exists()


def test_without_a_config_a_file_that_nobody_published_is_refused(here):
    refused = invoke("run", recipe(here, base={"source": "base.safetensors"}))
    assert refused.exit_code == ExitCode.BAD_SOURCE
    assert "holds no model that is known by its names and shapes" in " ".join(refused.output.split())
    assert not (here / "dist").exists()


def test_a_file_of_the_hub_and_its_config(here, hub):
    data = (here / "base.safetensors").read_bytes()
    hub.repository("me/checkpoints", files={"sd/base.safetensors": data, "other.safetensors": data})
    folder = here / "folder"
    files = {each.relative_to(folder).as_posix(): each.read_bytes() for each in folder.rglob("*.json")}
    hub.repository("me/configs", files=files)
    base = {"source": "hf://me/checkpoints/sd/base.safetensors", "config": "hf://me/configs"}
    path = recipe(here, base=base)
    assert invoke("lock", path).exit_code == ExitCode.DONE
    done = invoke("run", path)
    assert done.exit_code == ExitCode.DONE, done.output
    run(read_recipe(recipe(here)), out=here / "local", device="cpu")
    (here / "small.lock.yaml").unlink()
    one, two = (load_file(place / "model" / "small.safetensors") for place in (here / "dist" / "small", here / "local"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    with pytest.raises(SourceError, match="is no base") as caught:
        resolve(read_recipe(recipe(here, base={"source": "hf://me/checkpoints"})))
    assert "hf://me/checkpoints/other.safetensors or hf://me/checkpoints/sd/base.safetensors" in caught.value.hint


def test_what_a_file_of_the_hub_is_its_header_tells(here, hub):
    data = (here / "base.safetensors").read_bytes()
    hub.repository("me/checkpoints", files={"base.safetensors": data})
    base = base_of(read_recipe(recipe(here, base={**BASE, "source": "hf://me/checkpoints/base.safetensors"})))
    assert [*base.components] == ["unet", "text_encoder"]
    assert len(data) not in {each.stat().st_size for each in CACHE.rglob("*") if each.is_file()}


def test_a_sha256_is_compared(here):
    good = sha256_of(here / "base.safetensors")
    run(read_recipe(recipe(here, base={**BASE, "sha256": good})), out=here / "out", device="cpu")
    with pytest.raises(SourceError, match="is not the one that was promised"):
        run(read_recipe(recipe(here, base={**BASE, "sha256": "ab" * 32})), out=here / "other", device="cpu")


def test_two_recipes_may_publish_into_one_folder(here):
    publish = [{"kind": "folder", "path": "checkpoints", "outputs": ["model"]}]
    one = recipe(here, publish=publish)
    two = here / "two.yaml"
    two.write_text(one.read_text().replace("name: small", "name: two"))
    done = invoke("run", one, two)
    assert done.exit_code == ExitCode.DONE, done.output
    assert {each.name for each in (here / "checkpoints").glob("*.safetensors")} == {
        "small.safetensors",
        "two.safetensors",
    }


def test_a_family_says_what_one_of_several_is(here):
    base = {"source": "x.safetensors", "config": "wan/14b"}
    parsed = read_recipe(recipe(here, base=base))
    assert parsed.base.config_source is None
    assert architecture(parsed.base.config).family.name == "wan"
    assert parsed.sources == ("x.safetensors", "ink.safetensors")
