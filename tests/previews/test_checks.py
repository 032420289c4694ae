"""What keeps a base from drawing a preview."""

import json

import pytest

from loramerge.errors import MismatchError
from loramerge.previews.checks import check
from loramerge.recipe.model import Preview


@pytest.mark.parametrize(
    "kind",
    ["StableDiffusionInpaintPipeline", "StableDiffusionXLControlNetPipeline", "StableDiffusionDepth2ImgPipeline"],
)
def test_a_pipeline_that_needs_a_picture_is_refused_by_name(kind, tmp_path):
    (tmp_path / "model_index.json").write_text(
        json.dumps({"_class_name": kind, "unet": ["diffusers", "UNet2DConditionModel"]})
    )
    with pytest.raises(MismatchError, match=f"preview: the base is a {kind}, which draws from a picture") as caught:
        check(tmp_path, Preview(prompts=["a bowl"]))
    assert caught.value.hint == "leave `preview` out, or choose the text-to-image base of the same family"
