"""Parts that the original checkpoint has beside its denoiser, and diffusers in a component of their own."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from canonical import read
from families.models import config_of
from families.rows import ROWS
from safetensors.torch import load_file, save_file

from loramerge.bases.base import from_configs, read_base
from loramerge.bases.component import Component
from loramerge.errors import MismatchError
from loramerge.families import FAMILIES
from loramerge.formats import ComfyuiOutput, Labels
from loramerge.recipe.parts import Lora

# As diffusers' LTX2TextConnectors has them.
CONNECTORS = {
    "text_proj_in": (16, 8),
    "video_connector.transformer_blocks.0.attn1.to_q": (16, 16),
    "audio_connector.transformer_blocks.0.attn1.to_q": (8, 8),
}
ORIGINAL = {
    "text_proj_in": "text_embedding_projection.aggregate_embed",
    "video_connector.transformer_blocks.0.attn1.to_q": "video_embeddings_connector.transformer_1d_blocks.0.attn1.to_q",
    "audio_connector.transformer_blocks.0.attn1.to_q": "audio_embeddings_connector.transformer_1d_blocks.0.attn1.to_q",
}
COMFYUI = ComfyuiOutput(kind="adapter", format="comfyui")


def base(layers=CONNECTORS):
    row = next(row for row in ROWS if row.family == "ltx2")
    made = from_configs("tiny", {"transformer": config_of(row)})
    connectors = Component("connectors", {}, layers, {name: name for name in layers}, {})
    return replace(made, components={"transformer": made.components["transformer"], "connectors": connectors})


def lora(path, names):
    tensors = {}
    for name in names:
        out, width = CONNECTORS.get(name, (16, 16))
        tensors[f"connectors.{name}.lora_A.weight"] = torch.randn(2, width)
        tensors[f"connectors.{name}.lora_B.weight"] = torch.randn(out, 2)
    save_file(tensors, path)
    return path


def test_each_part_has_its_own_name_there_and_back(tmp_path):
    adapter = read(lora(tmp_path / "x.safetensors", CONNECTORS), base())
    COMFYUI.check(base(), [*adapter.components])
    (name,) = COMFYUI.write_adapter(adapter, base(), Labels("out"), tmp_path)
    stems = {key.rpartition(".lora_")[0] for key in load_file(tmp_path / name)}
    assert stems == {f"diffusion_model.{original}" for original in ORIGINAL.values()}
    assert read(tmp_path / name, base()).equals(adapter)


def test_a_part_that_the_checkpoint_does_not_have_is_refused(tmp_path):
    known = base({**CONNECTORS, "elsewhere.to_q": (16, 16)})
    adapter = read(lora(tmp_path / "x.safetensors", ["elsewhere.to_q"]), known)
    with pytest.raises(MismatchError, match=r"no names for connectors\.elsewhere\.to_q of LTX-2"):
        COMFYUI.write_adapter(adapter, known, Labels("out"), tmp_path)


@pytest.mark.parametrize(
    ("class_name", "component"),
    [
        ("WanTransformer3DModel", "transformer"),
        ("UNet2DConditionModel", "unet"),
        ("NewTransformer2DModel", "transformer"),
    ],
)
def test_a_denoiser_without_its_pipeline_is_called_as_in_one(class_name, component, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": class_name}))
    assert [*read_base("base", tmp_path).components] == [component]


def test_a_recipe_can_name_every_second_denoiser():
    for family in FAMILIES.values():
        for denoiser in family.denoisers if family.files else ():
            assert Lora(name="a", source="a", component=denoiser).component == denoiser
