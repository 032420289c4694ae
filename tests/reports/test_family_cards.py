"""The model card speaks each family: what the Hub reads, and code that loads the merge into a pipeline and runs."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_transformers
import torch
import yaml
from command_line import write_recipe

from loramerge import load_base, read_recipe, run
from loramerge.families import FAMILIES, published
from loramerge.recipe import parse
from loramerge.reports.card import model_card

WEIGHTS = {"a": 0.7, "b": -0.4}
SMALL = {"width": 32, "height": 32, "num_inference_steps": 2}
FORMATS = ("diffusers", "peft", "kohya", "comfyui")


@pytest.fixture(scope="module", params=tiny_transformers.PIPELINES)
def made(request, tmp_path_factory):
    """A merge on a tiny base of a family."""
    folder, place = tmp_path_factory.mktemp("made"), tiny_transformers.folder(request.param)
    base = load_base(place)
    entries = {}
    for seed, (name, weight) in enumerate(WEIGHTS.items()):
        files = {
            denoiser: tiny_transformers.lora(
                folder / f"{name}-{denoiser}.safetensors", base.components[denoiser], seed + 10 * number
            )
            for number, denoiser in enumerate(base.denoisers)
        }
        source = files if len(files) > 1 else files["transformer"]
        entries[name] = {"source": source, "weight": weight}
    outputs = [{"kind": "adapter", "format": each} for each in FORMATS]
    result = run(read_recipe(write_recipe(folder, base=place, loras=entries, outputs=outputs)), out=folder / "out")
    return SimpleNamespace(base=base, place=place, result=result, card=(result.artifact / "README.md").read_text())


def snippets(card):
    """Title → (language, code)."""
    found = re.findall(r"^### (.+?)\n\n```(\w+)\n(.*?)\n```$", card, re.DOTALL | re.MULTILINE)
    return {title: (language, code) for title, language, code in found}


@pytest.fixture
def run_code(monkeypatch):
    """Runs code of a card; a call that says no size is one of few pixels, and films are kept instead of written."""
    from diffusers import utils

    films = []
    monkeypatch.setattr(utils, "export_to_video", lambda film, path: films.append((film, path)))

    def of(code, pipeline_class):
        call = pipeline_class.__call__

        @functools.wraps(call)
        def small(self, *args, **options):
            self.set_progress_bar_config(disable=True)
            more = {"num_frames": 5} if "Wan" in pipeline_class.__name__ else {}
            return call(self, *args, **{**SMALL, **more, "generator": torch.Generator().manual_seed(0), **options})

        monkeypatch.setattr(pipeline_class, "__call__", small)
        films.clear()
        names = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what upstream libraries say to each other
            exec(code, names)  # noqa: S102  the card's own code is what is tested
        return names["pipeline"], films[0][0] if films else np.asarray(names["image"]) if "image" in names else None

    return of


def deltas_in(model):
    """What the LoRA layers of a model add, by the module's name in the base."""
    found = {}
    for name, layer in model.named_modules():
        if hasattr(layer, "lora_A") and len(layer.lora_A):
            (adapter,) = layer.lora_A
            product = layer.lora_B[adapter].weight.double() @ layer.lora_A[adapter].weight.double()
            found[name.removeprefix("base_model.model.")] = product * layer.scaling[adapter]
    return found


def check_deltas(pipeline, made):
    """Every denoiser has the deltas of the merge, as exactly as bfloat16 has them."""
    for component, modules in made.result.merged.components.items():
        found = deltas_in(getattr(pipeline, component))
        assert found.keys() == modules.keys()
        for name, pair in modules.items():
            assert (found[name] - pair.delta()).norm() <= 0.01 * pair.delta().norm(), (component, name)


@pytest.mark.slow
def test_diffusers_takes_the_merge_and_shows_it(made, run_code, monkeypatch):
    import diffusers

    monkeypatch.chdir(made.result.artifact)
    pipeline_class = getattr(diffusers, made.base.pipeline)
    _, code = snippets(made.card)["diffusers: `diffusers`"]
    assert "dtype=torch.bfloat16" in code
    assert code.count("load_lora_weights") == len(made.base.denoisers)
    assert ("load_into_transformer_2=True" in code) == (len(made.base.denoisers) > 1)
    pipeline, seen = run_code(code, pipeline_class)
    check_deltas(pipeline, made)
    plain = "\n".join(line for line in code.splitlines() if "load_lora_weights" not in line)
    _, base = run_code(plain, pipeline_class)
    assert seen.shape == base.shape
    assert np.abs(seen.astype(float) - base).max() > 0.02 * np.abs(base).max()


@pytest.mark.slow
def test_peft_takes_the_merge(made, run_code, monkeypatch):
    import diffusers

    monkeypatch.chdir(made.result.artifact)
    _, code = snippets(made.card)["PEFT: `peft`"]
    pipeline, _ = run_code(code, getattr(diffusers, made.base.pipeline))
    check_deltas(pipeline, made)
    options = {"num_frames": 5} if "Wan" in made.base.pipeline else {}
    pipeline.set_progress_bar_config(disable=True)
    assert len(pipeline(prompt="a fox", **SMALL, **options)[0]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("output", ["kohya", "comfyui"])
def test_comfyui_gets_every_file(made, output, tmp_path):
    if output == "kohya" and not made.base.family.flat_in_comfyui:
        assert "ComfyUI: `kohya`" not in snippets(made.card)
        return
    language, code = snippets(made.card)[f"ComfyUI: `{output}`"]
    assert language == "bash"
    there = tmp_path / "ComfyUI/models/loras"
    there.mkdir(parents=True)
    os.symlink(made.result.artifact / output, tmp_path / output)  # noqa: PTH211  as the card's paths start
    subprocess.run(["bash", "-ec", code], cwd=tmp_path, check=True)
    names = {path.name for path in (made.result.artifact / output).iterdir()}
    assert {path.name for path in there.iterdir()} == names
    assert len(names) == len(made.base.denoisers)


@pytest.mark.slow
def test_the_card_has_the_family_s_words(made):
    front = yaml.safe_load(re.match(r"---\n(.*?)\n---\n", made.card, re.DOTALL)[1])
    card = made.base.family.card
    assert (front["pipeline_tag"], front["library_name"]) == (card.pipeline_tag, "diffusers")
    picture = ["template:sd-lora"] if card.pipeline_tag == "text-to-image" else []
    assert front["tags"] == ["diffusers", card.pipeline_tag, *card.tags, "loramerge", "lora", *picture]
    forge = made.base.family.name == "flux"
    assert ("Forge" in made.card) == forge
    assert "A1111" not in made.card
    assert "in ComfyUI" in made.card


def card_of(family, *, outputs=FORMATS, touched=None, publish=""):
    """The card of a merge for a family's published model, as far as it depends on that."""
    known, _, model = published(family)
    denoisers = [name for name in known.denoisers if name in model.configs]
    text = (
        f"version: 1\nname: m\nbase: {{family: {family}}}\nloras: [{{name: a, source: a.safetensors}}]\n"
        f"merge: {{combination_type: cat}}\nreport: brief\n{publish}outputs:\n"
        + "".join(f"  - {{kind: adapter, format: {each}}}\n" for each in outputs)
    )
    report = {
        "base": {"family": known.name, "revision": None, "pipeline": model.pipeline, "denoisers": denoisers},
        "loras": [{"name": "a", "source": "a", "revision": None, "weight": 1, "ranks": {}, "modules": {}}],
        "merge": {"combination_type": "cat"},
        "rounding": {},
        "fidelity": {name: {"error": 0.0, "modules": {}} for name in touched or denoisers},
        "overlap": {"pairs": []},
        "notes": [],
    }
    return model_card(parse(text, origin="", folder=Path()), report, licence="mit")


@pytest.mark.parametrize("family", [family for family in FAMILIES if FAMILIES[family].published])
def test_every_family_has_code_that_compiles(family):
    card = card_of(family)
    assert published(family)[2].repository in yaml.safe_load(card.split("---\n")[1])["base_model"]
    for language, code in snippets(card).values():
        if language == "python":
            compile(code, family, "exec")


@pytest.mark.parametrize(
    ("family", "tag", "line"),
    [
        ("flux", "text-to-image", 'image = pipeline(prompt="a photograph of a fox").images[0]'),
        ("flux/kontext", "image-to-image", 'image=load_image("picture.png")).images[0]'),
        (
            "wan/t2v-a14b",
            "text-to-video",
            'export_to_video(pipeline(prompt="a photograph of a fox").frames[0], "../m.mp4")',
        ),
        ("wan/i2v-a14b", "image-to-video", 'image=load_image("picture.png")).frames[0], "../m.mp4")'),
        (
            "ace_step",
            "text-to-audio",
            'soundfile.write("../m.wav", sound.T.float().cpu().numpy(), pipeline.sample_rate)',
        ),
        ("kandinsky5/t2i-lite", "text-to-image", ".image[0]"),
        ("longcat", "text-to-image", 'pipeline.transformer.load_lora_adapter("diffusers", weight_name='),
        ("anima", "text-to-image", 'pipeline(prompt="a photograph of a fox", output="images")[0]'),
        ("minimax_h3", "text-to-video", ", load_into_transformer_ref=True)"),
    ],
)
def test_what_is_made_is_of_the_family_s_kind(family, tag, line):
    card = card_of(family, outputs=("diffusers",))
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["pipeline_tag"] == tag
    assert tag in front["tags"]
    assert ("template:sd-lora" in front["tags"]) == tag.endswith("image")
    ((_, code),) = snippets(card).values()
    assert line in code


@pytest.mark.parametrize("family", ["flux/fill", "flux/control", "wan_animate"])
def test_what_takes_more_than_a_picture_is_loaded_and_left_to_its_user(family):
    ((_, code),) = snippets(card_of(family, outputs=("diffusers",))).values()
    assert code.splitlines()[-1].startswith("pipeline.to(")
    assert "prompt=" not in code


def test_two_files_are_downloaded_at_once():
    publish = "license: mit\npublish: [{kind: hub, repo: me/m}]\n"
    found = snippets(card_of("wan/t2v-a14b", publish=publish))
    command = "hf download me/m comfyui/m_high_noise.safetensors comfyui/m_low_noise.safetensors --local-dir"
    assert found["ComfyUI: `comfyui`"][1].startswith(command)
    one = snippets(card_of("wan/t2v-a14b", touched=["transformer_2"], publish=publish))
    assert one["ComfyUI: `kohya`"][1].startswith("hf download me/m kohya/m_low_noise.safetensors --local-dir")
    assert "load_into_transformer_2=True" in one["diffusers: `diffusers`"][1]
