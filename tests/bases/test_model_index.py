"""Which pipelines are bases, and what of them counts."""

import json

import pytest
import tiny

from loramerge import load_base
from loramerge.bases.model_index import ModelIndex
from loramerge.errors import MismatchError, SourceError

SD, XL = ("unet", "text_encoder"), ("unet", "text_encoder", "text_encoder_2")


def index(pipeline, **more):
    components = {name: ["diffusers", "Some"] for name in (*XL, "vae")}
    return ModelIndex.parse({"_class_name": pipeline, **components, **more}, "the base")


@pytest.mark.parametrize("kind", ["", "Img2Img", "Inpaint", "ControlNet", "ControlNetImg2Img", "ControlNetInpaint",
                                  "InstructPix2Pix", "Adapter", "ControlNetXS", "PAG", "PAGInpaint",
                                  "ControlNetPAG"])  # fmt: skip
def test_every_pipeline_of_a_family_is_a_base(kind):
    assert index(f"StableDiffusion{kind}Pipeline", text_encoder_2=None).trainable == SD
    assert index(f"StableDiffusionXL{kind}Pipeline").trainable == XL


def test_a_pipeline_of_no_known_family_is_a_base():
    found = index("BrandNewPipeline", transformer=["diffusers", "BrandNewTransformer2DModel"])
    assert found.trainable == ("unet", "transformer", "text_encoder", "text_encoder_2")
    assert not found.draws_from_text


def test_a_pipeline_without_a_part_for_loras_is_refused():
    with pytest.raises(MismatchError, match="the base is a VaePipeline without any part that LoRAs are made for"):
        ModelIndex.parse({"_class_name": "VaePipeline", "vae": ["diffusers", "AutoencoderKL"]}, "the base")


@pytest.mark.parametrize("nothing", [None, [None, None]])
def test_what_a_pipeline_does_without_is_no_component(nothing):
    found = index("StableDiffusionPipeline", safety_checker=nothing, text_encoder=nothing, requires_safety_checker=True)
    assert found.trainable == ("unet", "text_encoder_2")
    assert found.classes.keys() == {"unet", "text_encoder_2", "vae"}


def test_a_damaged_entry_is_named():
    with pytest.raises(SourceError, match=r"the base/model_index.json: unet should be \[library, class\], it is 'x'"):
        index("StableDiffusionPipeline", unet="x")


def test_several_controlnets_are_one_component_in_several_folders():
    several = index("StableDiffusionControlNetPipeline", controlnet=["x", "MultiControlNetModel"])
    assert [several.owner(name) for name in ("controlnet", "controlnet_1", "unet_1")] == ["controlnet"] * 2 + [None]
    assert index("StableDiffusionControlNetPipeline", controlnet=["x", "ControlNetModel"]).owner("controlnet_1") is None


@pytest.mark.parametrize(
    ("kind", "alone"), [("", True), ("PAG", True), ("Inpaint", False), ("ControlNet", False), ("Img2Img", True)]
)
def test_a_prompt_alone_draws_with_some(kind, alone):
    assert index(f"StableDiffusionXL{kind}Pipeline").draws_from_text is alone


def test_an_inpainting_base_has_its_own_input_channels(tmp_path):
    source = tiny.folder("sd15")
    for name in ("unet", "text_encoder"):
        (tmp_path / name).mkdir()
        config = json.loads((source / name / "config.json").read_text())
        (tmp_path / name / "config.json").write_text(
            json.dumps(config | ({"in_channels": 9} if name == "unet" else {}))
        )
    described = json.loads((source / "model_index.json").read_text()) | {
        "_class_name": "StableDiffusionInpaintPipeline"
    }
    (tmp_path / "model_index.json").write_text(json.dumps(described))
    base = load_base(tmp_path)
    assert base.family.name == "sd15"
    assert base.components["unet"].modules["conv_in"][1] == 9
