"""What keeps a base from drawing a preview."""

import json

import pytest

from loramerge.errors import ExitCode, MismatchError
from loramerge.previews.checks import check_kind
from loramerge.sources import parse


def located(folder, pipeline, **parts):
    (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline, **parts}))
    return parse(str(folder), folder=folder).locate()


@pytest.mark.parametrize(
    ("kind", "denoiser"),
    [
        ("StableDiffusionInpaintPipeline", {"unet": ["diffusers", "UNet2DConditionModel"]}),
        ("StableDiffusionXLControlNetPipeline", {"unet": ["diffusers", "UNet2DConditionModel"]}),
        ("StableDiffusionDepth2ImgPipeline", {"unet": ["diffusers", "UNet2DConditionModel"]}),
        ("FluxKontextPipeline", {"transformer": ["diffusers", "FluxTransformer2DModel"]}),
        ("FluxFillPipeline", {"transformer": ["diffusers", "FluxTransformer2DModel"]}),
        ("FluxControlPipeline", {"transformer": ["diffusers", "FluxTransformer2DModel"]}),
        ("QwenImageEditPlusPipeline", {"transformer": ["diffusers", "QwenImageTransformer2DModel"]}),
        ("StableDiffusion3InpaintPipeline", {"transformer": ["diffusers", "SD3Transformer2DModel"]}),
    ],
)
def test_a_pipeline_that_needs_a_picture_is_refused_by_name(kind, denoiser, tmp_path):
    with pytest.raises(MismatchError, match=f"preview: the base is a {kind}, which draws from a picture") as caught:
        check_kind(located(tmp_path, kind, **denoiser))
    assert caught.value.hint == "leave `preview` out, or choose the text-to-image base of the same family"
    assert caught.value.exit_code == ExitCode.MISMATCH


@pytest.mark.parametrize(
    ("kind", "model", "what"),
    [
        ("WanPipeline", "WanTransformer3DModel", "makes videos"),
        ("WanImageToVideoPipeline", "WanTransformer3DModel", "makes videos"),
        ("LTX2Pipeline", "LTX2VideoTransformer3DModel", "makes videos"),
        ("AceStepPipeline", "AceStepTransformer1DModel", "makes sound"),
    ],
)
def test_what_makes_no_pictures_has_none(kind, model, what, tmp_path):
    with pytest.raises(MismatchError, match=f"the base is a {kind}, which {what}, and a preview shows pictures") as it:
        check_kind(located(tmp_path, kind, transformer=["diffusers", model]))
    assert it.value.hint == "leave `preview` out"


def test_what_nobody_knows_is_not_tried(tmp_path):
    with pytest.raises(MismatchError, match="BrandNewPipeline, of which nobody here knows that it draws from a prompt"):
        check_kind(located(tmp_path, "BrandNewPipeline", transformer=["diffusers", "BrandNewTransformer2DModel"]))
