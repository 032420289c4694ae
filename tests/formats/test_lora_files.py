"""Which files of a source are its LoRA: names decide, and headers where several LoRAs lie in a folder."""

import foreign
import pytest
import tiny
from command_line import invoke, write_recipe
from hub.environment import CACHE
from hub.example import OWNER
from hub.faults import Status

from loramerge import load_adapter, load_base, read_recipe
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
    with pytest.raises(SourceError) as caught:
        lora_files("x", below("unet", "adapter_config.json", "ink.safetensors"))
    assert caught.value.hint == "fetch the adapter again, or name the file that is meant: unet/ink.safetensors"


def test_an_adapter_of_mlx_is_called_so():
    with pytest.raises(SourceError, match=r"x is an adapter of MLX \(adapters\.safetensors\), whose names and scales"):
        lora_files("x", ("adapter_config.json", "adapters.safetensors"))


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


def repository_of(folder, hub, **changed):
    files = {f"{family}.safetensors": (folder / "loras" / f"{family}.safetensors") for family in ("sd15", "sdxl")}
    return hub.repository("org/loras", {name: file.read_bytes() for name, file in files.items()} | changed)


@pytest.mark.slow
@pytest.mark.parametrize("write", [foreign.write_diffusers, foreign.write_kohya])
@pytest.mark.parametrize("longest", [1024, 1 << 17])
def test_of_several_on_a_hub_headers_tell_which_one_fits_and_no_other_weights_are_downloaded(
    folder, hub, write, longest, monkeypatch
):
    """With `longest` smaller than a header, that is asked for a second time, whole."""
    monkeypatch.setattr("loramerge.files.outline._FIRST", longest)
    for family in ("sd15", "sdxl"):
        pairs = foreign.random_lora(
            tiny.shared(family), rank=256, alpha=2.0, seed=1, components=["unet"], modules=r"attn2\.to_k"
        )
        write(pairs, folder / "loras" / f"{family}.safetensors")
    repository_of(folder, hub, **{"other.safetensors": b"no LoRA"})
    path = write_recipe(folder, base=tiny.folder("sd15"), loras={"ink": "hf://org/loras"})
    planned = invoke("plan", path)
    assert planned.exit_code == ExitCode.CHANGES_PENDING, planned.output
    assert not list(CACHE.rglob("*.safetensors"))
    assert invoke("lock", path).exit_code == ExitCode.DONE
    first = (folder / "small.lock.yaml").read_text()
    assert "sd15.safetensors" in first
    assert "sdxl" not in first
    assert "unchanged" in invoke("lock", path).stdout
    result = invoke("run", path)
    assert result.exit_code == ExitCode.DONE, result.output
    assert "LoRA ink: of 3 LoRAs in hf://org/loras only sd15.safetensors fits the base; it is used" in result.stderr
    assert [file.name for file in CACHE.rglob("*.safetensors")] == ["sd15.safetensors"]
    assert invoke("plan", path).exit_code == ExitCode.DONE
    assert invoke("verify", "dist/small", "--rebuild", "--recipe", path).exit_code == ExitCode.DONE


def test_where_two_fit_on_a_hub_both_are_listed(folder, hub):
    repository_of(folder, hub, **{"again.safetensors": (folder / "loras/sd15.safetensors").read_bytes()})
    result = invoke("plan", write_recipe(folder, base=tiny.folder("sd15"), loras={"ink": "hf://org/loras"}))
    assert result.exit_code == ExitCode.BAD_SOURCE
    assert "\n    hf://org/loras/again.safetensors\n" in result.stderr


def test_peft_folders_on_a_hub_are_told_by_their_headers_as_well(folder, hub):
    files = {}
    for family in ("sd15", "sdxl"):
        pairs = foreign.random_lora(
            tiny.shared(family), rank=2, alpha=2.0, seed=1, components=["unet"], modules=r"attn2\.to_k"
        )
        foreign.write_peft(pairs["unet"], folder / family / "unet")
        files |= {f"{family}/unet/{name}": (folder / family / "unet" / name).read_bytes() for name in PEFT}
    hub.repository("org/loras", files)
    path = write_recipe(folder, base=tiny.folder("sdxl"), loras={"ink": "hf://org/loras"})
    (entry,) = resolve(read_recipe(path)).loras
    assert entry.names == tuple(f"sdxl/unet/{name}" for name in PEFT)


def test_headers_of_a_private_repository_are_read_with_its_owner_s_token(folder, hub, monkeypatch):
    """The loopback Hub refuses a token that is sent on to where the bytes lie."""
    monkeypatch.setenv("HF_TOKEN", OWNER)
    files = {
        f"{each}.safetensors": (folder / "loras" / f"{each}.safetensors").read_bytes() for each in ("sd15", "sdxl")
    }
    hub.repository("tester/loras", files, private=True)
    path = write_recipe(folder, base=tiny.folder("sd15"), loras={"ink": "hf://tester/loras"})
    (entry,) = resolve(read_recipe(path)).loras
    assert entry.names == ("sd15.safetensors",)


def test_of_very_many_on_a_hub_none_is_asked_for(folder, hub):
    hub.repository("org/loras", {f"{number}.safetensors": b"x" for number in range(25)})
    result = invoke("plan", write_recipe(folder, base=tiny.folder("sd15"), loras={"ink": "hf://org/loras"}))
    assert result.exit_code == ExitCode.BAD_SOURCE
    assert "holds 25 LoRAs" in result.stderr
    assert not [call for call in hub.log if "/resolve/" in call.path]


def test_a_hub_that_refuses_a_header_is_no_misfit(folder, hub):
    repository_of(folder, hub)
    hub.inject("GET", "/resolve/.*sdxl", Status(403))
    result = invoke("plan", write_recipe(folder, base=tiny.folder("sd15"), loras={"ink": "hf://org/loras"}))
    assert result.exit_code == ExitCode.BAD_SOURCE
    assert "the Hub forbids reading org/loras" in result.stderr


def test_a_family_is_enough_to_tell_which_one_fits(folder):
    """The published sizes are none that these LoRAs have, so that neither fits; but that is what is found out."""
    path = write_recipe(folder, base="x", loras={"ink": "loras"})
    path.write_text(path.read_text().replace("source: x", "family: sd15"))
    result = invoke("plan", path)
    assert result.exit_code == ExitCode.BAD_SOURCE
    assert "loras holds 2 LoRAs" in result.stderr


def test_one_line_chooses_as_a_recipe_does_where_it_has_a_base(folder):
    base = ("--base", str(tiny.folder("sd15")))
    merged = invoke("merge", "loras", "-o", "merged.safetensors", *base)
    assert merged.exit_code == ExitCode.DONE, merged.output
    assert "of 2 LoRAs in loras only sd15.safetensors fits the base; it is used" in merged.stderr
    assert invoke("init", "loras", "-o", "first.yaml", *base).exit_code == ExitCode.DONE
    assert "unet" in load_adapter("loras", load_base(tiny.folder("sd15"))).components
    alone = invoke("merge", "loras", "-o", "other.safetensors")
    assert alone.exit_code == ExitCode.BAD_SOURCE
    assert "\n    loras/sd15.safetensors\n" in alone.stderr
    assert not (folder / "other.safetensors").exists()


def test_where_two_fit_both_are_listed(folder):
    (folder / "loras/again.safetensors").write_bytes((folder / "loras/sd15.safetensors").read_bytes())
    result = invoke("plan", write_recipe(folder, base=tiny.folder("sd15"), loras={"ink": "loras"}))
    assert result.exit_code == ExitCode.BAD_SOURCE
    assert "loras/again.safetensors" in result.stderr
