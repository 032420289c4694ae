"""The card of a merge for a base that is one file: what loads the file, and what a LoRA is loaded into."""

import json

import pytest
import single_files
import torch
from command_line import write_recipe
from families.models import config_of, in_original_names, layout_of, shapes_of, tensors_of
from families.rows import ROWS
from safetensors.torch import save_file

from loramerge import read_recipe, run
from loramerge.bases.base import from_configs
from loramerge.families import FAMILIES
from loramerge.formats.pipeline_code import SINGLE_FILES


def test_diffusers_loads_the_denoisers_that_are_said_to_be_loaded_from_a_file():
    from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES

    ours = {name for family in FAMILIES.values() if "transformer" in family.denoisers for name in family.classes}
    assert ours & {*SINGLE_FILE_LOADABLE_CLASSES} == SINGLE_FILES - {"UNet2DConditionModel"}
    assert {*SINGLE_FILE_LOADABLE_CLASSES} >= SINGLE_FILES


def card_of(family, folder, **more):
    row = next(each for each in ROWS if each.family == family)
    told = from_configs("base", {"transformer": config_of(row)})
    (folder / "config").mkdir()
    (folder / "config" / "config.json").write_text(json.dumps(config_of(row)))
    tensors = in_original_names(layout_of(row, shapes_of(row)), tensors_of(row))
    single_files.write(tensors, folder / "base.safetensors")
    module, shape = next(iter(told.components["transformer"].modules.items()))
    pair = {"lora_A": torch.ones(2, *shape[1:]), "lora_B": torch.ones(shape[0], 2, *[1 for _ in shape[2:]])}
    save_file({f"transformer.{module}.{key}.weight": each for key, each in pair.items()}, folder / "ink.safetensors")
    outputs = [{"kind": "model"}, {"kind": "adapter", "format": "diffusers"}]
    path = write_recipe(folder, base="x", loras={"ink": "ink.safetensors"}, outputs=outputs, **more)
    path.write_text(path.read_text().replace("source: x\n", "source: base.safetensors\n  config: ./config\n"))
    return (run(read_recipe(path), out=folder / "out", device="cpu", targets=()).artifact / "README.md").read_text()


@pytest.mark.parametrize("family", ["flux", "z_image"])
def test_a_denoiser_in_one_file_is_loaded_beside_the_rest_of_its_pipeline(family, tmp_path):
    card = card_of(family, tmp_path)
    class_name = FAMILIES[family].classes[0]
    rest = next(iter(FAMILIES[family].published.values())).repository
    assert "cp model/small.safetensors ComfyUI/models/diffusion_models/" in card
    for file in ("model/small.safetensors", "base.safetensors"):
        assert f'transformer = {class_name}.from_single_file("{file}", dtype=torch.bfloat16)' in card
    assert f'DiffusionPipeline.from_pretrained("{rest}", transformer=transformer, dtype=torch.bfloat16)' in card
    assert f"from diffusers import DiffusionPipeline, {class_name}" in card


def test_what_diffusers_opens_from_no_file_is_loaded_as_it_was_published(tmp_path):
    card = card_of("hunyuan_image", tmp_path)
    assert "cp model/small.safetensors ComfyUI/models/diffusion_models/" in card
    assert "from_single_file" not in card
    assert next(iter(FAMILIES["hunyuan_image"].published.values())).repository in card


def test_a_file_on_a_hub_is_loaded_from_there(tmp_path):
    publish = [{"kind": "hub", "repo": "me/ink", "tag": "v1"}]
    card = card_of("flux", tmp_path, publish=publish, license="mit")
    assert 'from_single_file("https://huggingface.co/me/ink/blob/v1/model/small.safetensors"' in card
    assert (
        "hf download me/ink model/small.safetensors --revision v1 --local-dir ComfyUI/models/diffusion_models" in card
    )
