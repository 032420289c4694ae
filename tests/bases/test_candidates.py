"""What a LoRA could be for: the right model is always among it, and what can't be told apart is said."""

import re

import pytest
import torch
from safetensors.torch import save_file

from loramerge.bases.candidates import NamedShape, candidates
from loramerge.bases.published import architecture
from loramerge.families import FAMILIES, told_by
from loramerge.formats.told_family import ToldFamily

pytestmark = pytest.mark.slow

SIZES = [f"{family.name}/{size}" for family in FAMILIES.values() for size in family.published]
FLUX = {"flux", "chroma", "hunyuan_video", "framepack"}
WAN = {"wan", "wan_vace", "skyreels_v2"}


def denoiser(name):
    base = architecture(name)
    return base.components[base.denoisers[0]]


def canonical(name, only=""):
    return [NamedShape.written(f"transformer.{module}", shape)
            for module, shape in denoiser(name).modules.items() if re.search(only, module)]  # fmt: skip


def original(name, only=""):
    found = denoiser(name).layout.originals.values()
    return [
        NamedShape.written(f"diffusion_model.{each.name}", each.shape) for each in found if re.search(only, each.name)
    ]


def flat(name, only=""):
    found = denoiser(name).layout.originals.values()
    return [NamedShape.written(f"lora_unet_{each.name.replace('.', '_')}", each.shape)
            for each in found if re.search(only, each.name)]  # fmt: skip


def families(modules):
    return {name.partition("/")[0] for name in candidates(modules)}


@pytest.mark.parametrize("spelled", [canonical, original, flat])
@pytest.mark.parametrize("name", SIZES)
def test_the_right_family_is_among_them(name, spelled):
    assert name.partition("/")[0] in families(spelled(name))


@pytest.mark.parametrize("name", ["sd15", "sd2", "sdxl", "flux", "qwen_image", "z_image", "flux2", "chroma", "sd3",
                                  "hunyuan_image", "ltx2", "krea2", "anima", "lumina2", "hidream"])  # fmt: skip
def test_all_layers_tell_most_families(name):
    assert families(canonical(name)) == families(flat(name)) == {name}


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        (canonical("flux", r"^transformer_blocks\.0\.attn"), {*FLUX, "qwen_image"}),
        (canonical("flux", "^single_"), {"flux", "hunyuan_video", "framepack"}),
        (flat("flux", "single_blocks.0.linear"), FLUX),
        (canonical("wan/1.3b"), {*WAN, "anyflow"}),
        (original("wan/1.3b"), WAN),
        (canonical("sd15", "attn1"), {"sd15", "sd2"}),
    ],
    ids=["attention of a block", "single blocks", "two layers", "Wan", "Wan's own names", "self-attention"],
)  # fmt: skip
def test_what_can_not_be_told_apart(modules, expected):
    found = families(modules)
    assert expected <= found
    assert found - expected <= {"longcat", "bria_fibo", "flux2", "flux3"}


def test_a_size_that_is_not_the_first_is_named():
    assert "wan/1.3b" in candidates(canonical("wan/1.3b"))
    assert candidates(canonical("flux2/klein-9b")) == ("flux2/klein-9b",)


def test_a_few_modules_that_somebody_added_do_not_hide_the_family():
    modules = canonical("flux")
    strange = [NamedShape(("nobody.knows.me",), (8, 8))]
    assert candidates([*modules, *strange * (len(modules) // 20)]) == ("flux",)
    assert candidates([*modules[:4], *strange * 4]) == ()
    assert candidates([]) == ()


@pytest.mark.parametrize(
    ("only", "metadata", "expected"),
    [
        ("^single_", {"ss_base_model_version": "hunyuan_video"}, {"hunyuan_video"}),
        ("^single_", {"modelspec.architecture": "Flux-1-dev/lora"}, {"flux"}),
        ("^single_", {"ss_base_model_version": "sdxl_base_v1-0"}, {"flux", "hunyuan_video", "framepack"}),
        ("", {"ss_base_model_version": "hunyuan_video"}, {"flux"}),
        ("", {"modelspec.architecture": "chroma/lora"}, {"flux"}),
    ],
)
def test_metadata_decides_among_what_fits_and_never_against_the_shapes(only, metadata, expected, tmp_path):
    tensors = {}
    for module in canonical("flux", only):
        tensors[f"{module.names[0]}.lora_A.weight"] = torch.ones(1, module.shape[1])
        tensors[f"{module.names[0]}.lora_B.weight"] = torch.ones(module.shape[0], 1)
    save_file(tensors, tmp_path / "x.safetensors", metadata)
    found = {*ToldFamily.of("x", tmp_path, ["x.safetensors"]).families}
    assert expected <= found
    assert found - expected <= ({"longcat", "bria_fibo"} if len(expected) > 1 else set())


def test_models_that_others_are_a_part_of_are_told_by_metadata(tmp_path):
    tensors = {}
    for module in original("wan_vace", r"^blocks\.0\.self_attn"):
        tensors[f"{module.names[0]}.lora_A.weight"] = torch.ones(1, module.shape[1])
        tensors[f"{module.names[0]}.lora_B.weight"] = torch.ones(module.shape[0], 1)
    for said, expected in (("wan_2.1_vace", "wan_vace"), ("wan_2.1", "wan")):
        save_file(tensors, tmp_path / "x.safetensors", {"ss_base_model_version": said})
        assert ToldFamily.of("x", tmp_path, ["x.safetensors"]).families == (expected,)


@pytest.mark.parametrize(("name", "mark"), [(name, mark) for name, family in FAMILIES.items() for mark in family.marks])
def test_a_mark_is_of_one_family_and_no_beginning_of_another_one(name, mark):
    assert told_by({"ss_base_model_version": mark}) == (name,)


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.specification])
def test_what_trainers_write_into_files_tells_the_family_alone(name):
    said = FAMILIES[name].specification
    assert told_by({"ss_base_model_version": said.base_version}) == (name,)
    assert told_by({"modelspec.architecture": f"{said.architecture}/lora"}) == (name,)
