"""The model card, and every way to load that it shows, against the loopback Hub and against the folder itself."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import foreign
import pytest
import tiny
import yaml
from canonical import files_of
from command_line import invoke
from hub.example import OWNER

from loramerge import read_lock, read_recipe, run, verify
from loramerge.errors import ExitCode, VerificationError

# huggingface_hub 2.4 uploads large files with an argument that httpx2 calls deprecated
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")]

REPO = "tester/two"
OUTPUTS = """
  - {kind: adapter, format: peft}
  - {kind: adapter, format: diffusers}
  - {kind: adapter, format: kohya}
  - {kind: pipeline}
  - {kind: inputs}
"""
SNIPPETS = {
    "PEFT: `peft`": "two",
    "diffusers: `diffusers`": "two",
    "ComfyUI: `kohya`": "two",
    "A1111, Forge: `kohya`": "two",
    "diffusers, without any LoRA: `pipeline`": "two",
    "PEFT: `inputs`, ink alone": "ink",
    "PEFT: `inputs`, glow alone": "glow",
}


def lora(folder, name, seed):
    pairs = foreign.random_lora(tiny.shared("sd15"), seed=seed, rank=4, alpha=2.0, few=True)
    return foreign.write_kohya(
        pairs,
        folder / f"{name}.safetensors",
        text_prefixes=("lora_te_",),
        metadata={"modelspec.trigger_phrase": f"in {name}"},
    )


def write_recipe(folder, *, base, outputs=OUTPUTS, extra=""):
    for seed, name in enumerate(("ink", "glow")):
        lora(folder, name, seed)
    path = folder / "two.yaml"
    path.write_text(
        f"version: 1\nname: two\ndescription: Ink that glows.\nlicense: openrail++\nbase: {{source: {base}}}\nloras:\n"
        "  - {name: ink, source: ink.safetensors, weight: 0.7}\n"
        "  - {name: glow, source: glow.safetensors, weight: {unet: {down: 0.5, mid: 1.0}}}\n"
        f"merge: {{combination_type: cat, engine: factored}}\noutputs: {outputs}\n{extra}"
    )
    return read_recipe(path)


def metadata(card):
    return yaml.safe_load(re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)[1])


def snippets(card):
    """Title → (language, code)."""
    found = re.findall(r"^### (.+?)\n\n```(\w+)\n(.*?)\n```$", card, re.DOTALL | re.MULTILINE)
    return {title: (language, code) for title, language, code in found}


def picture(pipeline):
    import torch

    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator("cpu").manual_seed(0)
    return torch.from_numpy(
        pipeline("fox", num_inference_steps=2, guidance_scale=1.0, generator=generator, output_type="np").images[0]
    )


def loaded(language, code, folder, base):
    """The pipeline that a snippet makes; one for ComfyUI brings a file, which diffusers reads as well."""
    from diffusers import DiffusionPipeline

    places = [folder / "ComfyUI/models/loras", folder / "stable-diffusion-webui/models/Lora"]
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
    if language == "bash":
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        subprocess.run(["bash", "-ec", code], cwd=folder, check=True, env={**os.environ, "PATH": path})
        (file,) = (each for place in places for each in place.rglob("two.safetensors"))
        pipeline = DiffusionPipeline.from_pretrained(base)
        pipeline.load_lora_weights(file.parent, weight_name=file.name)
        file.unlink()
        return pipeline
    names = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what upstream libraries say to each other
        exec(code, names)  # noqa: S102  the card's own code is what is tested
    return names["pipeline"]


def check_verification(card):
    """The command that the card names finds nothing wrong."""
    ((_, command),) = re.findall(r"## How to verify it\n.*?```(\w+)\n(.*?)\n```", card, re.DOTALL)
    result = invoke(*shlex.split(command)[1:])
    assert result.exit_code == ExitCode.DONE, result.output


def check_snippets(card, folder, base):
    """Every one makes a pipeline that draws what the merge draws, or a single LoRA its own picture."""
    import torch
    from diffusers import DiffusionPipeline

    found = snippets(card)
    assert set(found) == set(SNIPPETS)
    pictures = {title: picture(loaded(*snippet, folder, base)) for title, snippet in found.items()}
    plain = picture(DiffusionPipeline.from_pretrained(base))
    merged = pictures["diffusers, without any LoRA: `pipeline`"]
    for title, of in SNIPPETS.items():
        assert (pictures[title] - plain).abs().max() > 1e-3
        same = torch.allclose(pictures[title], merged, atol=1e-4)
        assert same == (of == "two"), title


@pytest.fixture
def base(hub):
    """A base on the Hub."""
    folder = tiny.folder("sd15")
    hub.repository("org/tiny", {name: (folder / name).read_bytes() for name in files_of(folder)})
    return "org/tiny"


@pytest.mark.long
def test_every_snippet_runs_against_the_hub(hub, base, tmp_path, monkeypatch):
    from diffusers import DiffusionPipeline
    from peft import PeftModel

    monkeypatch.setenv("HF_TOKEN", OWNER)
    monkeypatch.chdir(tmp_path)
    extra = f"publish:\n  - {{kind: hub, repo: {REPO}, tag: v1}}\n"
    recipe = write_recipe(tmp_path, base=f"hf://{base}", extra=extra)
    result = run(recipe, out=tmp_path / "out")
    assert [receipt.changed for receipt in result.receipts] == [True]
    assert [receipt.changed for receipt in run(recipe, out=tmp_path / "out").receipts] == [False]
    monkeypatch.delenv("HF_TOKEN")
    card = (result.artifact / "README.md").read_text()
    assert OWNER not in card
    assert metadata(card)["base_model"] == base
    assert hub.store.repositories["model", base].head in card
    check_snippets(card, tmp_path / "elsewhere", base)
    check_verification(card)
    pipeline = DiffusionPipeline.from_pretrained(base)
    PeftModel.from_pretrained(pipeline.unet, REPO, subfolder="peft/unet", revision="v1")
    pipeline.load_lora_weights(REPO, subfolder="kohya", weight_name="two.safetensors", revision="v1")


@pytest.mark.long
def test_every_snippet_runs_in_the_artifact(tmp_path, monkeypatch):
    base = str(tiny.folder("sd15"))
    result = run(write_recipe(tmp_path, base=base), out=tmp_path / "out")
    card = (result.artifact / "README.md").read_text()
    monkeypatch.chdir(result.artifact)
    check_verification(card)
    check_snippets(card, result.artifact, base)
    assert (tmp_path / "two.png").is_file()
    for program in ("ComfyUI", "stable-diffusion-webui"):
        shutil.rmtree(result.artifact / program)
    check_verification(card)


def command_to_make_it_again(card):
    return re.findall(r"## How to make it again\n.*```bash\n(.*?)\n```", card, re.DOTALL)[-1]


@pytest.mark.long
def test_it_is_made_again_from_where_it_lies(tmp_path):
    recipe = write_recipe(tmp_path, base=tiny.folder("sd15"), outputs="[{kind: adapter, format: kohya}]")
    artifact = run(recipe, out=tmp_path / "out").artifact
    card = (artifact / "README.md").read_text()
    assert "`FOLDER` for the folder in which `ink.safetensors`, `glow.safetensors` lie" in card
    command = command_to_make_it_again(card).replace("FOLDER", shlex.quote(str(tmp_path)))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["bash", "-ec", command], cwd=artifact, check=True, env={**os.environ, "PATH": path})
    assert (tmp_path / "two-again/README.md").read_text() == card
    assert verify(artifact)


def test_what_comes_from_a_hub_is_made_again_beside_it(hub, base, tmp_path, monkeypatch):
    hub.repository("org/ink", {"ink.safetensors": lora(tmp_path, "ink", 0).read_bytes()})
    path = tmp_path / "two.yaml"
    path.write_text(
        f"version: 1\nname: two\nbase: {{source: hf://{base}}}\nloras: [{{name: ink, source: hf://org/ink}}]\n"
        "merge: {combination_type: cat, engine: factored}\noutputs: [{kind: adapter, format: kohya}]\n"
        "publish: [{kind: hub, repo: somebody/else}]\nlicense: mit\n"
    )
    artifact = run(read_recipe(path), out=tmp_path / "out", targets=()).artifact
    monkeypatch.chdir(artifact)
    result = invoke(*shlex.split(command_to_make_it_again((artifact / "README.md").read_text()))[1:])
    assert result.exit_code == ExitCode.DONE, result.output
    assert (tmp_path / "two-again/kohya/two.safetensors").is_file()
    assert verify(artifact)


def test_one_output_alone_is_loaded_from_the_root(hub, base, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", OWNER)
    monkeypatch.chdir(tmp_path)
    outputs = "[{kind: pipeline}, {kind: adapter, format: kohya}]"
    extra = f"publish:\n  - {{kind: hub, repo: {REPO}, tag: v1, outputs: [pipeline]}}\n"
    result = run(write_recipe(tmp_path, base=f"hf://{base}", outputs=outputs, extra=extra), out=tmp_path / "out")
    card = (result.artifact / "README.md").read_text()
    language, code = snippets(card)["diffusers, without any LoRA: `pipeline`"]
    assert f'from_pretrained("{REPO}", revision="v1")' in code
    picture(loaded(language, code, tmp_path, base))
    published = hub.store.repositories["model", REPO].resolve("v1").files
    assert {"README.md", "recipe.yaml", "report.json", "model_index.json"} <= set(published)
    check_verification(card)
    assert not [name for name in published if name.startswith(("kohya", "pipeline"))]


def test_what_the_hub_reads(base, tmp_path):
    extra = f"preview: {{prompts: [fox, sun], seeds: [0, 1], steps: 1, width: {tiny.SIZE}, height: {tiny.SIZE}}}\n"
    outputs = "[{kind: adapter, format: diffusers}]"
    result = run(write_recipe(tmp_path, base=f"hf://{base}", outputs=outputs, extra=extra), out=tmp_path / "out")
    card = (result.artifact / "README.md").read_text()
    found = metadata(card)
    widget = found.pop("widget")
    assert found == {
        "base_model": "org/tiny",
        "base_model_relation": "adapter",
        "instance_prompt": "in ink, in glow",
        "library_name": "diffusers",
        "license": "openrail++",
        "pipeline_tag": "text-to-image",
        "tags": ["diffusers", "text-to-image", "stable-diffusion", "loramerge", "lora", "template:sd-lora"],
    }
    assert [each["text"] for each in widget] == ["fox", "fox", "sun", "sun"]
    assert all((result.artifact / each["output"]["url"]).is_file() for each in widget)
    assert "(preview/preview.jpg)" in card
    assert "Ink that glows." in card
    assert "| ink | `ink.safetensors` | 0.7 | 4 |" in card
    assert "Merged by `cat`." in card
    assert re.search(r"\| unet \| \d\.\de-\d\d \| 8 \|", card)
    assert re.search(r"\| ink and glow \| -?0\.\d\d \| 0\.\d\d, 0\.\d\d \| 0\.\d\d \|", card)
    assert "[report.html](report.html)" in card
    assert (result.artifact / "report.html").is_file()
    assert (tmp_path / "two.yaml").read_text().strip() in card
    assert "loramerge run - --no-publish --out two-again" in card
    assert result.report["license"] == "openrail++"


def test_what_the_cards_of_the_loras_say_is_carried_over(hub, tmp_path, monkeypatch):
    ink = lora(tmp_path, "ink", 0).read_bytes()
    front = "license: openrail++\nbase_model: org/base\ninstance_prompt: by Feng\n"
    card = f"---\n{front}tags:\n- lora\n- ikea\n- a:b\n---\n# Ink\n"
    hub.repository("org/ink", {"ink.safetensors": ink, "README.md": card.encode()})
    path = tmp_path / "two.yaml"
    path.write_text(
        f"version: 1\nname: two\nbase: {{source: {tiny.folder('sd15')}}}\nlicense: openrail++\n"
        "loras: [{name: ink, source: hf://org/ink}]\n"
        "merge: {combination_type: cat, engine: factored}\noutputs: [{kind: adapter, format: kohya}]\n"
    )
    result = run(read_recipe(path), out=tmp_path / "out")
    found = metadata((result.artifact / "README.md").read_text())
    assert found["instance_prompt"] == "in ink, by Feng"
    assert found["base_model"] == "org/base"
    assert found["tags"][-1] == "ikea"
    assert "a:b" not in found["tags"]
    assert result.report["loras"][0]["trigger_phrases"] == ["in ink", "by Feng"]
    lock = read_lock(result.artifact / "recipe.lock.yaml")
    assert lock.sources.loras["ink"].card.trigger_words == ("by Feng",)
    assert verify(result.artifact, rebuild=True, recipe=tmp_path).rebuilt.close == {}


def test_a_pipeline_alone_is_a_merge_and_no_lora(base, tmp_path):
    recipe = write_recipe(tmp_path, base=f"hf://{base}", outputs="[{kind: pipeline}]")
    card = (run(recipe, out=tmp_path / "out").artifact / "README.md").read_text()
    assert metadata(card)["base_model_relation"] == "merge"
    assert "lora" not in metadata(card)["tags"]


def test_the_same_input_has_the_same_card(tmp_path):
    recipe = write_recipe(tmp_path, base=tiny.folder("sd15"), outputs="[{kind: adapter, format: peft}]")
    cards = [(run(recipe, out=tmp_path / name).artifact / "README.md").read_bytes() for name in ("a", "b")]
    assert cards[0] == cards[1]
    assert b"base_model:" not in cards[0]


def test_code_in_a_recipe_ends_no_fence(tmp_path):
    extra = "# ```\n# ````\n"
    outputs = "[{kind: adapter, format: kohya}]"
    recipe = write_recipe(tmp_path, base=tiny.folder("sd15"), outputs=outputs, extra=extra)
    card = (run(recipe, out=tmp_path / "out").artifact / "README.md").read_text()
    assert "\n`````yaml\nversion: 1" in card


def test_what_was_not_published_is_said_and_what_was_removed_is_found(hub, base, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", OWNER)
    outputs = "[{kind: adapter, format: diffusers}, {kind: adapter, format: kohya}, {kind: adapter, format: peft}]"
    extra = f"publish:\n  - {{kind: hub, repo: {REPO}, outputs: [diffusers, kohya]}}\n"
    run(write_recipe(tmp_path, base=f"hf://{base}", outputs=outputs, extra=extra), out=tmp_path / "out")
    verified = verify(f"hf://{REPO}")
    assert verified.left_out == ("peft",)
    assert "not published there: peft" in invoke("verify", f"hf://{REPO}").stdout
    hub.store.write(hub.store.repositories["model", REPO], {"kohya/two.safetensors": None})
    with pytest.raises(VerificationError) as caught:
        verify(f"hf://{REPO}")
    assert [(each.kind, each.file) for each in caught.value.findings] == [("missing", "kohya/two.safetensors")]
