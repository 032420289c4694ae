"""Every form met in the wild is read to the same deltas; whatever we write is read back by us, diffusers and PEFT."""

import copy
import hashlib
import json
import re
import struct
from dataclasses import replace

import foreign
import pytest
import tiny
import torch
import truth
from canonical import adapter_of, base_of, deltas_of, files_of, read
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from safetensors.torch import save as torch_save

from loramerge.bases.published import architecture
from loramerge.errors import LoramergeError, SourceError
from loramerge.files.digest import sha256_of
from loramerge.formats import DiffusersOutput, KohyaOutput, PeftOutput
from loramerge.formats.labels import Labels
from loramerge.formats.model_spec import prediction_said, prediction_type
from loramerge.formats.refused import refuse_keys
from loramerge.numerics.norms import norm_of
from loramerge.tensor_files import safetensors as tensors
from loramerge.tensor_files.planned import Planned

pytestmark = pytest.mark.slow

ATTENTION_FORMS = ("to_k_lora", "processor", "bare_processor")
TOLERANCE = {"float32": 1e-6, "float16": 2e-3, "bfloat16": 2e-2}
# Names and layouts of every layer in one precision; of a few of every kind and shape in the others.
WHOLE = "float32"
LABELS = Labels(
    "two-become-one",
    "A test.",
    recipe_sha256="0" * 64,
    inputs={"a": {"a.safetensors": "a" * 64}, "b": {"b.safetensors": "b" * 64}},
    trigger_phrases=("sks dog", "by Feng"),
    tag_frequency={"10_dog": {"dog": 3}},
)


def random_pairs(family, *, alpha=2.0, **options):
    return foreign.random_lora(
        tiny.shared(family), alpha=alpha, seed=1, **{"rank": 4, "conv_rank": 3, "conv_alpha": 1.5} | options
    )


@pytest.mark.parametrize("family", ["sd15", "sd2", "sdxl"])
@pytest.mark.parametrize("form", foreign.FORMS)
@pytest.mark.parametrize("adapter_metadata", [False, True])
def test_every_diffusers_form_is_read_right(form, family, adapter_metadata, tmp_path):
    options = {"modules": foreign.ATTENTION} if form in ATTENTION_FORMS else {}
    components = {"components": ("unet",)} if form.startswith("bare_") else {}
    pairs = random_pairs(family, **options, **components)
    path = foreign.write_diffusers(pairs, tmp_path / "x.safetensors", form=form, adapter_metadata=adapter_metadata)
    assert truth.relative_error(deltas_of(read(path, base_of(family))), foreign.deltas(pairs)) <= 1e-6


@pytest.mark.parametrize("alpha", [True, False, "some"])
@pytest.mark.parametrize("names", ["sgm", "diffusers"])
@pytest.mark.parametrize("family", ["sd15", "sd2", "sdxl"])
def test_every_kohya_form_is_read_right(family, names, alpha, tmp_path):
    pairs = random_pairs(family)
    config = tiny.shared(family).unet.config if names == "sgm" else None
    prefixes = ("lora_te1_", "lora_te2_") if family == "sdxl" else ("lora_te_",)
    path = tmp_path / "x.safetensors"
    foreign.write_kohya(pairs, path, unet_config=config, alpha=alpha, text_prefixes=prefixes)
    assert truth.relative_error(deltas_of(read(path, base_of(family))), foreign.deltas(pairs)) <= 1e-6


@pytest.mark.parametrize("names", ["sgm", "diffusers"])
@pytest.mark.parametrize(
    "modules", [r"add_embedding|time_embedding|conv_in|conv_out", r"self_attn\.q_proj", r"text_projection|mlp"]
)
def test_what_diffusers_drops_from_kohya_files_is_read_right(modules, names, tmp_path):
    pairs = random_pairs("sdxl", modules=modules)
    config = tiny.shared("sdxl").unet.config if names == "sgm" else None
    path = foreign.write_kohya(pairs, tmp_path / "x.safetensors", unet_config=config)
    assert truth.relative_error(deltas_of(read(path, base_of("sdxl"))), foreign.deltas(pairs)) <= 1e-6


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("text_model_prefix", [False, True])
@pytest.mark.parametrize("component", ["unet", "text_encoder", "text_encoder_2"])
def test_a_peft_folder_is_read_right_whatever_it_is_called(component, text_model_prefix, rslora, tmp_path):
    pairs = random_pairs("sdxl")[component]
    folder = foreign.write_peft(pairs, tmp_path / "mine", rslora=rslora, text_model_prefix=text_model_prefix)
    got = deltas_of(read(folder, base_of("sdxl")))
    assert truth.relative_error(got, foreign.deltas({component: pairs})) <= 1e-6


def test_a_folder_of_peft_folders_is_one_lora(tmp_path):
    pairs = random_pairs("sdxl")
    for component, modules in pairs.items():
        foreign.write_peft(modules, tmp_path / component)
    assert truth.relative_error(deltas_of(read(tmp_path, base_of("sdxl"))), foreign.deltas(pairs)) <= 1e-6


def test_folders_that_hold_the_same_module_twice_are_refused(tmp_path):
    pairs = random_pairs("sdxl", components=("unet",))["unet"]
    foreign.write_peft(pairs, tmp_path)
    foreign.write_peft(pairs, tmp_path / "unet")
    with pytest.raises(SourceError, match="which another file of the same source holds as well"):
        read(tmp_path, base_of("sdxl"))


def test_a_1x1_convolution_may_be_written_as_a_linear_layer(tmp_path):
    from loramerge.bases.fit import fit

    pairs = random_pairs("sd15", modules=r"attentions\.0\.proj_in$")
    flat = {"unet": {name: (down.flatten(1), up.flatten(1), a) for name, (down, up, a) in pairs["unet"].items()}}
    path = foreign.write_diffusers(flat, tmp_path / "x.safetensors", form="lora")
    fitted, left_out = fit("x", read(path, base_of("sd15")), base_of("sd15"), skip=False)
    assert not left_out
    assert truth.relative_error(deltas_of(fitted), foreign.deltas(pairs)) <= 1e-6


def write(output, adapter, base, folder):
    folder.mkdir()
    output.write_adapter(adapter, base, LABELS, folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("family", ["sd15", "sd2", "sdxl"])
def test_what_is_written_as_diffusers_means_the_same_to_us_and_to_diffusers(family, dtype, tmp_path):
    pairs, base = random_pairs(family, few=dtype != WHOLE), base_of(family)
    folder = write(
        DiffusersOutput(kind="adapter", format="diffusers", dtype=dtype), adapter_of(pairs), base, tmp_path / "x"
    )
    want = foreign.deltas(pairs)
    assert files_of(folder) == ["pytorch_lora_weights.safetensors"]
    assert truth.relative_error(deltas_of(read(folder, base)), want) <= TOLERANCE[dtype]
    pipeline = tiny.FAMILIES[family]()
    pipeline.load_lora_weights(folder, adapter_name="x")
    assert truth.relative_error(truth.pipeline_deltas(pipeline, "x"), want) <= TOLERANCE[dtype]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("family", ["sd15", "sd2", "sdxl"])
def test_what_is_written_as_kohya_means_the_same_to_us_and_to_diffusers(family, dtype, tmp_path):
    pairs, base = random_pairs(family, few=dtype != WHOLE), base_of(family)
    folder = write(KohyaOutput(kind="adapter", format="kohya", dtype=dtype), adapter_of(pairs), base, tmp_path / "x")
    want = foreign.deltas(pairs)
    assert files_of(folder) == ["two-become-one.safetensors"]
    assert truth.relative_error(deltas_of(read(folder, base)), want) <= TOLERANCE[dtype]
    pipeline = tiny.FAMILIES[family]()
    pipeline.load_lora_weights(folder, weight_name="two-become-one.safetensors", adapter_name="x")
    assert truth.relative_error(truth.pipeline_deltas(pipeline, "x"), want) <= TOLERANCE[dtype]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("family", ["sd15", "sd2", "sdxl"])
def test_what_is_written_as_peft_means_the_same_to_us_and_to_peft(family, dtype, tmp_path):
    from peft import PeftModel

    pairs, base, pipeline = random_pairs(family, few=dtype != WHOLE), base_of(family), tiny.shared(family)
    folder = write(PeftOutput(kind="adapter", format="peft", dtype=dtype), adapter_of(pairs), base, tmp_path / "x")
    want = foreign.deltas(pairs)
    assert truth.relative_error(deltas_of(read(folder, base)), want) <= TOLERANCE[dtype]
    for component in pairs:
        model = PeftModel.from_pretrained(
            copy.deepcopy(getattr(pipeline, component)), str(folder), subfolder=component, adapter_name="x"
        )
        got = truth.adapter_deltas(model, "x", component)
        assert truth.relative_error(got, want[component]) <= TOLERANCE[dtype]


def kohya_hashes(path):
    """`sshs_model_hash` and `sshs_legacy_hash` as sd-scripts takes them when it saves the same tensors."""
    with safe_open(path, "pt") as file:
        lasting = {key: value for key, value in file.metadata().items() if key.startswith("ss_")}
    content = torch_save(load_file(path), lasting)
    start = 8 + int.from_bytes(content[:8], "little")
    return hashlib.sha256(content[start:]).hexdigest(), hashlib.sha256(content[0x100000:][:0x10000]).hexdigest()[:8]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("rank", [4, 64])  # smaller and larger than what the older hash is taken of
def test_kohya_files_have_the_hashes_that_a1111_knows_them_by(dtype, rank, tmp_path):
    pairs, base = random_pairs("sd15", rank=rank), base_of("sd15")
    output = KohyaOutput(kind="adapter", format="kohya", dtype=dtype)
    path = write(output, adapter_of(pairs), base, tmp_path / "x") / "two-become-one.safetensors"
    assert (path.stat().st_size > 0x110000) == (rank == 64)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert (metadata["sshs_model_hash"], metadata["sshs_legacy_hash"]) == kohya_hashes(path)
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    assert hashlib.sha256(content[8 + length :]).hexdigest() == metadata["sshs_model_hash"]


def test_v_prediction_is_said_where_it_is_known(tmp_path):
    pairs, base = random_pairs("sd2"), base_of("sd2")
    unet = base.components["unet"]
    large = replace(
        base, components={**base.components, "unet": replace(unet, config={**unet.config, "sample_size": 96})}
    )
    output = KohyaOutput(kind="adapter", format="kohya")
    path = write(output, adapter_of(pairs), large, tmp_path / "x") / "two-become-one.safetensors"
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert metadata["modelspec.architecture"] == "stable-diffusion-v2-768-v/lora"
    assert metadata["modelspec.prediction_type"] == "v"
    assert metadata["modelspec.resolution"] == "768x768"
    assert (metadata["ss_base_model_version"], metadata["ss_v2"]) == ("sd_v2_v", "True")
    assert metadata["ss_v_parameterization"] == "True"
    assert prediction_said(metadata) == "v"
    assert prediction_type(base, ["v"]) == "v"
    assert prediction_type(base, ["v", "epsilon"]) is None
    assert prediction_type(base_of("sdxl"), []) == "epsilon"


def test_kohya_files_carry_what_a1111_and_comfyui_look_for(tmp_path):
    pairs, base = random_pairs("sdxl"), base_of("sdxl")
    folder = write(KohyaOutput(kind="adapter", format="kohya"), adapter_of(pairs), base, tmp_path / "x")
    with safe_open(folder / "two-become-one.safetensors", "pt") as file:
        metadata, keys = file.metadata(), set(file.keys())
    assert metadata["ss_base_model_version"] == "sdxl_base_v1-0"
    assert metadata["modelspec.architecture"] == "stable-diffusion-xl-v1-base/lora"
    assert metadata["modelspec.prediction_type"] == "epsilon"
    assert "ss_v_parameterization" not in metadata
    assert metadata["modelspec.trigger_phrase"] == "sks dog, by Feng"
    assert json.loads(metadata["ss_tag_frequency"]) == {"10_dog": {"dog": 3}}
    assert "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.lora_down.weight" in keys
    assert "lora_te1_text_model_encoder_layers_0_self_attn_q_proj.alpha" in keys
    assert "lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_up.weight" in keys


@pytest.mark.parametrize("output", [
    PeftOutput(kind="adapter", format="peft"),
    DiffusersOutput(kind="adapter", format="diffusers"),
    KohyaOutput(kind="adapter", format="kohya"),
])  # fmt: skip
def test_the_same_adapter_gives_the_same_bytes_readable_by_all(output, tmp_path):
    pairs, base = random_pairs("sdxl"), base_of("sdxl")
    first, second = (write(output, adapter_of(pairs), base, tmp_path / name) for name in "ab")
    assert files_of(first) == files_of(second)
    for name in files_of(first):
        assert (first / name).read_bytes() == (second / name).read_bytes()
        assert (first / name).stat().st_mode & 0o444 == 0o444


def test_values_that_float16_can_not_hold_are_an_error(tmp_path):

    pairs = random_pairs("sd15", modules=r"attn1\.to_q$")
    for component in pairs.values():
        for name, (down, up, alpha) in component.items():
            component[name] = (down, up * 1e7, alpha)
    output = KohyaOutput(kind="adapter", format="kohya", dtype="float16")
    with pytest.raises(LoramergeError, match="float16 can't hold"):
        write(output, adapter_of(pairs), base_of("sd15"), tmp_path / "x")


KOHYA = "lora_unet_down_blocks_0_attentions_0_proj_in"
DIFFUSERS = "unet.down_blocks.0.attentions.0.proj_in"
DOWN, UP = torch.ones(2, 8, 1, 1), torch.ones(8, 2, 1, 1)
WHOLE = {f"{DIFFUSERS}.lora_A.weight": DOWN, f"{DIFFUSERS}.lora_B.weight": UP}
BAD_FILES = {
    "GLoRA": ({f"{KOHYA}.a1.weight": DOWN, f"{KOHYA}.b2.weight": DOWN}, "holds GLoRA (2 of 2 tensors"),
    "VeRA": ({f"base_model.model.{DIFFUSERS}.vera_lambda_b": DOWN}, "holds VeRA"),
    "X-LoRA": ({"base_model.model.internal_xlora_classifier.layers.0.weight": DOWN}, "holds X-LoRA"),
    "IA3 of PEFT": ({f"base_model.model.{DIFFUSERS}.ia3_l": DOWN}, "holds IA3"),
    "lora_bias": ({**WHOLE, f"{DIFFUSERS}.lora_B.bias": torch.ones(8)}, "lora_bias"),
    "doubled prefix": ({f"lora_unet_unet_{KOHYA[10:]}_lora_down.weight": DOWN}, "names with a doubled prefix (1 of 1"),
    "another doubled prefix": ({f"lora_unet_{KOHYA}.lora_down.weight": DOWN}, "put a second one before names"),
    "checkpoint": ({"model.diffusion_model.out.2.weight": DOWN}, "a whole checkpoint"),
    "unknown key": ({**WHOLE, "unet.surprise": DOWN}, "1 key that no part of a LoRA explains: unet.surprise"),
    "unpaired": ({f"{DIFFUSERS}.lora_A.weight": DOWN}, "has no up half"),
    "lone alpha": ({f"{KOHYA}.alpha": torch.tensor(1.0)}, "has no down half"),
    "no pair": ({**WHOLE, f"{DIFFUSERS}.lora_B.weight": torch.ones(8, 3, 1, 1)}, "are no pair"),
    "NaN": ({**WHOLE, f"{DIFFUSERS}.lora_B.weight": UP * float("nan")}, "NaN or infinite"),
    "infinite": ({**WHOLE, f"{DIFFUSERS}.lora_A.weight": DOWN * float("inf")}, "NaN or infinite"),
    "integers": ({**WHOLE, f"{DIFFUSERS}.lora_A.weight": DOWN.int()}, "expected floating-point"),
    "two formats": ({**WHOLE, f"{KOHYA}.lora_down.weight": DOWN, f"{KOHYA}.lora_up.weight": UP}, "mixes formats"),
    "doubled": ({**WHOLE, f"{DIFFUSERS}.lora.down.weight": DOWN}, "the same tensor under two names"),
    "doubled by spelling": (
        {**WHOLE, f"unet.base_model.model.{DIFFUSERS[5:]}.lora_A.weight": DOWN}, "the same tensor under two names"),
    "two adapters": ({f"{DIFFUSERS}.lora_A.a.weight": DOWN, f"{DIFFUSERS}.lora_B.a.weight": UP,
                      f"{DIFFUSERS}.lora_A.b.weight": DOWN, f"{DIFFUSERS}.lora_B.b.weight": UP}, "2 adapters: a, b"),
    "no LoRA": ({"weight": DOWN}, "none of the key names"),
    "no tensors": ({}, "it has no tensors"),
    "no rank": ({f"{DIFFUSERS}.lora_A.weight": DOWN[:0], f"{DIFFUSERS}.lora_B.weight": UP[:, :0]}, "are no pair"),
    "alpha of zero": ({f"{KOHYA}.lora_down.weight": DOWN, f"{KOHYA}.lora_up.weight": UP,
                       f"{KOHYA}.alpha": torch.tensor(0.0)}, "one number other than 0"),
    "PEFT without config": ({f"base_model.model.{key}": half for key, half in WHOLE.items()},
                            "without its adapter_config.json"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FILES)
def test_what_is_no_plain_lora_is_refused_by_name(case, tmp_path):
    tensors, message = BAD_FILES[case]
    save_file({key: tensor.clone() for key, tensor in tensors.items()}, tmp_path / "x.safetensors")
    with pytest.raises(LoramergeError) as error:
        read(tmp_path / "x.safetensors", base_of("sd15"))
    assert message in error.value.message
    assert "x.safetensors" in error.value.message


def test_ranks_and_alphas_that_differ_survive_a_text_encoder_folder(tmp_path):
    pairs = random_pairs("sdxl", components=("text_encoder",))
    for number, (name, (down, up, _)) in enumerate(sorted(pairs["text_encoder"].items())):
        rank = 2 + number % 3
        pairs["text_encoder"][name] = (down[:rank], up[:, :rank], 1.0 + number % 2)
    base, want = base_of("sdxl"), foreign.deltas(pairs)
    for output in (
        PeftOutput(kind="adapter", format="peft"),
        DiffusersOutput(kind="adapter", format="diffusers"),
        KohyaOutput(kind="adapter", format="kohya"),
    ):
        folder = write(output, adapter_of(pairs), base, tmp_path / output.format)
        assert truth.relative_error(deltas_of(read(folder, base)), want) <= 1e-6


@pytest.mark.parametrize("prefix", ["unet.", "diffusion_model."])
def test_a_config_beside_keys_of_another_format_says_the_scale(prefix, tmp_path):
    """As diffusion-pipe (utils/saver.py) writes a folder, and as it saves one of a model that PEFT wrapped."""
    pairs = random_pairs("sd15", components=("unet",), modules=r"attn1\.to_q$", alpha=16)
    halves = {
        f"{prefix}{name}.lora_{letter}.weight": tensor.contiguous()
        for name, (down, up, _) in pairs["unet"].items()
        for letter, tensor in (("A", down), ("B", up))
    }
    rank = next(iter(pairs["unet"].values()))[0].shape[0]
    save_file(halves, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": rank, "lora_alpha": 16}))
    assert truth.relative_error(deltas_of(read(tmp_path, base_of("sd15"))), foreign.deltas(pairs)) <= 1e-6
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 9, "lora_alpha": 16}))
    with pytest.raises(SourceError, match=f"has rank {rank}, adapter_config.json says 9"):
        read(tmp_path, base_of("sd15"))


LIKE_A_CHECKPOINTS = (
    "lokr_w1",
    "hada_w1_a",
    "dora_scale",
    "lora_magnitude_vector",
    "lora_A.weight",
    "alpha",
    "diff",
    "w_norm",
)


@pytest.mark.parametrize("ending", LIKE_A_CHECKPOINTS)
@pytest.mark.parametrize("stem", ["model.diffusion_model.out.2", "conv_in", "time_embedding.0", "embeddings.word"])
def test_an_adapter_with_a_checkpoints_names_is_no_checkpoint(stem, ending):
    refuse_keys("x", [f"{stem}.{ending}"])
    with pytest.raises(SourceError, match="a whole checkpoint"):
        refuse_keys("x", [f"{stem}.weight"])
    with pytest.raises(SourceError, match="gives weights of the base another shape"):
        refuse_keys("x", [f"{stem}.{ending}", f"{stem}.reshape_weight"])


def test_a_second_lora_beside_a_peft_folder_is_not_overlooked(tmp_path):
    pairs = random_pairs("sd15", components=("unet",), modules=r"attn1\.to_q$")
    foreign.write_peft(pairs["unet"], tmp_path / "unet")
    foreign.write_diffusers(pairs, tmp_path / "pytorch_lora_weights.safetensors")
    with pytest.raises(SourceError, match="holds 2 LoRAs: unet, pytorch_lora_weights"):
        read(tmp_path, base_of("sd15"))


def test_metadata_without_a_rank_is_not_overlooked(tmp_path):
    tensors = {key: tensor.clone() for key, tensor in WHOLE.items()}
    save_file(tensors, tmp_path / "x.safetensors", {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": 16})})
    with pytest.raises(SourceError, match="r should be a positive number"):
        read(tmp_path / "x.safetensors", base_of("sd15"))


def test_skipping_does_not_accept_a_lora_of_another_family():
    from loramerge.bases.fit import fit
    from loramerge.errors import MismatchError

    shapes = architecture("sd2").components["unet"].modules
    pairs = {
        name: (torch.zeros(2, shape[1]), torch.zeros(shape[0], 2), 2.0)
        for name, shape in shapes.items()
        if name.startswith("down_blocks.0.attentions.0.transformer_blocks")
    }
    with pytest.raises(MismatchError, match=r"looks like a LoRA for Stable Diffusion 2.x, the base is Stable Diffu"):
        fit("x", adapter_of({"unet": pairs}), architecture("sd15"), skip=True)


@pytest.mark.parametrize("flat", ["down", "up"])
def test_a_half_may_have_a_kernel_where_the_other_has_none(flat, tmp_path):
    from loramerge.bases.fit import fit

    pairs = random_pairs("sd15", modules=r"attentions\.0\.proj_in$|attn1\.to_q$")["unet"]
    odd = {}
    for name, (down, up, alpha) in pairs.items():
        four = down.ndim == 4
        halves = {"down": down.flatten(1), "up": up.flatten(1)}
        other = "up" if flat == "down" else "down"
        halves[other] = halves[other][:, :, None, None]
        odd[name] = (halves["down"], halves["up"], alpha)
        assert four or down.ndim == 2
    path = foreign.write_diffusers({"unet": odd}, tmp_path / "x.safetensors", form="lora")
    fitted, _ = fit("x", read(path, base_of("sd15")), base_of("sd15"), skip=False)
    assert truth.relative_error(deltas_of(fitted), foreign.deltas({"unet": pairs})) <= 1e-6
    assert all(pair.down.ndim == pair.up.ndim for _, _, pair in fitted)


BAD_CONFIGS = {
    "lora_bias": ({"lora_bias": True}, "sets lora_bias"),
    "bias": ({"bias": "all"}, 'bias="all"'),
    "modules_to_save": ({"modules_to_save": ["conv_in"]}, "sets modules_to_save"),
    "pissa": ({"init_lora_weights": "pissa"}, "initialised with pissa"),
    "another method": ({"peft_type": "IA3"}, "peft_type IA3"),
    "unknown setting": ({"use_magic": 3}, "sets use_magic to 3"),
    "wrong rank": ({"r": 5}, "has rank 4, adapter_config.json says 5"),
    "alpha of zero": ({"lora_alpha": 0}, "lora_alpha should be a positive number"),
    "rank as text": ({"r": "4"}, "r should be a positive number"),
    "bad pattern": ({"rank_pattern": {"(": 4}}, "without its"),
    "huge repeat": ({"rank_pattern": {"a{99999999999}": 4}}, "a count in braces"),
    "endless pattern": ({"alpha_pattern": {r"(\w+\.?)+!": 4}}, "a group that repeats"),
    "too many patterns": ({"rank_pattern": {f"a{number}": 4 for number in range(20_001)}}, "20001 patterns"),
    "inline flag": ({"alpha_pattern": {"(?i)to_q": 4}}, "(?i…)"),
    "look ahead": ({"alpha_pattern": {"(?=(a|b))x": 4}}, "(?=…)"),
    "half a rank": ({"r": 4.5}, "should be a whole number"),
    "rsLoRA as text": ({"use_rslora": "no"}, "use_rslora should be true or false"),
    "endless alpha": ({"lora_alpha": 10**400}, "larger than any number"),
}


@pytest.mark.parametrize("case", BAD_CONFIGS)
def test_a_peft_config_that_is_no_plain_lora_is_refused_by_name(case, tmp_path):
    config, message = BAD_CONFIGS[case]
    pairs = random_pairs("sd15", components=("unet",), modules=r"attn1\.to_q$")["unet"]
    foreign.write_peft(pairs, tmp_path, **config)
    with pytest.raises(SourceError) as error:
        read(tmp_path, base_of("sd15"))
    assert message in error.value.message


def test_pefts_own_defaults_are_all_known(tmp_path):
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(tiny.sd15().unet, LoraConfig(r=4, target_modules=["to_q"], use_rslora=True), "x")
    model.save_pretrained(tmp_path)
    adapter = read(tmp_path / "x", base_of("sd15"))
    assert {pair.rank for _, _, pair in adapter} == {4}
    assert {round(pair.scale, 6) for _, _, pair in adapter} == {4.0}


def test_a_folder_of_several_files_asks_for_one(tmp_path):
    for name in ("a", "b"):
        save_file(WHOLE, tmp_path / f"{name}.safetensors")
    with pytest.raises(SourceError, match=r"holds 2 LoRAs: a\.safetensors, b\.safetensors") as error:
        read(tmp_path, base_of("sd15"))
    assert [line.rpartition("/")[2] for line in error.value.hint.splitlines()[1:]] == ["a.safetensors", "b.safetensors"]


@pytest.mark.parametrize("length", [640, 768, 1024, 1280])
def test_a_header_as_long_as_a_pickle_begins_is_no_pickle(length, tmp_path):
    """The first bytes are the header's length: 80 02 for 640, 80 03 for 896 and so on."""
    path, shortest = tmp_path / "x.safetensors", 0
    for filling in range(2000):
        save_file(WHOLE, path, {"filling": " " * filling})
        shortest = int.from_bytes(path.read_bytes()[:8], "little")
        if shortest >= length and path.read_bytes()[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
            break
    assert shortest in (640, 896, 1152, 1408)
    assert len(read(path, base_of("sd15"))) == 1


def test_what_begins_as_a_pickle_and_is_no_header_is_one(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(SourceError, match="holds a pickle"):
        read(path, base_of("sd15"))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8])
@pytest.mark.parametrize("shape", [(), (1,)])
def test_an_alpha_that_is_a_whole_number_is_a_number(dtype, shape, tmp_path):
    halves = {f"{KOHYA}.lora_down.weight": DOWN, f"{KOHYA}.lora_up.weight": UP}
    save_file({**halves, f"{KOHYA}.alpha": torch.full(shape, 2, dtype=dtype)}, tmp_path / "x.safetensors")
    ((_, _, pair),) = read(tmp_path / "x.safetensors", base_of("sd15"))
    assert pair.scale == 2 / len(DOWN)


@pytest.mark.parametrize("half", ["lora_A", "lora_B"])
def test_a_number_of_float64_that_float32_has_not_is_no_nan(half, tmp_path):
    tensors = {key: tensor.double().clone() for key, tensor in WHOLE.items()}
    tensors[f"{DIFFUSERS}.{half}.weight"][0, 0] = -1e300
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(SourceError, match=rf"{half}\.weight holds 1e\+300; float32, .* ends at 3\.40282e\+38"):
        read(tmp_path / "x.safetensors", base_of("sd15"))


@pytest.mark.parametrize("alpha", [1e-300, 1e-46, 2.0])
def test_an_alpha_is_read_in_its_own_precision(alpha, tmp_path):
    halves = {f"{KOHYA}.lora_down.weight": DOWN, f"{KOHYA}.lora_up.weight": UP}
    alphas = {f"{KOHYA}.alpha": torch.tensor(alpha, dtype=torch.float64)}
    save_file(halves | alphas, tmp_path / "x.safetensors")
    ((_, _, pair),) = read(tmp_path / "x.safetensors", base_of("sd15"))
    assert pair.scale == alpha / 2
    assert norm_of(pair) == pytest.approx(alpha / 2 * 16, rel=1e-12)


@pytest.mark.parametrize("alpha", [1e308, 1e40, -1e40])
def test_an_alpha_that_float32_can_not_apply_is_said(alpha, tmp_path):
    halves = {f"{KOHYA}.lora_down.weight": DOWN, f"{KOHYA}.lora_up.weight": UP}
    alphas = {f"{KOHYA}.alpha": torch.tensor(alpha, dtype=torch.float64)}
    save_file(halves | alphas, tmp_path / "x.safetensors")
    said = f"an alpha that, over its rank, is {alpha / 2:g}; float32, in which LoRAs are read, ends at 3.40282e+38"
    with pytest.raises(SourceError, match=re.escape(said)):
        read(tmp_path / "x.safetensors", base_of("sd15"))


def test_an_alpha_that_is_no_number_is_said_to_be_none(tmp_path):
    halves = {f"{KOHYA}.lora_down.weight": DOWN, f"{KOHYA}.lora_up.weight": UP}
    save_file(halves | {f"{KOHYA}.alpha": torch.tensor(float("nan"))}, tmp_path / "x.safetensors")
    with pytest.raises(SourceError, match=r"\.alpha holds NaN or infinite values"):
        read(tmp_path / "x.safetensors", base_of("sd15"))


def test_fan_in_fan_out_means_nothing_to_layers_that_are_not_transposed(tmp_path):
    from peft import PeftModel

    pairs = random_pairs("sd15", components=("unet",), few=True, modules=r"attn1\.to_[qk]$|proj_in$")["unet"]
    foreign.write_peft(pairs, tmp_path, fan_in_fan_out=True)
    with pytest.warns(UserWarning, match="fan_in_fan_out"):
        model = PeftModel.from_pretrained(copy.deepcopy(tiny.shared("sd15").unet), str(tmp_path), adapter_name="x")
    want = truth.adapter_deltas(model, "x", "unet")
    assert truth.relative_error(deltas_of(read(tmp_path, base_of("sd15")))["unet"], want) <= 1e-6


def test_written_tensors_are_what_torch_loads(tmp_path):
    values = {"b": torch.randn(3, 5, dtype=torch.bfloat16), "a": torch.randn(2, 2, 1, 1), "c": torch.tensor(2.0)}
    written = [Planned.of(key, tensor) for key, tensor in values.items()]
    digest = tensors.write(tmp_path / "x.safetensors", written, {"z": "1", "a": "é"})
    assert digest == sha256_of(tmp_path / "x.safetensors")
    loaded = load_file(tmp_path / "x.safetensors")
    assert loaded.keys() == values.keys()
    assert all(torch.equal(loaded[key], values[key]) for key in values)
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        assert file.metadata() == {"z": "1", "a": "é"}
