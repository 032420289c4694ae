"""Every kind of bad input: what is said, the exit code, and that nothing is left behind."""

from __future__ import annotations

import os
import pickle
import struct

import foreign
import pytest
import tiny
import torch
from command_line import invoke, listing, write_recipe
from hub.faults import Status
from safetensors.torch import load_file, save_file

from loramerge import merge, plan, read_recipe, run
from loramerge.errors import ExitCode, UsageError

HUB_LORA = "hf://ostris/ikea-lora/ikea.safetensors"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with two good LoRAs in it."""
    monkeypatch.chdir(tmp_path)
    for name, seed in (("ink", 1), ("glow", 2)):
        foreign.write_diffusers(lora("sd15", seed=seed), tmp_path / f"{name}.safetensors")
    return tmp_path


def lora(family, *, rank=4, seed=1):
    return foreign.random_lora(
        tiny.shared(family), rank=rank, alpha=2.0, seed=seed, components=["unet"], modules=r"attn2\.to_[kv]"
    )


def refused(folder, recipe, code, *options):
    """What standard error says of a recipe that can't be run, as one text."""
    before = listing(folder)
    result = invoke("run", recipe.relative_to(folder), *options)
    assert result.exit_code == code, result.output
    assert listing(folder) == before
    assert result.stdout == ""
    said = [line for line in result.stderr.splitlines() if not line.endswith(" …")]
    assert all(line.startswith(("error: ", "hint: ")) for line in said)
    return "\n".join(said)


def with_text(folder, change):
    """A good recipe after a change to its text."""
    path = write_recipe(folder, base=tiny.folder("sd15"), loras={"ink": "ink.safetensors"})
    path.write_text(change(path.read_text()))
    return path


def with_lora(folder, source, **lora):
    return write_recipe(folder, base=tiny.folder("sd15"), loras={"ink": {"source": str(source), **lora}})


def test_the_recipe_is_good_before_anything_is_changed(folder):
    path = write_recipe(folder, base=tiny.folder("sd15"), loras={"ink": "ink.safetensors", "glow": "glow.safetensors"})
    assert invoke("run", path).exit_code == ExitCode.DONE
    assert (folder / "dist/small/report.json").exists()


# recipes


def test_an_unknown_key(folder):
    path = with_text(folder, lambda text: f"{text}colour: red\n")
    said = refused(folder, path, ExitCode.INVALID_RECIPE)
    assert "error: small.yaml:15:1: colour: unknown key" in said


def test_several_mistakes_are_several_lines(folder):
    path = with_text(folder, lambda text: text.replace("source: ink", "sorce: ink").replace("cat", "kat"))
    said = refused(folder, path, ExitCode.INVALID_RECIPE)
    assert "error: small.yaml:7:3: loras.0.sorce: unknown key" in said
    assert "did you mean 'source'" in said
    assert "merge.combination_type: found the text 'kat'" in said
    assert "did you mean 'cat'" in said


def test_a_duplicate_key(folder):
    path = with_text(folder, lambda text: f"{text}name: other\n")
    assert "error: small.yaml:15:1: name: this key is given twice, first at 2:1" in refused(
        folder, path, ExitCode.INVALID_RECIPE
    )


def test_a_wrong_type(folder):
    path = with_lora(folder, "ink.safetensors", weight="strong")
    said = refused(folder, path, ExitCode.INVALID_RECIPE)
    assert "error: small.yaml:8:11: loras.0.weight: found the text 'strong'; expected a number" in said


def test_an_alias_bomb(folder):
    levels = "".join(f"  l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 9)}]\n" for level in range(1, 30))
    path = with_text(folder, lambda text: f"description:\n  l0: &l0 [lol]\n{levels}{text}")
    assert "more than 10000 values once aliases are expanded" in refused(folder, path, ExitCode.INVALID_RECIPE)


def test_a_value_that_is_too_long_to_quote(folder):
    path = with_lora(folder, "ink.safetensors", weight="x" * 100_000)
    assert len(refused(folder, path, ExitCode.INVALID_RECIPE)) < 500


COMMANDS = ("validate", "run", "plan", "preview", "grid", "lock", "publish")


def options(command):
    return ["--set", "loras.0.weight=1,2"] if command == "grid" else []


@pytest.mark.parametrize("command", COMMANDS)
def test_a_lora_in_place_of_a_recipe(folder, command):
    (folder / "huge.safetensors").write_bytes((folder / "ink.safetensors").read_bytes() + bytes(300_000))
    for name in ("ink.safetensors", "huge.safetensors"):
        said = invoke(command, name, *options(command))
        assert said.exit_code == ExitCode.INVALID_RECIPE
        assert f"error: {name}: it is a LoRA (safetensors), and no recipe" in said.stderr
        assert f"hint: `loramerge merge {name}:0.7 OTHER.safetensors:0.8 -o merged.safetensors`" in said.stderr
        assert f"`loramerge inspect {name}`" in said.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_of_loras_in_place_of_recipes(folder, command):
    said = invoke(command, ".", *options(command))
    assert said.exit_code in {ExitCode.USAGE, ExitCode.INVALID_RECIPE}
    assert "hint: `loramerge merge glow.safetensors:0.7 ink.safetensors:0.8 -o merged.safetensors`" in said.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_a_recipe_that_is_not_there(folder, command):
    with_lora(folder, "ink.safetensors")
    said = invoke(command, "smal.yaml", *options(command))
    assert said.exit_code == ExitCode.INVALID_RECIPE
    assert "smal.yaml: can't read the recipe: there is no such file\nhint: did you mean small.yaml?" in said.stderr


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("x.json", '{"_type": "https://in-toto.io/Statement/v1", "predicate": {}}', "the provenance of an artifact"),
        ("report.json", '{"base": {}, "fidelity": {}, "environment": {}}', "the report of an artifact"),
        ("adapter_config.json", '{"peft_type": "LORA", "r": 4}', "the config of a LoRA"),
        ("model_index.json", '{"_class_name": "X", "_diffusers_version": "0.42"}', "the config of a model"),
        ("lock.yaml", "version: 1\nrecipe: x\nsources: {}\n", "a lock"),
    ],
)
def test_a_file_of_another_kind_in_place_of_a_recipe(folder, command, name, text, what):
    (folder / name).write_text(text)
    said = invoke(command, name, *options(command))
    assert said.exit_code == ExitCode.INVALID_RECIPE
    assert [line for line in said.stderr.splitlines() if not line.startswith("hint: ")] == [
        f"error: {name}:1:1: it is {what}, and no recipe"
    ]


@pytest.mark.parametrize("command", ["preview", "grid"])
def test_a_lock_is_not_offered_as_a_recipe(folder, command):
    for name in ("ink.yaml", "ink.lock.yaml"):
        (folder / name).write_text("version: 1\n")
    said = invoke(command, ".", *options(command)).stderr
    assert "hint: name one file in it: ink.yaml\n" in said


@pytest.mark.parametrize("command", COMMANDS)
def test_an_address_in_place_of_a_recipe(folder, command):
    said = invoke(command, "https://host/ink.yaml", *options(command))
    assert said.exit_code == ExitCode.INVALID_RECIPE
    assert "hint: it is an address: fetch the file, and name it here" in said.stderr


@pytest.mark.parametrize("path", ["x" * 5000, "x/" * 2500], ids=["name", "path"])
@pytest.mark.parametrize(
    ("command", "code"),
    [(f"{each} {{}}", ExitCode.INVALID_RECIPE) for each in COMMANDS]
    + [
        ("inspect {}", ExitCode.BAD_SOURCE),
        ("verify {}", ExitCode.BAD_SOURCE),
        ("init {} --base sdxl", ExitCode.BAD_SOURCE),
        ("merge {} -o x.safetensors", ExitCode.BAD_SOURCE),
        ("resize {} --rank 4 -o x.safetensors", ExitCode.BAD_SOURCE),
    ],
)
def test_a_path_that_is_too_long(folder, command, code, path):
    with_lora(folder, "ink.safetensors")
    result = invoke(*command.format(path).split(), *options(command.partition(" ")[0]))
    assert result.exit_code == code, result.output
    assert len(result.output) < 2000
    assert "defect" not in result.output


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("x" * 5000, "a path of 5000 bytes is too long, 3840 are the most; choose a shorter one"),
        ("x/" * 2500, "a path of 5000 bytes is too long, 3840 are the most; choose a shorter one"),
        ("a/" + "é" * 150 + ".safetensors", "a name of 312 bytes is too long, 237 are the most; choose a shorter one"),
    ],
    ids=["name", "path", "folder"],
)
@pytest.mark.parametrize(
    "command",
    [
        *(f"{each} small.yaml --out {{}}" for each in ("run", "plan", "preview", "grid")),
        "publish small.yaml --artifact {}",
        *(f"{each} -o {{}}" for each in ("merge ink.safetensors", "resize ink.safetensors --rank 2")),
        "init ink.safetensors --base sd15 -o {}",
        "schema --write {}",
    ],
)
def test_a_place_that_is_too_long(folder, command, path, said):
    with_lora(folder, "ink.safetensors")
    before = listing(folder)
    result = invoke(*command.format(path).split(), *options(command.partition(" ")[0]))
    assert result.exit_code == ExitCode.USAGE, result.output
    assert said in result.stderr
    assert listing(folder) == before


def test_a_place_that_is_too_long_from_python(folder):
    recipe = read_recipe(with_lora(folder, "ink.safetensors"))
    for call in (lambda: run(recipe, out="x" * 300), lambda: plan(recipe, out="x" * 300)):
        with pytest.raises(UsageError, match="a name of 300 bytes is too long"):
            call()
    with pytest.raises(UsageError, match="a name of 312 bytes is too long"):
        merge(recipe, "x" * 300 + ".safetensors")


@pytest.mark.parametrize("path", ["x" * 300, "a/" * 2500])
def test_a_target_whose_path_is_too_long(folder, path):
    publish = [{"kind": "folder", "path": path}]
    recipe = write_recipe(folder, base=tiny.folder("sd15"), loras={"ink": "ink.safetensors"}, publish=publish)
    said = refused(folder, recipe, ExitCode.INVALID_RECIPE)
    assert f"publish.0.path: a {'path' if '/' in path else 'name'} of {len(path)} bytes is too long" in said
    assert "choose a shorter one" in said


# files


def test_a_missing_file(folder):
    said = refused(folder, with_lora(folder, "inc.safetensors"), ExitCode.BAD_SOURCE)
    assert "error: inc.safetensors: there is no file or folder" in said
    assert "hint: did you mean ink.safetensors?" in said


@pytest.mark.skipif(os.name == "nt", reason="these are paths there")
@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("C:\\loras\\ink.safetensors", "under WSL it is /mnt/c/loras/ink.safetensors"),
        ("..\\loras\\ink.safetensors", "parts of a path are separated by slashes: ../loras/ink.safetensors"),
        ("loras/ink.safetensors", "hint: there is no folder "),
    ],
)
def test_paths_as_other_systems_write_them(folder, source, said):
    assert said in refused(folder, with_lora(folder, source), ExitCode.BAD_SOURCE)


def test_a_wrong_sha256(folder):
    said = refused(folder, with_lora(folder, "ink.safetensors", sha256="0" * 64), ExitCode.BAD_SOURCE)
    assert "error: ink.safetensors: the file is not the one that was promised: its sha256 is" in said
    assert f"expected {'0' * 64}" in said


def test_a_truncated_file(folder):
    file = folder / "ink.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    said = refused(folder, with_lora(folder, file.name), ExitCode.BAD_SOURCE)
    assert "error: ink.safetensors is not a sound safetensors file" in said
    assert "hint: fetch the file again" in said


def test_a_header_of_2_to_the_63_bytes(folder):
    (folder / "ink.safetensors").write_bytes(struct.pack("<Q", 2**63) + b"{}")
    said = refused(folder, with_lora(folder, "ink.safetensors"), ExitCode.BAD_SOURCE)
    assert "error: ink.safetensors is not a sound safetensors file" in said


@pytest.mark.parametrize("name", ["lora.bin", "lora.pt", "lora.ckpt"])
def test_a_pickle_by_name(folder, name):
    (folder / name).write_bytes(b"anything")
    said = refused(folder, with_lora(folder, name), ExitCode.INVALID_RECIPE)
    assert f"{name} is refused: a pickle can run code when it is opened; only safetensors is read" in said


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_that_is_called_safetensors(folder, protocol):
    (folder / "ink.safetensors").write_bytes(pickle.dumps({"lora": 1}, protocol=protocol))
    said = refused(folder, with_lora(folder, "ink.safetensors"), ExitCode.BAD_SOURCE)
    assert "error: ink.safetensors holds a pickle, whatever its name says" in said


def test_a_torch_checkpoint_that_is_called_safetensors(folder):
    torch.save({"lora": torch.zeros(2)}, folder / "ink.safetensors")
    said = refused(folder, with_lora(folder, "ink.safetensors"), ExitCode.BAD_SOURCE)
    assert "error: ink.safetensors holds a pickle, whatever its name says" in said


def test_an_empty_file(folder):
    (folder / "ink.safetensors").write_bytes(b"")
    said = refused(folder, with_lora(folder, "ink.safetensors"), ExitCode.BAD_SOURCE)
    assert "error: ink.safetensors: the file" in said
    assert "is empty" in said


def test_values_that_are_no_numbers(folder):
    file = folder / "ink.safetensors"
    tensors = load_file(file)
    key = min(tensors)
    tensors[key][0, 0] = float("nan")
    save_file(tensors, file)
    said = refused(folder, with_lora(folder, file.name), ExitCode.BAD_SOURCE)
    assert f"error: ink.safetensors: {key} holds NaN or infinite values" in said


# what does not fit together


def test_a_wrong_base(folder):
    foreign.write_diffusers(lora("sd2"), folder / "ink.safetensors")
    said = refused(folder, with_lora(folder, "ink.safetensors"), ExitCode.MISMATCH)
    assert "error: LoRA ink: " in said
    assert "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k is 16×40, the base has 16×32" in said
    assert "hint: choose the base that the LoRA was trained on" in said


def test_a_wrong_base_of_real_width(folder):
    shapes = {"lora_A": (4, 1024), "lora_B": (320, 4)}
    module = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
    save_file({f"{module}.{half}.weight": torch.ones(shape) for half, shape in shapes.items()}, "ink.safetensors")
    said = refused(folder, with_lora(folder, "ink.safetensors"), ExitCode.MISMATCH)
    assert f"{module} is 320×1024, the base has 16×32" in said
    assert "It looks like a LoRA for Stable Diffusion 2.x, the base is Stable Diffusion 1.5." in said


def test_another_rank_than_was_promised(folder):
    said = refused(folder, with_lora(folder, "ink.safetensors", rank=8), ExitCode.MISMATCH)
    assert "error: LoRA ink should have rank 8; " in said
    assert "with 4" in said


def test_unequal_ranks_for_linear(folder):
    foreign.write_diffusers(lora("sd15", rank=8, seed=2), folder / "glow.safetensors")
    loras = {"ink": "ink.safetensors", "glow": "glow.safetensors"}
    path = write_recipe(folder, base=tiny.folder("sd15"), loras=loras, merge={"combination_type": "linear"})
    said = refused(folder, path, ExitCode.MISMATCH)
    assert "error: `linear` needs equal ranks; " in said
    assert "these have 4 (ink) and 8 (glow)" in said
    assert "hint: use `cat`" in said


# where it goes


def test_an_output_that_can_not_be_written(folder):
    path = with_lora(folder, "ink.safetensors")
    said = refused(folder, path, ExitCode.FAILED, "--out", "/proc/nowhere/small")
    assert "error: /proc/nowhere/small can't be written: " in said
    assert "hint: choose another place" in said


def test_a_file_where_the_output_should_go(folder):
    (folder / "dist").write_text("mine")
    said = refused(folder, with_lora(folder, "ink.safetensors"), ExitCode.FAILED)
    assert "can't be made: " in said
    assert "/dist is a file" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(folder):
    (folder / "dist").mkdir(mode=0o555)
    assert "can't be written: Permission denied" in refused(
        folder, with_lora(folder, "ink.safetensors"), ExitCode.FAILED
    )


def test_a_folder_of_somebody_else(folder):
    (folder / "dist/small").mkdir(parents=True)
    (folder / "dist/small/thesis.txt").write_text("mine")
    said = refused(folder, with_lora(folder, "ink.safetensors"), ExitCode.FAILED)
    assert "exists and is no artifact of loramerge" in said
    assert "--force" in said


# the Hub


def test_a_token_that_the_hub_does_not_accept(hub, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_made_up")
    hub.repository("ostris/ikea-lora", {"ikea.safetensors": b"x"})
    said = refused(folder, with_lora(folder, HUB_LORA), ExitCode.BAD_SOURCE)
    assert f"error: {HUB_LORA}: the Hub does not accept the token" in said
    assert "hf_made_up" not in said


def test_a_repository_that_the_hub_forbids(hub, folder):
    hub.repository("ostris/ikea-lora", {"ikea.safetensors": b"x"})
    hub.inject("GET", "^/api/models/", Status(403))
    said = refused(folder, with_lora(folder, HUB_LORA), ExitCode.BAD_SOURCE)
    assert f"error: {HUB_LORA}: the Hub forbids reading ostris/ikea-lora" in said


def test_a_repository_that_does_not_exist(hub, folder):
    said = refused(folder, with_lora(folder, HUB_LORA), ExitCode.BAD_SOURCE)
    assert f"error: {HUB_LORA}: ostris/ikea-lora does not exist or is private" in said


def test_a_file_that_the_repository_does_not_have(hub, folder):
    hub.repository("ostris/ikea-lora", {"ikea-v2.safetensors": b"x"})
    said = refused(folder, with_lora(folder, HUB_LORA), ExitCode.BAD_SOURCE)
    assert "has no file or folder ikea.safetensors" in said
    assert "hint: did you mean ikea-v2.safetensors?" in said


def test_a_gated_repository(hub, folder):
    hub.repository("ostris/ikea-lora", {"ikea.safetensors": b"x"}, gated=True)
    said = refused(folder, with_lora(folder, HUB_LORA), ExitCode.BAD_SOURCE)
    assert f"error: {HUB_LORA}: ostris/ikea-lora is gated" in said
    assert f"hint: accept its conditions at {hub.url}/ostris/ikea-lora" in said


def test_a_hub_that_is_down(hub, folder):
    hub.stop()
    said = refused(folder, with_lora(folder, HUB_LORA), ExitCode.BAD_SOURCE)
    assert f"error: {HUB_LORA}: can't reach the Hub at {hub.url}" in said


def test_a_file_name_that_leaves_its_folder(hub, folder):
    hub.repository("ostris/ikea-lora", {"../evil.safetensors": b"x", "ikea.safetensors": b"x"})
    said = refused(folder, with_lora(folder, HUB_LORA), ExitCode.BAD_SOURCE)
    assert "'../evil.safetensors', a file name that leaves its folder" in said


def test_a_reference_that_leaves_its_repository(folder):
    path = with_lora(folder, "hf://ostris/ikea-lora/../../evil.safetensors")
    assert "is no path in a repository" in refused(folder, path, ExitCode.INVALID_RECIPE)
