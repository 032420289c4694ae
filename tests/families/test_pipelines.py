"""Every pipeline class of diffusers that loads LoRAs is a base: LoRAs for its layers go in and out."""

from __future__ import annotations

import functools
import inspect
import json
import re
import typing

import diffusers
import pytest
import torch
from canonical import read
from diffusers.loaders import lora_base
from families.models import built, config_of
from families.rows import ROWS
from safetensors.torch import save_file

from loramerge.bases.base import read_base
from loramerge.families import FAMILIES
from loramerge.formats import DiffusersOutput, Labels, PeftOutput

pytestmark = pytest.mark.slow

DENOISERS = ("transformer", "transformer_2", "unet", "prior")
NO_ROWS = {
    "UNet2DConditionModel": {
        "block_out_channels": (16, 24),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "layers_per_block": 1,
        "attention_head_dim": 2,
        "cross_attention_dim": 16,
        "norm_num_groups": 4,
    },
}
SIZE_EMBEDDING = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 4,
    "projection_class_embeddings_input_dim": 40,
}
# Their pipelines are modular ones, whose parts are loaded by name: mixin → family of the denoiser.
MODULAR = {
    "AmusedLoraLoaderMixin": "amused",
    "AnimaLoraLoaderMixin": "anima",
    "Flux3LoraLoaderMixin": "flux3",
    "MiniMaxH3LoraLoaderMixin": "minimax_h3",
}
# Those whose constructors name no class that could be built: parts are loaded by name, or the class is gone.
UNTYPED = re.compile(r"Modular|^AltDiffusion|^Wuerstchen|ControlNetXS")
XL = re.compile(r"XL|^Kolors")


def _names():
    for name in dir(diffusers):
        if name.endswith("Pipeline") and not UNTYPED.search(name):
            found = getattr(diffusers, name)
            if inspect.isclass(found) and issubclass(found, lora_base.LoraBaseMixin):
                yield name


PIPELINES = sorted(_names())


def _classes(pipeline):
    """Denoiser → its class, as the constructor of a pipeline says."""
    parameters = _parts(pipeline)
    loadable = getattr(diffusers, pipeline)._lora_loadable_modules
    for name in loadable:
        if name in DENOISERS and name in parameters:
            kind = parameters[name].annotation
            kinds = [each for each in typing.get_args(kind) if inspect.isclass(each) and each is not type(None)]
            first = next(iter(kinds), kind)
            yield name, first if isinstance(first, str) else first.__name__


def _parts(pipeline):
    return inspect.signature(getattr(diffusers, pipeline).__init__).parameters


def _clips(pipeline):
    """The text encoders that load_lora_weights takes LoRAs for: it knows the names of CLIP's layers alone."""
    for name in getattr(diffusers, pipeline)._lora_loadable_modules:
        if name in _parts(pipeline) and "CLIPTextModel" in str(_parts(pipeline)[name].annotation):
            yield name


@functools.cache
def _config(class_name):
    row = next((row for row in ROWS if config_of(row)["_class_name"] == class_name), None)
    return config_of(row) if row else {"_class_name": class_name, **NO_ROWS[class_name]}


@functools.cache
def _layer_names(class_name):
    with torch.device("meta"):
        model = built(_config(class_name))
    layers = (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
    return {
        name: tuple(layer.weight.shape)
        for name, layer in model.named_modules()
        if isinstance(layer, layers) and getattr(layer, "groups", 1) == 1
    }


def _base(pipeline, folder):
    classes = dict(_classes(pipeline))
    for name, class_name in classes.items():
        (folder / name).mkdir(parents=True)
        more = SIZE_EMBEDDING if XL.search(pipeline) and name == "unet" else {}
        (folder / name / "config.json").write_text(json.dumps(_config(class_name) | more))
    index = {"_class_name": pipeline, **{name: ["diffusers", each] for name, each in classes.items()}}
    (folder / "model_index.json").write_text(json.dumps(index))
    return read_base("base", folder), classes


def test_no_class_is_forgotten():
    mixins = {name for name in dir(diffusers.loaders.lora_pipeline) if name.endswith("LoraLoaderMixin")}
    tried = {
        mixin.__name__ for name in PIPELINES for mixin in getattr(diffusers, name).__mro__ if "Lora" in mixin.__name__
    }
    assert mixins - tried == {*MODULAR}
    assert {*MODULAR.values()} <= {row.family for row in ROWS}


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_lora_goes_in_and_out(pipeline, tmp_path):
    (tmp_path / "base").mkdir()
    if not dict(_classes(pipeline)):
        pytest.skip("its constructor names no denoiser that LoRAs are loaded into")
    base, classes = _base(pipeline, tmp_path / "base")
    family = base.family
    assert set(classes.values()) <= set(family.classes) or family.name not in FAMILIES
    if family.name not in FAMILIES:
        assert family.name in classes.values()
    elif family.card.loads == "pipeline":
        assert {*_clips(pipeline)} <= {*family.loadable}
        assert {*family.loadable} & _parts(pipeline).keys() <= {*getattr(diffusers, pipeline)._lora_loadable_modules}
    generator = torch.Generator().manual_seed(0)
    tensors, expected = {}, {}
    first = base.main
    for module, shape in [*_layer_names(classes[first]).items()][::5]:
        down = torch.randn(2, *shape[1:], generator=generator)
        up = torch.randn(shape[0], 2, *[1] * (len(shape) - 2), generator=generator)
        tensors |= {f"{first}.{module}.lora_A.weight": down, f"{first}.{module}.lora_B.weight": up}
        expected[module] = (up.double().flatten(1) @ down.double().flatten(1)).reshape(shape)
    save_file(tensors, tmp_path / "lora.safetensors")
    adapter = read(tmp_path / "lora.safetensors", base)
    for output in (DiffusersOutput, PeftOutput):
        folder = tmp_path / output.default_folder
        folder.mkdir()
        output(kind="adapter", format=output.default_folder).write_adapter(adapter, base, Labels("out"), folder)
        place = folder if output is PeftOutput else next(folder.iterdir())
        back = read(place, base)
        assert [*back.components] == [first]
        found = {module: pair.delta() for module, pair in back.components[first].items()}
        assert found.keys() == expected.keys()
        for module, delta in expected.items():
            assert (found[module] - delta).norm() <= 1e-6 * delta.norm(), module
