from __future__ import annotations

import os
import re
import shutil
from types import SimpleNamespace

import artifacts
import pytest
from artifacts import edit, scaled, told
from command_line import invoke
from hub.example import OWNER
from safetensors.torch import load_file, save_file

from loramerge import verify
from loramerge.errors import ExitCode, Finding, SourceError, UsageError, VerificationError
from loramerge.files.digest import files_of, sha256_of
from loramerge.stages import verify as stage

pytestmark = pytest.mark.slow

OUTPUTS = [*({"kind": "adapter", "format": name} for name in ("peft", "diffusers", "kohya")), {"kind": "inputs"}]
KOHYA = "kohya/small.safetensors"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = artifacts.workspace(tmp_path_factory.mktemp("made"))
    svd = {"combination_type": "svd", "svd_rank": 3}
    extra = {"merge": svd, "outputs": [*OUTPUTS, {"kind": "pipeline"}]}
    return SimpleNamespace(
        folder=folder,
        artifact=artifacts.artifact(folder, outputs=OUTPUTS),
        svd=artifacts.artifact(folder, **extra, name="svd"),
    )


@pytest.fixture
def copied(made, tmp_path):
    """A copy of the artifact, to be damaged."""
    return shutil.copytree(made.artifact, tmp_path / "small")


@pytest.fixture
def workspace(made, tmp_path):
    """A copy of what the artifact was made of."""
    return shutil.copytree(made.folder, tmp_path / "workspace", ignore=shutil.ignore_patterns("out"))


def findings(artifact, **options):
    with pytest.raises(VerificationError) as caught:
        verify(artifact, **options)
    assert caught.value.exit_code == ExitCode.NOT_VERIFIED
    assert caught.value.message.splitlines() == [f"{artifact}: {each.message}" for each in caught.value.findings]
    return [(each.kind, each.file) for each in caught.value.findings]


def test_an_artifact_is_what_it_says(made):
    verified = verify(made.artifact)
    assert verified.provenance.recipe == "small"
    assert set(verified.provenance.files) == set(files_of(made.artifact)) - {"provenance.json"}
    assert verified.rebuilt is None


@pytest.mark.parametrize("name", [KOHYA, "recipe.yaml", "report.json", "peft/unet/adapter_config.json"])
def test_one_changed_byte(copied, name):
    content = bytearray((copied / name).read_bytes())
    content[-1] ^= 1
    (copied / name).write_bytes(content)
    assert findings(copied) == [("changed", name)]


def test_everything_that_is_wrong_is_named(copied):
    (copied / KOHYA).unlink()
    (copied / ".hidden").write_text("")
    (copied / "kohya" / "more.safetensors").write_text("")
    (copied / "recipe.yaml").write_text("")
    (copied / "report.json").rename(copied / "renamed.json")
    assert findings(copied) == [
        ("extra", ".hidden"),
        ("extra", "kohya/more.safetensors"),
        ("missing", KOHYA),
        ("changed", "recipe.yaml"),
        ("extra", "renamed.json"),
        ("missing", "report.json"),
    ]


def test_words_of_the_owner_beside_our_part_of_the_card(copied):
    card = copied / "README.md"
    card.write_text(card.read_text(encoding="utf-8") + "\n## Mine\n", encoding="utf-8")
    assert verify(copied).words_of_others
    assert "nothing vouches for those" in invoke("verify", copied).stdout
    card.write_text(card.read_text(encoding="utf-8").replace("Merged by", "Made by"), encoding="utf-8")
    assert findings(copied) == [("changed", "README.md")]


def test_inputs_that_the_lock_has_otherwise(copied):
    provenance, lock = copied / "provenance.json", copied / "recipe.lock.yaml"
    (digest,) = re.findall(r"b\.safetensors:\n +size: \d+\n +sha256: (\w+)", lock.read_text(encoding="utf-8"))
    provenance.write_text(provenance.read_text(encoding="utf-8").replace(digest, "0" * 64), encoding="utf-8")
    with pytest.raises(VerificationError) as caught:
        verify(copied)
    (finding,) = caught.value.findings
    assert finding.message == (
        f"b.safetensors of LoRA b: recipe.lock.yaml has {digest}, provenance.json has {'0' * 64}"
    )
    text = lock.read_text(encoding="utf-8").replace("base/unet/config.json", "x")
    more = text.replace("    files:\n", f"    files:\n      more.json: {{size: 1, sha256: {digest}}}\n", 1)
    lock.write_text(more, encoding="utf-8")
    told(copied, ["recipe.lock.yaml"])
    assert [kind for kind, _ in findings(copied)] == ["input"]  # the base may have more in its lock
    lock.write_text("version: 2\n", encoding="utf-8")
    told(copied, ["recipe.lock.yaml"])
    assert findings(copied) == [("input", "recipe.lock.yaml")]


def test_a_run_replaces_it_while_it_is_looked_at(copied, workspace, tmp_path, monkeypatch):
    other = artifacts.artifact(workspace, outputs=OUTPUTS, merge={"combination_type": "linear"})
    check, checks = stage._findings, []

    def replaced(*given):
        if not checks:
            copied.rename(tmp_path / "aside")
            shutil.copytree(other, copied)
        checks.append(given)
        return [Finding("changed", KOHYA, "half of it is the other's")] if len(checks) == 1 else check(*given)

    monkeypatch.setattr(stage, "_findings", replaced)
    monkeypatch.setenv("HOME", str(copied.parent))
    assert verify("~/small").provenance == verify(other).provenance
    assert len(checks) == 3


def test_two_files_that_changed_places(copied):
    one, other = (copied / "inputs" / name / "adapter_model.safetensors" for name in "ab")
    before = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(before)
    assert [kind for kind, _ in findings(copied)] == ["changed", "changed"]


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"_type": 3', "\x00"])
def test_a_damaged_provenance(copied, text):
    (copied / "provenance.json").write_text(text)
    assert findings(copied) == [("provenance", "provenance.json")]


def test_a_provenance_that_is_no_text(copied):
    (copied / "provenance.json").write_bytes(b"\xff\xfe\xff")
    assert findings(copied) == [("provenance", "provenance.json")]


def test_no_provenance(copied):
    (copied / "provenance.json").unlink()
    assert findings(copied) == [("provenance", "provenance.json")]


def test_no_artifact(tmp_path, made):
    with pytest.raises(SourceError, match="is no folder"):
        verify(tmp_path / "absent")
    with pytest.raises(SourceError, match="is no folder"):
        verify(made.artifact / "recipe.yaml")


def test_names_in_a_provenance_lead_nowhere_else(copied, tmp_path):
    (tmp_path / "outside").write_text("x")
    edit(copied / "provenance.json", lambda data: data["subject"].append(
        {"name": "../outside", "digest": {"sha256": sha256_of(tmp_path / "outside")}}
    ))  # fmt: skip
    assert findings(copied) == [("missing", "../outside")]


def test_what_a_target_keeps_beside_the_files_is_not_extra(copied):
    for name in (".loramerge/small.json", ".gitattributes", ".git/HEAD", ".cache/huggingface/x"):
        (copied / name).parent.mkdir(parents=True, exist_ok=True)
        (copied / name).write_text("")
    assert verify(copied)


def test_a_single_output_at_the_root_of_its_target(workspace):
    artifact = artifacts.artifact(workspace, publish=[{"kind": "folder", "path": "target"}])
    assert verify(artifact)
    assert verify(workspace / "target")
    (workspace / "target" / "pytorch_lora_weights.safetensors").write_text("")
    assert findings(workspace / "target") == [("changed", "diffusers/pytorch_lora_weights.safetensors")]


def test_an_artifact_on_the_hub(hub, made, copied):
    repository = hub.store.create("model", "me/small")
    first = hub.store.write(repository, {name: path.read_bytes() for name, path in files_of(copied).items()})
    hub.store.write(repository, {KOHYA: b"changed", ".gitattributes": b"", "more.txt": b"more"})
    assert verify(f"hf://me/small@{first}").provenance == verify(made.artifact).provenance
    assert findings("hf://me/small") == [("changed", KOHYA), ("extra", "more.txt")]


def test_made_again_it_is_the_same_to_the_byte(made):
    rebuilt = verify(made.artifact, rebuild=True, recipe=made.folder / "small.yaml").rebuilt
    assert set(rebuilt.identical) == set(files_of(made.artifact)) - {"provenance.json"}
    assert (rebuilt.reasons, rebuilt.close) == ((), {})
    assert verify(made.artifact, rebuild=True, recipe=made.folder).rebuilt == rebuilt


def test_relative_paths_need_a_place_to_start(made):
    with pytest.raises(UsageError, match=r"was made of base, a.safetensors, b.safetensors") as error:
        verify(made.artifact, rebuild=True)
    assert "--recipe" in error.value.hint


def test_a_changed_input_is_named(made, workspace):
    artifacts.write_lora(workspace / "b.safetensors", seed=9)
    with pytest.raises(SourceError, match=r"b.safetensors has") as error:
        verify(made.artifact, rebuild=True, recipe=workspace)
    assert "give the inputs that the artifact was made of" in error.value.hint


def test_a_forged_file_does_not_come_out_again(made, copied):
    tensors = {key: tensor.clone() for key, tensor in load_file(copied / KOHYA).items()}
    key = next(key for key in tensors if key.endswith("lora_up.weight"))
    tensors[key][0, 0] += 1e-6
    save_file(tensors, copied / KOHYA)
    told(copied, [KOHYA])
    assert verify(copied)
    assert findings(copied, rebuild=True, recipe=made.folder) == [("different", KOHYA)]


def test_an_artifact_without_its_recipe_can_not_be_made_again(made, copied):
    (copied / "recipe.yaml").unlink()
    edit(copied / "provenance.json", lambda data: data.update(
        subject=[each for each in data["subject"] if each["name"] != "recipe.yaml"]
    ))  # fmt: skip
    assert findings(copied, rebuild=True, recipe=made.folder) == [("missing", "recipe.yaml")]


@pytest.mark.parametrize(("factor", "fits"), [(1 + 1e-6, True), (1.01, False)])
def test_bytes_of_a_decomposition_may_differ_within_a_tolerance(made, tmp_path, factor, fits):
    artifact = shutil.copytree(made.svd, tmp_path / "svd")
    scaled(artifact / "kohya" / "svd.safetensors", factor)
    told(artifact, ["kohya/svd.safetensors"])
    if fits:
        rebuilt = verify(artifact, rebuild=True, recipe=made.folder).rebuilt
        (distance,) = rebuilt.close.values()
        assert list(rebuilt.close) == ["kohya/svd.safetensors"]
        assert distance.value == pytest.approx(1e-6, rel=0.2)
        assert distance.tolerance == 1e-4
        assert "depend on the machine and the number of threads" in rebuilt.reasons[0]
    else:
        assert findings(artifact, rebuild=True, recipe=made.folder) == [("different", "kohya/svd.safetensors")]


def test_other_versions_of_libraries_allow_a_tolerance(made, copied):
    def older(data):
        data["predicate"]["buildDefinition"]["internalParameters"]["environment"]["torch"] = "2.6.0"

    edit(copied / "report.json", lambda data: data["environment"].update(torch="2.6.0"))
    scaled(copied / KOHYA, 1 + 1e-6)
    edit(copied / "provenance.json", older)
    told(copied, ["report.json", KOHYA])
    rebuilt = verify(copied, rebuild=True, recipe=made.folder).rebuilt
    assert any(reason.startswith("torch was 2.6.0, is ") for reason in rebuilt.reasons)
    assert set(rebuilt.close) == {"report.json", KOHYA}
    edit(copied / "peft" / "unet" / "adapter_config.json", lambda data: data.update(use_dora=not data["use_dora"]))
    told(copied, ["peft/unet/adapter_config.json"])
    assert ("different", "peft/unet/adapter_config.json") in findings(copied, rebuild=True, recipe=made.folder)


def test_what_is_no_file_is_extra(copied, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (copied / "link").symlink_to(tmp_path / "elsewhere")
    (copied / "kohya" / "nowhere").symlink_to(tmp_path / "nothing")
    os.mkfifo(copied / "pipe")
    with pytest.raises(VerificationError) as caught:
        verify(copied)
    assert {(each.kind, each.file) for each in caught.value.findings} == {
        ("extra", "link"), ("extra", "kohya/nowhere"), ("extra", "pipe"),
    }  # fmt: skip


def test_hidden_files_on_a_hub_are_extra(hub, copied):
    repository = hub.store.create("model", "me/small")
    hub.store.write(repository, {name: path.read_bytes() for name, path in files_of(copied).items()})
    assert verify("hf://me/small")
    hub.store.write(repository, {".hidden.py": b"1", "kohya/.env": b"2", ".hid/x.safetensors": b"3"})
    with pytest.raises(VerificationError) as caught:
        verify("hf://me/small")
    assert {(each.kind, each.file) for each in caught.value.findings} == {
        ("extra", ".hidden.py"), ("extra", "kohya/.env"), ("extra", ".hid/x.safetensors"),
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_an_output_named_like_a_folder_in_it(hub, made, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", OWNER)
    outputs = [{"kind": "adapter", "format": "peft", "name": "unet"}]
    publish = [{"kind": "hub", "repo": "tester/named"}]
    out = artifacts.artifact(
        made.folder, name="named", out=tmp_path / "out", outputs=outputs, publish=publish, license="mit"
    )
    assert (out / "unet/unet/adapter_config.json").exists()
    assert verify("hf://tester/named")
    assert verify(out)
