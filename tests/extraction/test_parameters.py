"""Norms, biases and the like of a model that was trained in full: kept as they differ where that is wanted."""

from __future__ import annotations

import single_files
import tiny
import torch
from canonical import base_of
from command_line import invoke
from extraction.test_extract import changed, weights
from safetensors.torch import load_file
from truth import relative_error

from loramerge import load_adapter
from loramerge.errors import ExitCode
from loramerge.extraction.cut import Cut
from loramerge.extraction.extract import extract

LAYER = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight"
NORM, BIAS = "down_blocks.0.attentions.0.norm.weight", "conv_in.bias"


def models(folder):
    """Folders and files of a base and of what was trained from it: a layer, a norm and a bias differ."""
    generator = torch.Generator().manual_seed(1)

    def change(component, name, tensor):
        if component == "unet" and name in {LAYER, NORM, BIAS}:
            return tensor + 0.1 * torch.randn(tensor.shape, generator=generator)
        return tensor

    source = tiny.folder("sd15")
    changed(source, folder / "tuned", change)
    changed(source, folder / "base", lambda _component, _name, tensor: tensor)
    for name in ("base", "tuned"):
        single_files.write(single_files.checkpoint("sd15", folder / name), folder / f"{name}.safetensors")
    unets = [load_file(folder / name / "unet/diffusion_pytorch_model.safetensors") for name in ("tuned", "base")]
    return {name: (unets[0][name].double() - unets[1][name].double()) for name in (NORM, BIAS)}


def test_they_are_the_difference_whatever_the_layout(tmp_path):
    expected = models(tmp_path)
    told = weights(tmp_path / "base").base
    for one in ("tuned", "tuned.safetensors"):
        for other in ("base", "base.safetensors"):
            made = extract(weights(tmp_path / one, told), weights(tmp_path / other, told), Cut(4, parameters=True))
            unet = made.adapter.components["unet"]
            others = {key: pair.delta() for key, pair in unet.items() if not pair.is_layer}
            assert {*others} == {NORM.removesuffix(".weight"), BIAS}
            found = {NORM: others[NORM.removesuffix(".weight")], BIAS: others[BIAS]}
            assert relative_error(found, expected) <= 1e-6
            assert [each for each in made.facts.left_out if each.component == "unet"] == []
            assert any("2 of unet" in note for note in made.facts.notes)


def test_the_command_writes_what_holds_them_and_refuses_what_does_not(tmp_path, monkeypatch):
    expected = models(tmp_path)
    monkeypatch.chdir(tmp_path)
    given = ("extract", "tuned", "base", "--rank", 2, "--parameters")
    done = invoke(*given, "-o", "x.safetensors", "--format", "comfyui")
    assert done.exit_code == ExitCode.DONE, done.output
    found = {key: pair.delta() for _, key, pair in load_adapter(tmp_path / "x.safetensors", base_of("sd15"))}
    assert relative_error({BIAS: found[BIAS]}, {BIAS: expected[BIAS]}) <= 1e-6
    refused = invoke(*given, "-o", "y.safetensors", "--format", "diffusers")
    assert refused.exit_code == ExitCode.MISMATCH
    assert "changes 2 parameters beside the weights of layers" in " ".join(refused.output.split())
    plain = invoke("extract", "tuned", "base", "--rank", 2, "-o", "z.safetensors")
    assert plain.exit_code == ExitCode.DONE
    assert "left out, for they are no matrices of layers" in " ".join(plain.output.split())


def test_what_is_not_kept_is_told_and_what_belongs_to_equal_layers_is_kept(tmp_path):
    """Components for which no rank is given are not compared; equal layers keep nobody's norms out."""
    expected = models(tmp_path)
    text = "text_model.final_layer_norm.bias"

    def change(component, name, tensor):
        return tensor + 0.5 if (component, name) == ("text_encoder", text) else tensor

    changed(tmp_path / "tuned", tmp_path / "more", change)
    base = weights(tmp_path / "base")
    partly = extract(weights(tmp_path / "more"), base, Cut({"unet": 4}, parameters=True))
    assert {*partly.adapter.components} == {"unet"}
    assert [(each.component, each.kind, each.tensors) for each in partly.facts.left_out] == [
        ("text_encoder", "biases", 1)
    ]
    whole = extract(weights(tmp_path / "more"), base, Cut(4, parameters=True))
    assert whole.facts.left_out == ()
    kept = {key: pair.delta() for _, key, pair in whole.adapter if not pair.is_layer}
    assert (
        relative_error(
            {BIAS: kept[BIAS], text: kept[text]},
            {BIAS: expected[BIAS], text: torch.full(kept[text].shape, 0.5).double()},
        )
        <= 1e-6
    )
