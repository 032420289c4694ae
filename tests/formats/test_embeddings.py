"""Textual inversions in LoRA files: nothing of them is lost."""

from __future__ import annotations

import pytest
import tiny
import torch
from canonical import base_of, read
from command_line import invoke, write_recipe
from deltas.lycoris import Random, lora
from deltas.test_kinds import LINEAR, shapes, written
from safetensors.torch import load_file, save_file

from loramerge.errors import ExitCode, SourceError

KEY = "bundle_emb.fox.string_to_param.*"
ONE_FILE = [{"kind": "adapter", "format": "kohya"}, {"kind": "adapter", "format": "comfyui"}]
OTHERS = [{"kind": "adapter", "format": "diffusers"}, {"kind": "adapter", "format": "peft"}, {"kind": "inputs"},
          {"kind": "model"}]  # fmt: skip


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def bundled(folder, name, tensors, seed=1):
    made = {LINEAR: lora(shapes()[LINEAR], Random(seed))}
    path = written(folder / f"{name}.safetensors", made)
    save_file({**load_file(path), **tensors}, path)
    return path


def vectors(seed, width=32):
    return torch.randn(2, width, generator=torch.Generator().manual_seed(seed)).half()


def recipe(folder, outputs, loras=("ink", "glow")):
    sources = {name: f"{name}.safetensors" for name in loras}
    return write_recipe(folder, base=tiny.folder("sd15"), loras=sources, outputs=outputs)


def test_they_come_out_where_they_went_in(here):
    fox = vectors(1)
    bundled(here, "ink", {KEY: fox})
    bundled(here, "glow", {"bundle_emb.owl.clip_l": vectors(2), "bundle_emb.owl.clip_g": vectors(3)}, seed=2)
    done = invoke("run", recipe(here, [*ONE_FILE, *OTHERS]))
    assert done.exit_code == ExitCode.DONE, done.output
    assert "LoRA ink brings 1 textual inversion, fox (128 bytes)" in " ".join(done.output.split())
    out = here / "dist" / "small"
    for name in ("kohya", "comfyui"):
        held = load_file(out / name / "small.safetensors")
        assert held[KEY].equal(fox)
        assert held["bundle_emb.owl.clip_g"].equal(vectors(3))
    for name in ("diffusers", "peft", "model"):
        assert load_file(out / name / "embeddings" / "fox.safetensors")["emb_params"].equal(fox)
        assert {*load_file(out / name / "embeddings" / "owl.safetensors")} == {"clip_l", "clip_g"}
    assert (out / "inputs" / "ink" / "embeddings" / "fox.safetensors").is_file()
    assert not (out / "inputs" / "glow" / "embeddings" / "fox.safetensors").exists()
    assert invoke("verify", out, "--rebuild", "--recipe", "small.yaml").exit_code == ExitCode.DONE


def test_diffusers_loads_what_lies_beside(here):
    bundled(here, "ink", {KEY: vectors(4)})
    assert invoke("run", recipe(here, OTHERS[:1], ["ink"])).exit_code == ExitCode.DONE
    pipeline = tiny.sd15()
    pipeline.text_encoder.resize_token_embeddings(len(pipeline.tokenizer))
    width = pipeline.text_encoder.get_input_embeddings().weight.shape[1]
    assert width == vectors(4).shape[1]
    pipeline.load_textual_inversion(here / "dist/small/diffusers/embeddings/fox.safetensors", token="fox")
    assert "fox" in pipeline.tokenizer.get_vocab()


def test_two_of_one_name_are_refused_unless_they_are_one(here):
    bundled(here, "ink", {KEY: vectors(5)})
    bundled(here, "glow", {KEY: vectors(5)}, seed=2)
    assert invoke("run", recipe(here, ONE_FILE)).exit_code == ExitCode.DONE
    bundled(here, "glow", {KEY: vectors(6)}, seed=2)
    done = invoke("run", recipe(here, ONE_FILE), "--force")
    assert done.exit_code == ExitCode.MISMATCH
    assert "LoRAs ink and glow both bring a textual inversion called fox, and theirs differ" in " ".join(
        done.output.split()
    )


def test_one_file_of_diffusers_has_no_room(here):
    bundled(here, "ink", {KEY: vectors(7)})
    given = ("ink.safetensors", "--base", tiny.folder("sd15"), "-o", "m.safetensors")
    refused = invoke("merge", *given, "--set", "outputs.0.format=diffusers")
    assert refused.exit_code == ExitCode.MISMATCH, refused.output
    assert invoke("merge", *given).exit_code == ExitCode.DONE
    assert KEY in load_file(here / "m.safetensors")
    shown = invoke("inspect", "m.safetensors")
    assert f"{KEY}, 128 B" in shown.output


BAD = {
    "NaN": ({KEY: torch.full((1, 4), torch.nan)}, "holds NaN"),
    "no vectors": ({KEY: torch.ones(4)}, "should be the vectors of a textual inversion"),
    "no token": ({"bundle_emb.fox": torch.ones(1, 4)}, "should be the vectors of a textual inversion"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_none_is_named(case, here):
    tensors, message = BAD[case]
    path = bundled(here, "ink", tensors)
    with pytest.raises(SourceError, match=message):
        read(path, base_of("sd15"))
