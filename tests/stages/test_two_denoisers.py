"""A base with two denoisers, such as Wan 2.2: a file for each goes in, and a file for each comes out."""

import json
from pathlib import Path

import pytest
import torch
from canonical import read
from command_line import invoke
from families.models import config_of
from families.rows import ROWS
from safetensors.torch import load_file, save_file
from sample_recipe import report

from loramerge import read_recipe, run
from loramerge.bases.base import read_base
from loramerge.documents.yaml_document import dump
from loramerge.errors import ExitCode
from loramerge.stages.together import claims_of

ROW = next(row for row in ROWS if row.family == "wan")
HIGH, LOW = "transformer", "transformer_2"
WEIGHTS = {"a": 0.7, "b": -0.5}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a base, and LoRAs `a` and `b` with a file for each of its denoisers."""
    monkeypatch.chdir(tmp_path)
    index = {"_class_name": "WanPipeline", **{name: ["diffusers", "WanTransformer3DModel"] for name in (HIGH, LOW)}}
    for name in (HIGH, LOW):
        (tmp_path / "base" / name).mkdir(parents=True)
        (tmp_path / "base" / name / "config.json").write_text(json.dumps(config_of(ROW)))
    (tmp_path / "base" / "model_index.json").write_text(json.dumps(index))
    for seed, name in enumerate(("a-high", "a-low", "b-high", "b-low")):
        save_file(lora(seed), tmp_path / f"{name}.safetensors")
    return tmp_path


def base():
    return read_base("base", Path("base"))


def lora(seed, prefix="diffusion_model."):
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, original in [*base_layers().items()][::3]:
        out, *rest = original.shape
        tensors[f"{prefix}{name}.lora_A.weight"] = torch.randn(2, *rest, generator=generator)
        tensors[f"{prefix}{name}.lora_B.weight"] = torch.randn(out, 2, *[1] * (len(rest) - 1), generator=generator)
    return tensors


def base_layers():
    return base().components[HIGH].layout.originals


def recipe(loras, **more):
    data = {
        "version": 1,
        "name": "slow",
        "base": {"source": "base"},
        "loras": loras,
        "merge": {"combination_type": "cat", "engine": "factored"},
        "outputs": [{"kind": "adapter", "format": name} for name in ("comfyui", "kohya", "diffusers", "peft")],
        "license": "apache-2.0",
        **more,
    }
    path = Path("r.yaml")
    path.write_text(dump(data))
    return path


def pairs(name):
    return {"name": name, "source": {HIGH: f"{name}-high.safetensors", LOW: f"{name}-low.safetensors"},
            "weight": WEIGHTS[name]}  # fmt: skip


def deltas(path, denoiser=None):
    from loramerge.formats.reading import read_lora

    _, adapter = read_lora("x", path.parent, [path.name], base(), denoiser)
    return {(component, module): pair.delta() for component, module, pair in adapter}


def weighted_sum(here):
    total = {}
    for name, weight in WEIGHTS.items():
        for denoiser, noise in ((HIGH, "high"), (LOW, "low")):
            for place, delta in deltas(here / f"{name}-{noise}.safetensors", denoiser).items():
                total[place] = total.get(place, 0) + weight * delta
    return total


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for place, delta in expected.items():
        assert (found[place] - delta).norm() <= 1e-6 * delta.norm(), place


def test_each_denoiser_has_its_own_file_in_and_out(here):
    done = run(read_recipe(recipe([pairs("a"), pairs("b")])))
    truth = weighted_sum(here)
    assert {component for component, _ in truth} == {HIGH, LOW}
    for output, stem in (("comfyui", "slow"), ("kohya", "slow"), ("diffusers", "pytorch_lora_weights")):
        folder = done.artifact / output
        high, low = (f"{stem}_{noise}_noise.safetensors" for noise in ("high", "low"))
        assert sorted(path.name for path in folder.iterdir()) == [high, low]
        assert_same(deltas(folder / high, HIGH) | deltas(folder / low, LOW), truth)
    # `load_lora_weights` takes the first denoiser's names into whichever it is told.
    for file in (done.artifact / "diffusers").iterdir():
        assert {key.partition(".")[0] for key in load_file(file)} == {HIGH}
    peft = read(done.artifact / "peft", base())
    assert_same({(component, module): pair.delta() for component, module, pair in peft}, truth)


@pytest.mark.parametrize(
    ("loras", "ends"),
    [
        ([pairs("a"), pairs("b")], ["_high_noise", "_low_noise"]),
        ([{"name": "a", "source": "a-low.safetensors", "component": LOW}], ["_low_noise"]),
    ],
)
@pytest.mark.parametrize("known", [{"source": "base"}, {"family": "wan/t2v-a14b"}])
def test_what_will_be_written_is_known_before_the_base_is(here, loras, ends, known):
    """A recipe that would take another's file is refused before either is started."""
    file = recipe(
        loras, base=known, outputs=[{"kind": "adapter", "format": each} for each in ("comfyui", "kohya", "diffusers")]
    )
    claims = claims_of(read_recipe(file))
    assert claims == {
        "comfyui": tuple(f"slow{end}.safetensors" for end in ends),
        "kohya": tuple(f"slow{end}.safetensors" for end in ends),
        "diffusers": tuple(f"pytorch_lora_weights{end}.safetensors" for end in ends),
    }
    if "source" in known:
        artifact = run(read_recipe(file)).artifact
        assert {name: {path.name for path in (artifact / name).iterdir()} for name in claims} == {
            name: {*names} for name, names in claims.items()
        }


def test_files_of_others_are_in_the_way_of_either(here):
    (here / "models").mkdir()
    (here / "models/slow_low_noise.safetensors").write_text("theirs")
    target = {"kind": "folder", "path": "models", "outputs": ["comfyui"]}
    planned = invoke("plan", recipe([pairs("a"), pairs("b")], publish=[target]))
    assert planned.exit_code == ExitCode.NOT_PUBLISHED
    assert "holds slow_low_noise.safetensors, which this recipe did not put there" in " ".join(planned.output.split())


def test_one_denoiser_has_one_file_whatever_is_not_said(here):
    del here
    for known in ({"source": "base"}, {"family": "wan/14b"}, {"family": "sdxl"}):
        outputs = [{"kind": "adapter", "format": "comfyui"}]
        file = recipe([{"name": "a", "source": "a-low.safetensors"}], base=known, outputs=outputs)
        assert claims_of(read_recipe(file)) == {"comfyui": ("slow.safetensors",)}


def test_a_lora_for_one_of_them_says_which(here):
    entry = {"name": "a", "source": "a-low.safetensors", "component": LOW}
    done = run(read_recipe(recipe([entry], outputs=[{"kind": "adapter", "format": "comfyui"}])))
    (file,) = (done.artifact / "comfyui").iterdir()
    assert file.name == "slow_low_noise.safetensors"
    assert_same(deltas(file, LOW), deltas(here / "a-low.safetensors", LOW))


def test_without_a_word_it_is_refused(here):
    result = invoke("run", recipe([{"name": "a", "source": "a-low.safetensors"}]))
    assert result.exit_code == ExitCode.MISMATCH
    assert "does not say which of the base's denoisers it is for: transformer, transformer_2" in result.stderr
    assert "`component: transformer` (high_noise) or `component: transformer_2` (low_noise)" in result.stderr
    assert not (here / "dist").exists()


def test_one_file_may_hold_both(here):
    both = {**lora(0, "diffusion_model.transformer_1."), **lora(1, "diffusion_model.transformer_2.")}
    save_file(both, here / "both.safetensors")
    expected = deltas(here / "a-high.safetensors", HIGH) | deltas(here / "a-low.safetensors", LOW)
    assert_same(deltas(here / "both.safetensors"), expected)


def test_one_file_of_diffusers_may_hold_both(here):
    halves = {"lora_A": torch.ones(1, 24), "lora_B": torch.ones(24, 1)}
    tensors = {
        f"{denoiser}.blocks.0.attn1.to_q.{half}.weight": number * tensor
        for number, denoiser in enumerate((HIGH, LOW), 1)
        for half, tensor in halves.items()
    }
    save_file(tensors, here / "both.safetensors")
    for said in (None, LOW):
        found = deltas(here / "both.safetensors", said)
        assert {component: delta.max().item() for (component, _), delta in found.items()} == {HIGH: 1.0, LOW: 4.0}


def test_settings_in_a_file_for_the_second_denoiser_have_the_names_of_the_first(here):
    tensors = {f"{HIGH}.blocks.0.attn1.to_q.{half}.weight": torch.ones(shape)
               for half, shape in (("lora_A", (2, 24)), ("lora_B", (24, 2)))}  # fmt: skip
    said = {f"{HIGH}.{key}": value for key, value in {"r": 2, "lora_alpha": 6, "target_modules": ["to_q"]}.items()}
    save_file(tensors, here / "low.safetensors", {"lora_adapter_metadata": json.dumps(said)})
    ((place, delta),) = deltas(here / "low.safetensors", LOW).items()
    assert place == (LOW, "blocks.0.attn1.to_q")
    assert delta.max().item() == 6.0


def test_one_place_takes_no_two_files(here):
    settings = ["--set", f"loras.0.component={HIGH}", "--set", f"loras.1.component={LOW}", "--base", "base"]
    result = invoke("merge", "a-high.safetensors", "b-low.safetensors", "-o", "m.safetensors", *settings)
    assert result.exit_code == ExitCode.MISMATCH
    assert "the LoRAs are for 2 denoisers of Wan, and each has a file of its own" in result.stderr
    assert not (here / "m.safetensors").exists()


def mistakes(*loras):
    return report(recipe([*loras]).read_text())


def test_what_can_not_be_said_of_two_files(here):
    del here
    (said,) = mistakes({**pairs("a"), "component": HIGH})
    assert "loras.0.component: its source says that already, for each of its files" in said
    (said,) = mistakes({**pairs("a"), "sha256": "0" * 64})
    assert "loras.0.sha256: it is that of one file, and there are two" in said
    (said,) = mistakes(pairs("a"), {"name": "a-transformer", "source": "b-low.safetensors"})
    assert "loras.0.name: its file for transformer is called 'a-transformer', as another LoRA is" in said
    (said,) = mistakes({**pairs("a"), "name": "a" * 90})
    assert "loras.0.name: with 'transformer_2' behind it, it is longer than 96" in said
    said = mistakes({"name": "a", "source": {HIGH: "a-high.safetensors"}})
    assert any("loras.0.source.transformer_2: missing" in each for each in said)


def test_a_missing_file_is_named_where_it_stands(here):
    (here / "a-low.safetensors").unlink()
    result = invoke("validate", recipe([pairs("a"), pairs("b")]))
    assert result.exit_code != ExitCode.DONE
    assert "loras.0.source.transformer_2" in result.stderr
