"""Each family in each format: every spelling is the same deltas, and what is written is read back as it was."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import pytest
import torch
from canonical import read
from families.models import built, config_of
from families.rows import ROWS
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from loramerge import Adapter, LowRank, WeightedAdapter, combine
from loramerge.bases.base import Base, from_configs
from loramerge.errors import MismatchError
from loramerge.families import FAMILIES
from loramerge.formats import FORMATS, ComfyuiOutput, DiffusersOutput, KohyaOutput, Labels, PeftOutput
from loramerge.formats.split_layers import own_ranks
from loramerge.methods import METHODS

pytestmark = pytest.mark.slow

NAMED = [row for row in ROWS if FAMILIES[row.family].has_original_names]
UNNAMED = [row for row in ROWS if not FAMILIES[row.family].has_original_names]
ONE = {output.model_fields["format"].annotation.__args__[0]: output for output in FORMATS}


def label(row):
    return f"{row.family}-{ROWS.index(row)}"


def component_of(row):
    return FAMILIES[row.family].denoisers[0]


@functools.cache
def base_of(row) -> Base:
    return from_configs("tiny", {component_of(row): config_of(row)})


@dataclass(frozen=True)
class Original:
    """A random LoRA in the original names: name → (down, up, alpha)."""

    pairs: dict
    shapes: dict

    @classmethod
    def of(cls, row, *, seed=0, rank=3, every=1, style="kohya"):
        generator = torch.Generator().manual_seed(seed)
        component = base_of(row).components[component_of(row)]
        originals = (component.layout if style == "kohya" else component.comfyui_layout).originals
        pairs = {}
        for name, original in [*originals.items()][::every]:
            out, *rest = original.shape
            down = torch.randn(rank, *rest, generator=generator)
            pairs[name] = down, torch.randn(out, rank, *[1] * (len(rest) - 1), generator=generator), 2.0
        return cls(pairs, {name: original.shape for name, original in originals.items()})

    def deltas(self, row):
        """By canonical name: rows of what is added to the original tensors."""
        found = {}
        for original in base_of(row).components[component_of(row)].layout.originals.values():
            if original.name in self.pairs:
                down, up, alpha = self.pairs[original.name]
                delta = (up.double().flatten(1) @ down.double().flatten(1) * alpha / len(down)).reshape(original.shape)
                for part in original.parts:
                    found[part.canonical] = torch.cat([delta[start:stop] for start, stop in part.spans])
        return found

    def save(self, path, style):
        tensors = {}
        for name, (down, up, alpha) in self.pairs.items():
            stem = f"lora_unet_{name.replace('.', '_')}" if style == "kohya" else f"diffusion_model.{name}"
            down_name, up_name = ("lora_down", "lora_up") if style == "kohya" else ("lora_A", "lora_B")
            tensors |= {f"{stem}.{down_name}.weight": down, f"{stem}.{up_name}.weight": up}
            tensors[f"{stem}.alpha"] = torch.tensor(alpha)
        save_file(tensors, path)
        return path


def deltas_of(adapter, row):
    assert [*adapter.components] == [component_of(row)]
    return {name: pair.delta() for name, pair in adapter.components[component_of(row)].items()}


def assert_close(found, expected, tolerance):
    assert found.keys() == expected.keys()
    for name, delta in expected.items():
        assert (found[name] - delta).norm() <= tolerance * max(delta.norm(), 1), name


@pytest.mark.parametrize("style", ["kohya", "comfyui"])
@pytest.mark.parametrize("row", NAMED, ids=label)
def test_original_names_are_rows_of_the_layers(row, style, tmp_path):
    lora = Original.of(row)
    adapter = read(lora.save(tmp_path / "x.safetensors", style), base_of(row))
    assert_close(deltas_of(adapter, row), lora.deltas(row), 1e-12)


@pytest.mark.parametrize("style", ["kohya", "comfyui"])
@pytest.mark.parametrize("row", NAMED, ids=label)
def test_there_and_back_is_the_same_file(row, style, tmp_path):
    """Fused layers too: their parts read with one `down`, so the rank stays what it was."""
    family = FAMILIES[row.family]
    if style == "kohya" and family.flat_is_canonical:
        pytest.skip("kohya's files of this family have diffusers' names")
    path = Original.of(row, style=style).save(tmp_path / "x.safetensors", style)
    output = ONE[style](kind="adapter", format=style)
    (name,) = output.write_adapter(read(path, base_of(row)), base_of(row), Labels("out"), tmp_path)
    before, after = load_file(path), load_file(tmp_path / name)
    assert {*before} - {*after} == ({key for key in before if key.endswith(".alpha")} if style == "comfyui" else set())
    for key, tensor in after.items():
        assert tensor.shape == before[key].shape, key
        if style == "kohya":
            assert torch.equal(tensor, before[key]), key


def written(adapter, row, style, folder):
    """What is read of an adapter that was written exactly."""
    folder.mkdir()
    output = ONE[style](kind="adapter", format=style)
    output.write_adapter(adapter, base_of(row), Labels("out", is_converted=True), folder, exact=True)
    place = folder if style == "peft" else next(folder.glob("*.safetensors"))
    return own_ranks(read(place, base_of(row)))


@pytest.mark.parametrize("row", NAMED, ids=label)
def test_a_lora_goes_through_every_format_and_comes_back(row, tmp_path):
    """Its layers were trained whole: they are put together again as they were."""
    path = Original.of(row, rank=4, style="comfyui").save(tmp_path / "x.safetensors", "comfyui")
    adapter = first = own_ranks(read(path, base_of(row)))
    for style in ("peft", "kohya", "comfyui"):
        adapter = written(adapter, row, style, tmp_path / style)
        assert adapter.equals(first), style
    (place,) = (tmp_path / "comfyui").iterdir()
    before, after = load_file(path), load_file(place)
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[key]) for key, tensor in before.items())
    folded = written(adapter, row, "diffusers", tmp_path / "diffusers")
    assert all(torch.equal(one.delta(), other.delta()) for (*_, one), (*_, other) in zip(first, folded, strict=True))
    assert written(folded, row, "comfyui", tmp_path / "last").equals(folded)


@pytest.mark.parametrize("row", NAMED, ids=label)
def test_parts_that_were_trained_apart_keep_their_ranks(row, tmp_path):
    generator = torch.Generator().manual_seed(0)
    component, pairs = component_of(row), {}
    for number, (module, (out, *rest)) in enumerate(base_of(row).components[component].modules.items()):
        rank = 1 + number % 3
        down = torch.randn(rank, *rest, generator=generator)
        pairs[module] = LowRank(down, torch.randn(out, rank, *[1] * (len(rest) - 1), generator=generator), 0.5)
    adapter = Adapter({component: dict([*pairs.items()][::2])})
    for style in ("comfyui", "kohya"):
        assert written(adapter, row, style, tmp_path / style).equals(adapter), style


@functools.cache
def merged(row):
    """Two LoRAs of different ranks, one of which touches but some of the layers, and their weighted sum."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        loras, truth = [], {}
        for name, seed, rank, every, weight in (("a", 1, 2, 1, 0.7), ("b", 2, 3, 2, -0.5)):
            lora = Original.of(row, seed=seed, rank=rank, every=every)
            file = lora.save(Path(folder) / f"{name}.safetensors", "comfyui")
            loras.append(WeightedAdapter(name, read(file, base_of(row)).loaded(), weight))
            for module, delta in lora.deltas(row).items():
                truth[module] = truth.get(module, 0) + weight * delta
        cat = next(method for method in METHODS if method.name() == "cat")
        method = cat(combination_type="cat", engine="factored")
        return combine(loras, base_of(row), method, device="cpu").adapter, truth


@pytest.mark.parametrize("output", FORMATS, ids=lambda output: output.default_folder)
@pytest.mark.parametrize("row", NAMED, ids=label)
def test_every_format_holds_the_weighted_sum(row, output, tmp_path):
    adapter, truth = merged(row)
    written = output(kind="adapter", format=output.default_folder)
    written.check(base_of(row), [*adapter.components])
    written.write_adapter(adapter, base_of(row), Labels("out"), tmp_path)
    place = tmp_path if output is PeftOutput else next(tmp_path.glob("*.safetensors"))
    back = read(place, base_of(row))
    # A fused layer is written whole: of a part that nothing touched there are zeros.
    found = {name: delta for name, delta in deltas_of(back, row).items() if name in truth or delta.any()}
    assert_close(found, truth, 1e-6)


@pytest.mark.parametrize("output", [KohyaOutput, ComfyuiOutput])
@pytest.mark.parametrize("row", UNNAMED, ids=label)
def test_without_known_names_two_formats_are_left(row, output):
    written = output(kind="adapter", format=output.default_folder)
    with pytest.raises(MismatchError, match=f"those of {FAMILIES[row.family].title} are not known") as refused:
        written.check(base_of(row), base_of(row).denoisers)
    assert refused.value.hint == "write `format: diffusers` or `format: peft`, which have the base's own names"
    for kept in (DiffusersOutput, PeftOutput):
        kept(kind="adapter", format=kept.default_folder).check(base_of(row), base_of(row).denoisers)


def delta_in(layer):
    """What a layer of PEFT's adds; its own `get_delta_weight` knows no three-dimensional kernel of one element."""
    down, up = (half["default_0"].weight.detach().double() for half in (layer.lora_A, layer.lora_B))
    return (up.flatten(1) @ down.flatten(1) * layer.scaling["default_0"]).reshape(len(up), *down.shape[1:])


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=label)
def test_diffusers_loads_its_own_format(row, tmp_path):
    torch.manual_seed(0)
    model = built(config_of(row))
    if not hasattr(model, "load_lora_adapter"):
        pytest.skip("diffusers loads no LoRA into this class")
    adapter, truth = merged(row)
    DiffusersOutput(kind="adapter", format="diffusers").write_adapter(adapter, base_of(row), Labels("out"), tmp_path)
    path = next(tmp_path.glob("*.safetensors"))
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert "lora_adapter_metadata" in metadata
    model.load_lora_adapter(load_file(path), prefix=component_of(row))
    found = {name: delta_in(layer) for name, layer in model.named_modules() if hasattr(layer, "lora_A")}
    assert_close(found, truth, 1e-5)
