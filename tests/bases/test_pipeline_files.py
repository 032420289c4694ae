"""Which files of a base are used. Names alone decide, and what model_index.json says."""

import json

import pytest

from loramerge.bases.pipeline_files import pipeline_files
from loramerge.errors import SourceError
from loramerge.sources import parse

INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderTiny"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "safety_checker": [None, None],
}
UNET = "unet/diffusion_pytorch_model"


@pytest.fixture
def chosen(tmp_path):
    """Which of some files are taken, besides configs."""

    def chosen(*names, variant=None, **index):
        for name in ("vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors", *names):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(b"x")
        (tmp_path / "model_index.json").write_text(json.dumps(INDEX | index))
        found = pipeline_files(parse(str(tmp_path), folder=tmp_path).locate(), variant)
        assert found[0] == "model_index.json"
        return [name for name in found[1:] if name.startswith(("unet", "controlnet", "safety"))]

    return chosen


PLAIN = [f"{UNET}.safetensors"]
PLAIN_SHARDS = [f"{UNET}-0000{number}-of-00002.safetensors" for number in (1, 2)]
VARIANT = [f"{UNET}.fp16.safetensors"]
VARIANT_SHARDS = [f"{UNET}.fp16-0000{number}-of-00002.safetensors" for number in (1, 2)]
OLD_VARIANT_SHARDS = [f"{UNET}-0000{number}-of-00002.fp16.safetensors" for number in (1, 2)]


@pytest.mark.parametrize("plain", [PLAIN, PLAIN_SHARDS])
@pytest.mark.parametrize("special", [VARIANT, VARIANT_SHARDS, OLD_VARIANT_SHARDS])
def test_a_variant_and_shards_go_together(plain, special, chosen):
    names = [*plain, *special, f"{UNET}.fp16.bin"]
    assert chosen(*names) == plain
    assert chosen(*names, variant="fp16") == special


def test_a_component_without_the_variant_is_taken_without_it(chosen):
    assert chosen(*PLAIN_SHARDS, "text_encoder/model.fp16.safetensors", variant="fp16") == PLAIN_SHARDS


def test_shards_come_before_one_file_as_in_diffusers(chosen):
    assert chosen(*PLAIN, *PLAIN_SHARDS) == PLAIN_SHARDS


def test_a_lost_shard_is_named(chosen):
    with pytest.raises(SourceError, match=r"unet has 1 of 2 shards: .*fp16-00001-of-00002.safetensors is missing"):
        chosen(*PLAIN, VARIANT_SHARDS[1], variant="fp16")


def test_a_variant_that_is_not_there_is_refused_with_those_that_are(chosen):
    with pytest.raises(SourceError, match="no weights of the variant bf16") as caught:
        chosen(*PLAIN, *VARIANT_SHARDS, variant="bf16")
    assert caught.value.hint == "set base.variant to fp16"


@pytest.mark.parametrize("nothing", [None, [None, None]])
def test_pickles_of_what_the_pipeline_does_without_are_no_obstacle(nothing, chosen):
    files = ("safety_checker/pytorch_model.bin", "safety_checker/config.json")
    assert chosen(*PLAIN, *files, safety_checker=nothing) == PLAIN
    with pytest.raises(SourceError, match=r"safety_checker has its weights in pytorch_model\.bin only: a pickle"):
        chosen(*PLAIN, *files, safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"])


def test_what_is_no_part_of_the_pipeline_is_left_alone(chosen):
    assert chosen(*PLAIN, "unet_old/diffusion_pytorch_model.safetensors", "unet/deeper/model.safetensors") == PLAIN


def test_every_controlnet_is_taken(chosen):
    nets = [f"controlnet{number}/diffusion_pytorch_model.safetensors" for number in ("", "_1")]
    assert chosen(*PLAIN, *nets, controlnet=["diffusers", "MultiControlNetModel"]) == [*nets, *PLAIN]
