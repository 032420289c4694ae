"""Which files of a source are its LoRA: names decide, and headers where several LoRAs lie in a folder."""

import foreign
import pytest
import tiny
from command_line import invoke, write_recipe

from loramerge import read_recipe
from loramerge.errors import ExitCode, SourceError
from loramerge.files.pickles import PICKLES
from loramerge.formats.lora_files import SeveralLorasError, lora_files
from loramerge.stages.resolve import resolve

PEFT = ("adapter_config.json", "adapter_model.safetensors")
BESIDE = ("README.md", "config.json", "training_args.bin", "sample.png")


def below(folder, *names):
    return tuple(f"{folder}/{name}" for name in names)


@pytest.mark.parametrize("files", [
    PEFT,
    ("ink.safetensors",),
    ("pytorch_lora_weights.safetensors",),
    below("lora", *PEFT),
    below("unet", *PEFT),
    (*below("lora/text_encoder", *PEFT), *below("lora/unet", *PEFT)),
    ("lora/ink.safetensors",),
    ("weights/lora/final/pytorch_lora_weights.safetensors",),
])  # fmt: skip
@pytest.mark.parametrize("checkpoint", [("ink.safetensors",), PEFT, ("optimizer.bin", "model.safetensors")])
def test_the_only_lora_is_found_wherever_it_lies(files, checkpoint):
    names = sorted(
        (*files, *BESIDE, *below("checkpoint-500", *checkpoint), *below("logs/checkpoint-1000", *checkpoint))
    )
    assert set(lora_files("hf://me/lora", names)) == set(files)


def test_what_lies_higher_comes_first():
    assert lora_files("x", ("a.safetensors", "lora/b.safetensors")) == ("a.safetensors",)
    assert lora_files("x", (*PEFT, *below("other", *PEFT))) == PEFT
    several = ("pytorch_lora_weights.safetensors", "z.safetensors")
    assert lora_files("x", several) == several[:1]


def test_of_checkpoints_alone_the_only_one_is_taken():
    assert lora_files("x", ("checkpoint-500/a.safetensors", "README.md")) == ("checkpoint-500/a.safetensors",)
    with pytest.raises(SeveralLorasError, match="holds 2 LoRAs"):
        lora_files("x", ("checkpoint-500/a.safetensors", "checkpoint-1000/a.safetensors"))


def test_several_are_listed_with_what_to_write():
    names = ("a.safetensors", "b.safetensors", *below("lora", "c.safetensors"))
    with pytest.raises(SeveralLorasError) as caught:
        lora_files("hf://me/lora", names)
    assert str(caught.value).splitlines() == [
        "hf://me/lora holds 2 LoRAs: a.safetensors, b.safetensors",
        "  hint: name the one to use:",
        "    hf://me/lora/a.safetensors",
        "    hf://me/lora/b.safetensors",
    ]
    with pytest.raises(SeveralLorasError) as caught:
        lora_files("./out/", (*below("ink", *PEFT), *below("glow/unet", *PEFT), *below("glow/text_encoder", *PEFT)))
    assert caught.value.hint.splitlines()[1:] == ["    ./out/glow", "    ./out/ink"]


def test_an_adapter_among_files_has_no_name_and_that_is_said():
    with pytest.raises(SeveralLorasError) as caught:
        lora_files("x", (*PEFT, "ink.safetensors"))
    assert caught.value.hint == (
        "name the one to use; the adapter at its top needs a folder of its own:\n    x/ink.safetensors"
    )


def test_a_pipeline_is_no_lora():
    names = ("model_index.json", "unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors")
    with pytest.raises(SourceError, match="is a whole pipeline, a base and no LoRA"):
        lora_files("x", names)
    assert lora_files("x", (*names, "ink.safetensors")) == ("ink.safetensors",)


@pytest.mark.parametrize("ending", PICKLES)
def test_pickles_are_called_pickles_with_a_way_out(ending):
    with pytest.raises(
        SourceError, match=r"has its weights in pickles only \(pytorch_model\.\w+\): a pickle"
    ) as caught:
        lora_files("x", (f"pytorch_model{ending}", *BESIDE))
    assert f"torch.load('pytorch_model{ending}', map_location='cpu', weights_only=True)" in caught.value.hint


def test_pickled_weights_of_an_adapter_are_named():
    with pytest.raises(
        SourceError, match=r"that belong to unet/adapter_config\.json are in unet/adapter_model\.bin: a"
    ):
        lora_files("x", below("unet", "adapter_config.json", "adapter_model.bin"))
    with pytest.raises(SourceError, match=r"has adapter_config\.json but no adapter_model\.safetensors"):
        lora_files("x", ("adapter_config.json", "README.md"))


def test_what_a_trainer_resumes_from_is_no_lora():
    with pytest.raises(SourceError, match="holds no LoRA"):
        lora_files("x", ("optimizer.bin", "scheduler.bin", "random_states_0.pkl", "training_args.bin"))


def test_the_advised_conversion_works(tmp_path, monkeypatch):
    import torch
    from safetensors.torch import load_file

    from loramerge.files.pickles import conversion

    monkeypatch.chdir(tmp_path)
    torch.save({"a": torch.ones(2)}, "adapter_model.bin")
    exec(conversion("sub/adapter_model.bin").rpartition("its code: ")[2])  # noqa: S102
    assert load_file("adapter_model.safetensors")["a"].tolist() == [1, 1]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two LoRAs of different families in one folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loras").mkdir()
    for family in ("sd15", "sdxl"):
        pairs = foreign.random_lora(
            tiny.shared(family), rank=2, alpha=2.0, seed=1, components=["unet"], modules=r"attn2\.to_k"
        )
        foreign.write_diffusers(pairs, tmp_path / "loras" / f"{family}.safetensors")
    return tmp_path


def test_of_several_the_one_that_fits_is_taken_and_that_is_said(folder):
    path = write_recipe(folder, base=tiny.folder("sd15"), loras={"ink": "loras"})
    (entry,) = resolve(read_recipe(path)).loras
    assert entry.names == ("sd15.safetensors",)
    result = invoke("run", path)
    assert result.exit_code == ExitCode.DONE
    assert "LoRA ink: of 2 LoRAs in loras only sd15.safetensors fits the base; it is used" in result.stderr


def test_where_two_fit_both_are_listed(folder):
    (folder / "loras/again.safetensors").write_bytes((folder / "loras/sd15.safetensors").read_bytes())
    result = invoke("plan", write_recipe(folder, base=tiny.folder("sd15"), loras={"ink": "loras"}))
    assert result.exit_code == ExitCode.BAD_SOURCE
    assert "loras/again.safetensors" in result.stderr
