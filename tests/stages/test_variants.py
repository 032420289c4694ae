"""Several fused outputs of one recipe: each is what it is alone, to the byte, and the base's weights are read once."""

import shutil

import foreign
import pytest
import single_files
import tiny
from canonical import files_of
from command_line import write_recipe

from loramerge import read_recipe, run
from loramerge.tensor_files import stream

pytestmark = pytest.mark.slow

VARIANTS = {
    "plain": {"lora_scale": 0.5},
    "half": {"dtype": "bfloat16", "max_shard_size": "200KB"},
    "other": {"dtype": "float16", "lora_scale": 0.7},
}


@pytest.fixture(params=["folder", "file"])
def here(request, tmp_path, monkeypatch):
    """A base, in a folder or as one file, and a LoRA."""
    monkeypatch.chdir(tmp_path)
    if request.param == "folder":
        shutil.copytree(tiny.folder("sd15"), "base")
    else:
        tensors = single_files.checkpoint("sd15", tiny.folder("sd15"))
        single_files.write(tensors, tmp_path / "base.safetensors")
        for name in ("model_index.json", "unet/config.json", "text_encoder/config.json"):
            (tmp_path / "configs" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(tiny.folder("sd15") / name, tmp_path / "configs" / name)
    pairs = foreign.random_lora(tiny.shared("sd15"), rank=4, alpha=2, seed=3, few=True)
    foreign.write_diffusers(pairs, tmp_path / "ink.safetensors")
    return tmp_path


def made(here, monkeypatch, names, out):
    """The artifact with some of the variants, and the bytes of the base that their sums and roundings took."""
    read = []
    block = stream._read_block
    monkeypatch.setattr(stream, "_read_block", lambda *given: read.append(block(*given)) or read[-1])
    outputs = [{"kind": "model", "name": name, **VARIANTS[name]} for name in names]
    folder = (here / "base").is_dir()
    path = write_recipe(here, base="x", loras={"ink": "ink.safetensors"}, outputs=outputs)
    source = "source: base\n" if folder else "source: base.safetensors\n  config: ./configs\n"
    path.write_text(path.read_text().replace("source: x\n", source))
    run(read_recipe(path), out=here / out, device="cpu")
    monkeypatch.setattr(stream, "_read_block", block)
    return here / out, sum(map(len, read))


def test_each_is_what_it_is_alone_and_the_base_is_read_once(here, monkeypatch):
    together, read = made(here, monkeypatch, VARIANTS, "together")
    alone = {name: made(here, monkeypatch, [name], f"alone-{name}") for name in VARIANTS}
    for name, (folder, _) in alone.items():
        assert files_of(folder / name) == files_of(together / name)
        for file in files_of(folder / name):
            have, want = together / name / file, folder / name / file
            # A file says in its metadata of which recipe it is, and here they are three.
            if have.name != "small.safetensors":
                assert have.read_bytes() == want.read_bytes(), file
    assert read == max(each for _, each in alone.values())
