"""LoRAs of the difference of two models, against dense float64: folders and files, in every layout."""

from __future__ import annotations

import json
import math
import shutil
import weakref

import foreign
import pytest
import single_files
import small_models
import tiny
import torch
import truth
from canonical import adapter_of, base_of, deltas_of, files_of, fuse
from families.models import config_of, in_original_names, layout_of, shapes_of, tensors_of
from families.rows import ROWS
from safetensors.torch import load_file, save_file

from loramerge.bases.base import from_configs, read_base
from loramerge.bases.from_file import base_of_file
from loramerge.bases.pipeline_files import PipelineFiles
from loramerge.errors import MismatchError, SourceError
from loramerge.extraction import difference as differences
from loramerge.extraction import extract as module
from loramerge.extraction.cut import Cut
from loramerge.extraction.extract import extract
from loramerge.extraction.weights import weights_of
from loramerge.outputs import ModelOutput

pytestmark = pytest.mark.slow

UNET = "unet/diffusion_pytorch_model.safetensors"


def weights(path, told=None):
    """Of a folder, or of a file that is a model of a tiny family."""
    if path.is_file():
        base = base_of_file(path.name, path, told)
        return weights_of(base, path.parent, [path.name])
    names = [name for name in files_of(path) if name.endswith((".json", ".safetensors"))]
    return weights_of(read_base(path.name, path, names), path, names)


def changed(source, target, change):
    """A copy of a folder, whose weights a function of component, name and tensor has changed."""
    shutil.copytree(source, target)
    for file in target.rglob("*.safetensors"):
        component = file.parent.name
        tensors = {name: change(component, name, each) for name, each in load_file(file).items()}
        save_file(tensors, file, {"format": "pt"})
    return target


@pytest.fixture(scope="module")
def lora():
    return foreign.random_lora(tiny.shared("sd15"), rank=4, alpha=2, seed=3, conv_rank=3)


@pytest.fixture(scope="module")
def models(lora, tmp_path_factory):
    """A base and the same with a LoRA fused in, as folders and as files."""
    place = tmp_path_factory.mktemp("models")
    source = tiny.folder("sd15")
    (place / "tuned").mkdir()
    files = PipelineFiles(source, tuple(files_of(source)), None)
    fuse(files, base_of("sd15"), adapter_of(lora), ModelOutput(kind="model"), place / "tuned")
    shutil.copytree(source, place / "base")
    vae = torch.rand(4, 3, 3, 3)
    for name in ("base", "tuned"):
        tensors = single_files.checkpoint("sd15", place / name) | {"first_stage_model.encoder.conv_in.weight": vae}
        single_files.write(tensors, place / f"{name}.safetensors")
        single_files.write(
            {key: each.half() if each.dtype == torch.float32 else each for key, each in tensors.items()},
            place / f"{name}-half.safetensors",
        )
    return place


def of_fused(models, tuned, base, **cut):
    told = base_of("sd15")
    return extract(weights(models / tuned, told), weights(models / base, told), Cut(**{"rank": 4, **cut}))


@pytest.mark.parametrize("base", ["base", "base.safetensors"])
@pytest.mark.parametrize("tuned", ["tuned", "tuned.safetensors"])
def test_what_was_fused_in_comes_out_again(models, lora, tuned, base):
    found = of_fused(models, tuned, base)
    assert truth.relative_error(deltas_of(found.adapter), foreign.deltas(lora)) <= 1e-5
    assert found.facts.error <= 1e-5
    assert {*found.facts.modules} == {"unet", "text_encoder"}
    assert found.facts.left_out == ()
    assert sum(found.facts.equal.values()) + len(found.adapter) == sum(
        len(each.modules) for each in base_of("sd15").components.values()
    )


def test_number_formats_may_differ(models, lora):
    found = of_fused(models, "tuned-half.safetensors", "base")
    assert truth.relative_error(deltas_of(found.adapter), foreign.deltas(lora)) <= 0.02
    rounded = {component for component, number in found.facts.rounded.items() if number}
    assert rounded <= {"unet", "text_encoder"}
    assert found.facts.left_out == ()
    with pytest.raises(MismatchError, match=r"nothing to extract: base-half.safetensors and base are equal"):
        of_fused(models, "base-half.safetensors", "base")


def test_a_copy_in_float8_is_no_other_model(models):
    tensors = load_file(models / "base-half.safetensors")
    small = {
        key: each.to(torch.float8_e4m3fn) if each.dtype == torch.float16 else each for key, each in tensors.items()
    }
    single_files.write(small, models / "base-small.safetensors")
    with pytest.raises(MismatchError, match=r"nothing to extract: base-small\S+ and base-half\S+ are"):
        of_fused(models, "base-small.safetensors", "base-half.safetensors")
    found = of_fused(models, "tuned.safetensors", "base-small.safetensors")
    assert {*found.facts.modules} == {"unet", "text_encoder"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model whose every number is another one."""
    generator = torch.Generator().manual_seed(0)

    def moved(component, name, tensor):
        if not tensor.is_floating_point() or component == "text_encoder":
            return tensor
        return tensor + 0.01 * torch.randn(tensor.shape, generator=generator)

    return changed(tiny.folder("sd15"), tmp_path_factory.mktemp("trained") / "trained", moved)


@pytest.fixture(scope="module")
def base():
    return tiny.folder("sd15")


def dense(trained, base):
    """Module of the UNet → its difference, float64."""
    one, other = (load_file(folder / UNET) for folder in (trained, base))
    return {name: one[f"{name}.weight"].double() - other[f"{name}.weight"].double() for name in unet_modules()}


def unet_modules():
    return base_of("sd15").components["unet"].modules


def test_each_pair_is_the_nearest_of_its_rank_and_the_residual_is_what_it_is(trained, base):
    found = extract(weights(trained), weights(base), Cut(3))
    residuals, norms = [], []
    for name, wanted in dense(trained, base).items():
        pair, facts = found.adapter.components["unet"][name], found.facts.modules["unet"][name]
        values = torch.linalg.svdvals(wanted.flatten(1))
        residual = float((pair.delta() - wanted).norm())
        assert residual <= float(values[3:].norm()) * 1.001 + 1e-6 * float(values.norm())
        assert facts.residual == pytest.approx(residual, rel=1e-6, abs=1e-7 * float(values.norm()))
        assert facts.norm == pytest.approx(float(values.norm()), rel=1e-6)
        assert pair.rank == facts.rank == min(3, len(values))
        residuals.append(residual)
        norms.append(float(values.norm()))
    assert found.facts.error == pytest.approx(math.hypot(*residuals) / math.hypot(*norms), rel=1e-6)
    assert found.facts.equal == {"text_encoder": len(base_of("sd15").components["text_encoder"].modules)}
    data = json.loads(json.dumps(found.facts.as_data()))
    assert data["error"] == found.facts.error == data["components"]["unet"]["error"]


def test_a_share_of_the_energy_is_kept_in_each_module(trained, base):
    found = extract(weights(trained), weights(base), Cut(energy=0.6))
    limited = extract(weights(trained), weights(base), Cut(2, 0.6))
    for name, wanted in dense(trained, base).items():
        squares = torch.linalg.svdvals(wanted.flatten(1)).square()
        fewest = int((squares.cumsum(0) < 0.6 * squares.sum()).sum()) + 1
        facts = found.facts.modules["unet"][name]
        assert facts.rank == fewest
        assert 1 - facts.error**2 >= 0.6 - 1e-6
        assert limited.facts.modules["unet"][name].rank == min(fewest, 2)


def test_components_have_ranks_of_their_own(models):
    found = of_fused(models, "tuned", "base", rank={"text_encoder": 2})
    assert {pair.rank for *_, pair in found.adapter} == {2}
    assert {*found.adapter.components} == {"text_encoder"}
    assert found.facts.unwanted == {"unet": len(unet_modules())}
    assert any("components for which no rank is given" in each for each in found.facts.sentences())
    with pytest.raises(MismatchError, match="base has no text_encoder_3, for which a rank is given"):
        of_fused(models, "tuned", "base", rank={"text_encoder_3": 2})


def test_what_is_no_matrix_is_told_with_number_size_and_norm(trained, base):
    found = extract(weights(trained), weights(base), Cut(3)).facts
    one, other = (load_file(folder / UNET) for folder in (trained, base))
    beside = [name for name in one if name.removesuffix(".weight") not in unet_modules()]
    by_kind = {(each.component, each.kind): each for each in found.left_out}
    biases = [name for name in beside if name.endswith(".bias")]
    assert by_kind["unet", "biases"].tensors == len(biases)
    assert by_kind["unet", "biases"].size == sum(one[name].nbytes for name in biases)
    norm = math.hypot(*(float((one[name].double() - other[name].double()).norm()) for name in biases))
    assert by_kind["unet", "biases"].norm == pytest.approx(norm)
    assert by_kind["unet", "norms"].tensors == len(beside) - len(biases)
    assert {"vae"} < {component for component, _ in by_kind}
    (said,) = [each for each in found.sentences() if "no matrices of layers" in each]
    assert f"{len(biases)} biases of unet ({by_kind['unet', 'biases'].size:,} bytes)" in said
    assert "% of the squared norm of all that differs" in said


@pytest.mark.parametrize("other", ["file", "folder"])
def test_openclips_projection_is_compared_as_it_is_meant(other, tmp_path):
    """One file has it as in×out, a folder as out×in; in both it is a square."""
    base, name = tiny.folder("sdxl"), "text_projection.weight"
    trained = changed(
        base, tmp_path / "trained", lambda _, key, each: each + torch.randn(32, 32) if key == name else each
    )
    file = single_files.write(single_files.checkpoint("sdxl", trained), tmp_path / "trained.safetensors")
    if other == "file":
        before = single_files.write(single_files.checkpoint("sdxl", base), tmp_path / "base.safetensors")
        found = extract(weights(file, base_of("sdxl")), weights(before, base_of("sdxl")), Cut(32))
    else:
        found = extract(weights(file, base_of("sdxl")), weights(base), Cut(32))
    one, two = (load_file(folder / "text_encoder_2" / "model.safetensors")[name] for folder in (trained, base))
    assert [entry[:2] for entry in found.adapter] == [("text_encoder_2", "text_projection")]
    (delta,) = deltas_of(found.adapter)["text_encoder_2"].values()
    assert float((delta - (one.double() - two.double())).norm() / delta.norm()) < 1e-5


def test_beside_the_layers_a_file_and_a_folder_are_compared_by_the_folders_names(trained, base, tmp_path):
    file = single_files.write(single_files.checkpoint("sd15", trained), tmp_path / "trained.safetensors")
    folder = extract(weights(trained), weights(base), Cut(2)).facts
    mixed = extract(weights(file, base_of("sd15")), weights(base), Cut(2)).facts
    for kind in ("biases", "norms"):
        one, other = (
            next(each for each in facts.left_out if (each.component, each.kind) == ("unet", kind))
            for facts in (folder, mixed)
        )
        assert (one.tensors, one.size) == (other.tensors, other.size)
        assert one.norm == pytest.approx(other.norm)
    assert any("base alone has, by their names" in each or "sd15 alone has" in each for each in mixed.notes)


@pytest.mark.parametrize("row", [row for row in ROWS if row.converter or row.family == "qwen_image"][::3], ids=str)
def test_families_in_original_names_against_diffusers_folders(row, tmp_path):
    config = config_of(row)
    tensors = dict(tensors_of(row))
    base = from_configs("base", {"transformer": config})
    modules = base.components[base.main].modules
    generator = torch.Generator().manual_seed(0)
    wanted, tuned = {}, dict(tensors)
    for name, shape in modules.items():
        pair = torch.randn(shape[0], 2, generator=generator), torch.randn(2, math.prod(shape[1:]), generator=generator)
        wanted[name] = (pair[0] @ pair[1]).reshape(shape)
        tuned[f"{name}.weight"] = tensors[f"{name}.weight"] + wanted[name]
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_file(
        {name: each.contiguous() for name, each in tensors.items()}, folder / "diffusion_pytorch_model.safetensors"
    )
    file = tmp_path / "tuned.safetensors"
    save_file(in_original_names(layout_of(row, shapes_of(row)), tuned), file)
    there = weights(folder)
    found = extract(weights(file, there.base), there, Cut(2))
    assert truth.relative_error(deltas_of(found.adapter), {there.base.main: wanted}) <= 1e-5
    assert found.facts.left_out == ()


@pytest.mark.parametrize(
    "name",
    ["LlamaForCausalLM", "GPT2LMHeadModel", "GPT2ForSequenceClassification", "BertForSequenceClassification"],
)
def test_models_of_transformers_as_they_keep_their_weights(name, tmp_path):
    small_models.save(name, tmp_path / "base", weights=True)
    adapter = small_models.lora(name, tmp_path / "lora", seed=1)
    model = small_models.built(name)
    deltas = small_models.deltas(name, adapter)
    with torch.no_grad():
        for parameter, tensor in model.named_parameters():
            tensor.add_(deltas[parameter].float())
    model.save_pretrained(tmp_path / "tuned")
    found = extract(weights(tmp_path / "tuned"), weights(tmp_path / "base"), Cut(4))
    touched = {parameter: delta for parameter, delta in deltas.items() if delta.any()}
    assert len(found.adapter) == len(touched)
    turned = weights(tmp_path / "base").base.components["model"].transposed
    for module_name, pair in found.adapter.components["model"].items():
        wanted = touched[f"{module_name}.weight"]
        assert truth.relative_error({"": pair.delta()}, {"": wanted.T if module_name in turned else wanted}) <= 1e-4


def test_a_model_of_another_size_is_refused_with_both_shapes(base, tmp_path):
    small = small_models.save("BertModel", tmp_path / "bert", weights=True)
    with pytest.raises(MismatchError, match=r"bert and sd15\S* have no component in common: model and text_enc"):
        extract(weights(small), weights(base), Cut(2))
    with pytest.raises(MismatchError, match=r"unet\.\S+ is \d+×\d+ in sdxl\S* and \d+×\d+ in sd15") as caught:
        extract(weights(tiny.folder("sdxl")), weights(base), Cut(2))
    assert "Stable Diffusion" in caught.value.message


def test_a_lone_denoiser_is_compared_with_its_pipeline(trained, base, tmp_path):
    lone = shutil.copytree(trained / "unet", tmp_path / "lone")
    found, whole = (extract(weights(each), weights(base), Cut(2)) for each in (lone, trained))
    assert {*found.adapter.components} == {"unet"}
    assert all(pair.equals(whole.adapter.components["unet"][name]) for _, name, pair in found.adapter)
    assert "text_encoder is in sd15 alone, and was not compared" in found.facts.notes
    assert not any("text_encoder.text_model" in each for each in found.facts.notes)


def test_equal_models_leave_nothing_to_extract(base, trained, tmp_path):
    with pytest.raises(MismatchError, match=r"nothing to extract: sd15\S* and sd15\S* are equal in all \d+ layers"):
        extract(weights(base), weights(base), Cut(2))
    biases = changed(base, tmp_path / "biases", lambda _, name, each: each + 1 if name.endswith("bias") else each)
    with pytest.raises(MismatchError, match=r"that a LoRA has pairs for; they differ in \d+ biases of"):
        extract(weights(biases), weights(base), Cut(2))
    with pytest.raises(MismatchError, match="equal in all"):
        extract(weights(trained), weights(base), Cut({"text_encoder": 2}))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("which", ["trained", "base"])
def test_what_is_no_number_is_named(base, trained, tmp_path, which, bad):
    def spoilt(component, name, tensor):
        if name == "conv_in.weight":
            tensor = tensor.clone()
            tensor[0, 0, 0, 0] = bad
        return tensor

    other = changed({"trained": trained, "base": base}[which], tmp_path / "spoilt", spoilt)
    pair = (other, base) if which == "trained" else (trained, other)
    with pytest.raises(SourceError, match=r"spoilt/unet: conv_in.weight holds NaN or infinite values"):
        extract(*map(weights, pair), Cut(2))


def test_packed_numbers_are_refused(base, tmp_path):
    packed = changed(base, tmp_path / "packed", lambda _, __, each: each)
    file = packed / UNET
    save_file({**load_file(file), "conv_in.absmax": torch.ones(2)}, file, {"format": "pt"})
    with pytest.raises(SourceError, match="bitsandbytes"):
        weights(packed)


def test_neither_threads_nor_workers_change_a_bit(trained, base, monkeypatch):
    before, found = torch.get_num_threads(), []
    for count in (1, 2, 4):
        torch.set_num_threads(count)
        monkeypatch.setattr(module, "cores", lambda count=count: count)
        found.append(extract(weights(trained), weights(base), Cut(3)))
    torch.set_num_threads(before)
    for other in found[1:]:
        assert other.adapter.equals(found[0].adapter)
        assert other.facts == found[0].facts


def test_few_weights_are_in_memory_at_a_time(trained, base, monkeypatch):
    """Of both models, however many workers there are."""
    live, most, read = [0], [0], differences._numbers_of

    def watched(placed):
        found = read(placed)
        live[0] += found.nbytes
        most[0] = max(most[0], live[0])
        weakref.finalize(found, lambda size: live.__setitem__(0, live[0] - size), found.nbytes)
        return found

    whole = sum(4 * math.prod(shape) for shape in unet_modules().values())
    largest = max(4 * math.prod(shape) for shape in unet_modules().values())
    monkeypatch.setattr(differences, "_numbers_of", watched)
    monkeypatch.setattr(module, "_MEMORY", 3 * largest)
    monkeypatch.setattr(module, "cores", lambda: 16)
    extract(weights(trained), weights(base), Cut(2))
    assert most[0] <= 3 * largest < whole / 2
