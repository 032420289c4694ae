"""Signatures, made with real keys and checked by the program of model-signing as well."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import artifacts
import pytest
import tiny
from artifacts import told
from command_line import ROOT, invoke, write_recipe
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hub.example import OWNER

from loramerge import LoramergeError, read_recipe, run, verify
from loramerge.errors import ExitCode, UsageError, VerificationError
from loramerge.files.digest import files_of
from loramerge.provenance.signing import sign as signing

pytestmark = pytest.mark.slow

MODEL_SIGNING = Path(sys.executable).with_name("model_signing")
WEIGHTS = "diffusers/pytorch_lora_weights.safetensors"


def write_key(path, key=None, *, password=None):
    """A private key and its public half beside it."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    path.with_suffix(".pub").write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A workspace, two keys, an unsigned artifact, and one that was signed when it was made."""
    folder = artifacts.workspace(tmp_path_factory.mktemp("made"))
    key, other = write_key(folder / "key.pem"), write_key(folder / "other.pem")
    bare = artifacts.artifact(folder)
    recipe = folder / "small.yaml"
    signed = run(read_recipe(recipe), out=folder / "out" / "signed", device="cpu", sign=key).artifact
    public = key.with_suffix(".pub")
    return SimpleNamespace(folder=folder, recipe=recipe, key=key, other=other, public=public, bare=bare, signed=signed)


@pytest.fixture
def copied(made, tmp_path):
    """A copy of the signed artifact, to be damaged."""
    return shutil.copytree(made.signed, tmp_path / "small")


def stock(*arguments):
    return subprocess.run([MODEL_SIGNING, *map(str, arguments)], capture_output=True, text=True, check=False)


def findings(artifact, **options):
    with pytest.raises(VerificationError) as caught:
        verify(artifact, **options)
    return [(each.kind, each.file) for each in caught.value.findings]


def words(artifact, **options):
    with pytest.raises(VerificationError) as caught:
        verify(artifact, **options)
    (finding,) = caught.value.findings
    assert (finding.kind, finding.file) == ("signature", "model.sig")
    return finding.message


def statement(artifact):
    bundle = json.loads((artifact / "model.sig").read_text())
    return json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))


def test_a_signature_adds_one_file_and_changes_none(made):
    assert set(files_of(made.signed)) == {*files_of(made.bare), "model.sig"}
    for name, path in files_of(made.bare).items():
        assert path.read_bytes() == (made.signed / name).read_bytes()


def test_it_names_every_other_file_and_no_place_of_this_machine(made):
    said = statement(made.signed)
    assert {each["name"] for each in said["predicate"]["resources"]} == set(files_of(made.bare))
    assert [each["name"] for each in said["subject"]] == ["small"]
    assert ".partial" not in (made.signed / "model.sig").read_text()


def test_ours_is_accepted_by_model_signing(made, copied):
    arguments = ("verify", "key", copied, "--signature", copied / "model.sig", "--public_key")
    assert stock(*arguments, made.public).returncode == 0
    assert stock(*arguments, made.other.with_suffix(".pub")).returncode == 1
    (copied / ".loramerge").mkdir()  # as a target that was downloaded
    (copied / ".loramerge" / "small.json").write_text("{}")
    assert stock(*arguments, made.public).returncode == 0
    (copied / "extra").write_text("")
    assert stock(*arguments, made.public).returncode == 1


def test_that_of_model_signing_is_accepted_by_us(made, copied):
    (copied / "model.sig").unlink()
    done = stock("sign", "key", copied, "--signature", copied / "model.sig", "--private_key", made.key)
    assert done.returncode == 0, done.stderr
    assert verify(copied, public_key=made.public).signature == "verified"
    (copied / "report.json").write_text("{}")
    told(copied, ["report.json"])
    assert findings(copied, public_key=made.public) == [("signature", "provenance.json"), ("signature", "report.json")]


def test_signed_unchecked_and_unsigned(made):
    assert verify(made.signed, public_key=made.public).signature == "verified"
    assert verify(made.signed).signature == "unchecked"
    assert verify(made.bare).signature is None
    assert words(made.bare, public_key=made.public) == "there is no model.sig: it is not signed"


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_other_curves(made, copied, tmp_path, curve):
    key = write_key(tmp_path / "long.pem", ec.generate_private_key(curve))
    signing.signer(key).sign(copied, "small")
    assert verify(copied, public_key=key.with_suffix(".pub")).signature == "verified"
    public = ("--public_key", key.with_suffix(".pub"))
    assert stock("verify", "key", copied, "--signature", copied / "model.sig", *public).returncode == 0


def test_what_differs_from_the_provenance_is_named_once(made, copied):
    (copied / WEIGHTS).write_bytes(b"changed")
    (copied / "recipe.yaml").unlink()
    (copied / "extra").write_text("")
    expected = [("changed", WEIGHTS), ("extra", "extra"), ("missing", "recipe.yaml")]
    assert findings(copied, public_key=made.public) == expected


def test_a_forged_provenance_does_not_help(made, copied):
    (copied / WEIGHTS).write_bytes(b"changed")
    told(copied, [WEIGHTS])
    assert verify(copied)
    assert findings(copied, public_key=made.public) == [("signature", WEIGHTS), ("signature", "provenance.json")]


def test_forged_additions_and_removals(made, copied):
    def change(data):
        data["subject"] = [each for each in data["subject"] if each["name"] != "report.json"]
        data["subject"].append({"name": "extra", "digest": {"sha256": "0" * 64}})

    (copied / "report.json").unlink()
    (copied / "extra").write_text("")
    artifacts.edit(copied / "provenance.json", change)
    told(copied, ["extra"])
    assert verify(copied)
    with pytest.raises(VerificationError) as caught:
        verify(copied, public_key=made.public)
    lines = [each.message for each in caught.value.findings]
    assert lines[0] == "extra is extra: it was not signed"
    assert lines[1].startswith("provenance.json is not what was signed: its sha256 is ")
    assert lines[2] == "report.json is missing, and was signed"


def test_a_signature_of_another_artifact(made, copied, tmp_path):
    other = shutil.copytree(made.bare, tmp_path / "other")
    (other / "report.json").write_text("{}")
    told(other, ["report.json"])
    signing.signer(made.key).sign(other, "other")
    shutil.copy(other / "model.sig", copied / "model.sig")
    assert findings(copied, public_key=made.public) == [("signature", "provenance.json"), ("signature", "report.json")]


def test_another_key(made):
    said = words(made.signed, public_key=made.other.with_suffix(".pub"))
    assert said.startswith(f"model.sig is no valid signature by the key {made.other.with_suffix('.pub')}: Key mismatch")


def test_a_forged_statement(made, copied):
    (copied / WEIGHTS).write_bytes(b"changed")
    told(copied, [WEIGHTS])
    signing.signer(made.other).sign(copied, "small")
    genuine = json.loads((made.signed / "model.sig").read_text())
    forged = json.loads((copied / "model.sig").read_text())
    forged["verificationMaterial"] = genuine["verificationMaterial"]  # says that it is by the right key
    forged["dsseEnvelope"]["signatures"] = genuine["dsseEnvelope"]["signatures"]
    (copied / "model.sig").write_text(json.dumps(forged))
    assert words(copied, public_key=made.public).endswith("it was forged or damaged")


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"\xff\xfe", b"null", b'{"verificationMaterial": {}}', b"[" * 100_000],
    ids=["empty", "object", "list", "bytes", "null", "half", "deep"],
)
def test_a_damaged_signature(made, copied, content):
    (copied / "model.sig").write_bytes(content)
    assert words(copied, public_key=made.public).startswith("model.sig is no valid signature by the key ")


def test_half_of_a_signature(made, copied):
    text = (copied / "model.sig").read_text()
    for change in ({"dsseEnvelope": None}, {"mediaType": "x"}, {"verificationMaterial": {"certificate": {}}}):
        (copied / "model.sig").write_text(json.dumps({**json.loads(text), **change}))
        assert "no valid signature" in words(copied, public_key=made.public)
    (copied / "model.sig").write_text(text[:-200])
    assert words(copied, public_key=made.public).endswith("it can't be read as one")


def test_a_signature_over_other_digests_is_refused(made, copied):
    from model_signing.hashing import Config as Hashing
    from model_signing.signing import Config

    hashing = Hashing().use_file_serialization(hashing_algorithm="blake2").set_ignored_paths(paths=["model.sig"])
    config = Config().use_elliptic_key_signer(private_key=made.key).set_hashing_config(hashing)
    config.sign(copied, copied / "model.sig")
    assert "no valid signature" in words(copied, public_key=made.public)


def test_a_file_that_a_signature_leaves_out_is_not_signed(made, copied):
    arguments = ("--private_key", made.key, "--ignore-paths", copied / "report.json")
    assert stock("sign", "key", copied, "--signature", copied / "model.sig", *arguments).returncode == 0
    assert findings(copied, public_key=made.public) == [("signature", "report.json")]


def test_the_same_key_and_files_give_the_same_signature(made, tmp_path):
    code = "from loramerge.provenance.signing.sign import signer; from pathlib import Path; "
    code += f"signer({str(made.key)!r}).sign(Path({str(tmp_path / 'copy')!r}), 'small')"
    shutil.copytree(made.bare, tmp_path / "copy")
    for seed in "12":
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, check=True)
        assert (tmp_path / "copy" / "model.sig").read_bytes() == (made.signed / "model.sig").read_bytes()


def test_a_signed_artifact_is_replaced_and_its_signature_goes_with_it(made, copied):
    run(read_recipe(made.recipe), out=copied, device="cpu")
    assert not (copied / "model.sig").exists()


def test_made_again_without_the_key(made):
    verified = verify(made.signed, rebuild=True, recipe=made.folder, public_key=made.public)
    assert (verified.signature, verified.rebuilt.close) == ("verified", {})


def test_an_encrypted_key(made, copied, tmp_path, monkeypatch):
    key = write_key(tmp_path / "encrypted.pem", password="geheim ü".encode())
    with pytest.raises(UsageError, match="is encrypted") as caught:
        signing.signer(key)
    assert "LORAMERGE_KEY_PASSWORD" in caught.value.hint
    monkeypatch.setenv("LORAMERGE_KEY_PASSWORD", "falsch")
    with pytest.raises(UsageError, match="does not open with the password in LORAMERGE_KEY_PASSWORD"):
        signing.signer(key)
    monkeypatch.setenv("LORAMERGE_KEY_PASSWORD", "geheim ü")
    signing.signer(key).sign(copied, "small")
    assert verify(copied, public_key=key.with_suffix(".pub")).signature == "verified"
    signing.signer(made.key)  # which is not encrypted: the password is for others


def unusable(folder):
    """Name → a file that is no key to sign with, nor one to verify with."""
    small = ec.generate_private_key(ec.SECP256K1())
    (folder / "text.pem").write_text("no key")
    (folder / "bytes.pem").write_bytes(b"\xff\x00")
    return {
        "absent": folder / "absent.pem",
        "folder": folder,
        "text": folder / "text.pem",
        "bytes": folder / "bytes.pem",
        "rsa": write_key(folder / "rsa.pem", rsa.generate_private_key(65537, 2048)),
        "curve": write_key(folder / "curve.pem", small),
        "nul": Path("a\0b"),
    }


@pytest.mark.parametrize("which", ["absent", "folder", "text", "bytes", "rsa", "curve", "nul"])
def test_a_key_that_can_not_be_used_is_refused_before_anything_is_done(made, tmp_path, which):
    key = unusable(tmp_path)[which]
    with pytest.raises(UsageError, match="key") as caught:
        run(read_recipe(made.recipe), out=tmp_path / "out", device="cpu", sign=key)
    assert caught.value.exit_code == ExitCode.USAGE
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="key"):
        verify(
            tmp_path / "not even looked at", public_key=key.with_suffix(".pub") if which in {"rsa", "curve"} else key
        )


def test_one_half_is_not_the_other(made):
    with pytest.raises(UsageError, match="is no private key in PEM"):
        signing.signer(made.public)
    with pytest.raises(UsageError, match="is no public key in PEM") as caught:
        verify(made.signed, public_key=made.key)
    assert "openssl pkey -in KEY -pubout" in caught.value.hint


def test_the_hints_are_commands_that_work(made, copied, tmp_path):
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=tmp_path, check=True, capture_output=True)

    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "KEY")
    openssl("pkey", "-in", "KEY", "-pubout", "-out", "PUB")
    signing.signer(tmp_path / "KEY").sign(copied, "small")
    assert verify(copied, public_key=tmp_path / "PUB").signature == "verified"


def test_a_key_from_a_pipe(made, copied):
    reader, writer = os.pipe()
    os.write(writer, made.key.read_bytes())
    os.close(writer)
    signing.signer(f"/dev/fd/{reader}").sign(copied, "small")
    os.close(reader)
    assert verify(copied, public_key=made.public)


def test_without_the_package(made, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "model_signing", None)
    for action in (
        lambda: run(read_recipe(made.recipe), out=tmp_path / "out", sign=made.key),
        lambda: verify(made.signed, public_key=made.public),
    ):
        with pytest.raises(LoramergeError, match="signatures need the package model-signing") as caught:
            action()
        assert caught.value.hint == 'pip install "loramerge[sign]"'
    assert not (tmp_path / "out").exists()
    assert verify(made.signed).signature == "unchecked"


OFFLINE = """
import socket

def refuse(*arguments):
    raise SystemExit(f"there is no network to ask for {arguments}")

socket.getaddrinfo = socket.gethostbyname = refuse
for name in ("connect", "connect_ex", "sendto", "sendmsg"):
    setattr(socket.socket, name, refuse)
from loramerge.cli import main

main()
"""


def offline(*arguments):
    command = [sys.executable, "-c", OFFLINE, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_with_a_key_no_network_is_needed(made, tmp_path):
    out = tmp_path / "small"
    done = offline("run", made.recipe, "--out", out, "--device", "cpu", "--sign", made.key)
    assert done.returncode == 0, done.stderr
    assert f"  signed       {out}/model.sig\n" in done.stdout
    done = offline("verify", out, "--public-key", made.public)
    assert done.returncode == 0, done.stderr
    assert "all of them as they were signed" in done.stdout


def test_sigstore_needs_an_identity_and_the_network(made, tmp_path):
    done = offline("run", made.recipe, "--out", tmp_path / "out", "--sign", "sigstore")
    assert done.returncode == ExitCode.USAGE
    assert "error: there is no identity to sign with" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"identity": "me@example.com"}, "identity provider"),
        ({"identity_provider": "https://example.com"}, "identity provider"),
        ({"identity": "me@example.com", "public_key": "key.pub"}, "a public key and an identity"),
    ],
)
def test_what_does_not_go_together(made, options, said):
    with pytest.raises(UsageError, match=said):
        verify(made.signed, **options)


def test_on_the_command_line(made, copied):
    good, bad = ("--public-key", made.public), ("--public-key", made.other.with_suffix(".pub"))
    assert invoke("verify", made.signed, *good).stdout.endswith("\n  all of them as they were signed\n")
    assert "\n  model.sig was not checked; give --public-key" in invoke("verify", made.signed).stdout
    (said,) = json.loads(invoke("verify", made.signed, *good, "--json").stdout)
    assert (said["verified"], said["signature"]) == (True, "verified")
    result = invoke("verify", made.signed, made.bare, *bad, "--json")
    assert result.exit_code == ExitCode.NOT_VERIFIED
    kinds = [[each["kind"] for each in artifact["findings"]] for artifact in json.loads(result.stdout)]
    assert kinds == [["signature"], ["signature"]]
    (copied / "report.json").write_text("{}")
    result = invoke("verify", copied)
    assert "model.sig was not checked" in result.stderr
    assert invoke("verify", made.signed, "--public-key", made.folder / "absent").exit_code == ExitCode.USAGE


# huggingface_hub 2.4 uploads large files with an argument that httpx2 calls deprecated
@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_published_with_a_single_output_to_a_folder_and_to_the_hub(hub, made, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", OWNER)
    publish = [{"kind": "folder", "path": str(tmp_path / "target")}, {"kind": "hub", "repo": "tester/small"}]
    recipe = write_recipe(
        made.folder, name="published", base="base", loras=artifacts.LORAS, license="mit", publish=publish
    )
    first = run(read_recipe(recipe), out=tmp_path / "out", device="cpu", sign=made.key)
    assert [receipt.changed for receipt in first.receipts] == [True, True]
    assert (tmp_path / "target" / "pytorch_lora_weights.safetensors").exists()
    for place in (tmp_path / "target", "hf://tester/small"):
        assert verify(place, public_key=made.public).signature == "verified"
        assert "no valid signature" in words(place, public_key=made.other.with_suffix(".pub"))
    again = run(read_recipe(recipe), out=tmp_path / "elsewhere", device="cpu", sign=made.key)
    assert [receipt.changed for receipt in again.receipts] == [False, False]
    repository = hub.store.repositories["model", "tester/small"]
    hub.store.write(repository, {"pytorch_lora_weights.safetensors": b"changed", "more.txt": b""})
    expected = [("changed", WEIGHTS), ("extra", "more.txt")]
    assert findings("hf://tester/small", public_key=made.public) == expected


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_what_was_published_without_a_signature_is_signed_by_the_next_run_that_signs(hub, made, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", OWNER)
    monkeypatch.chdir(tmp_path)
    loras = {"ink": made.folder / "a.safetensors"}
    recipe = write_recipe(
        tmp_path, name="plain", base=tiny.folder("sd15"), loras=loras, license="mit",
        publish=[{"kind": "hub", "repo": "tester/plain"}, {"kind": "folder", "path": "x", "outputs": ["diffusers"]}],
    )  # fmt: skip
    assert invoke("run", recipe).exit_code == ExitCode.DONE
    assert invoke("plan", recipe).exit_code == ExitCode.DONE
    shutil.rmtree("dist")
    result = invoke("plan", recipe, "--signed", "--json")
    (entry,) = json.loads(result.stdout)
    assert [step["action"] for step in (entry["artifact"], *entry["targets"])] == ["build", "publish", "none"]
    assert entry["targets"][0]["reasons"] == [{"kind": "not signed", "detail": ""}]
    assert invoke("run", recipe, "--sign", made.key).exit_code == ExitCode.DONE
    assert verify("hf://tester/plain", public_key=made.public).signature == "verified"
    assert invoke("plan", recipe, "--signed").exit_code == ExitCode.DONE
    assert invoke("run", recipe, "--sign", made.key).stdout == "plain: up to date\n"


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_a_repository_that_took_some_of_the_outputs(hub, made, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", OWNER)
    outputs = [{"kind": "adapter", "format": "diffusers"}, {"kind": "adapter", "format": "kohya"}]
    publish = [{"kind": "hub", "repo": "tester/part", "outputs": ["kohya"]}]
    loras = {"ink": made.folder / "a.safetensors"}
    recipe = write_recipe(
        tmp_path, name="part", base=tiny.folder("sd15"), loras=loras, license="mit", outputs=outputs, publish=publish
    )
    run(read_recipe(recipe), out=tmp_path / "out", sign=made.key)
    assert findings("hf://tester/part", public_key=made.public) == [("signature", "diffusers")]
    verified = verify("hf://tester/part", public_key=made.public, partial=True)
    assert (verified.signature, verified.left_out) == ("verified", ("diffusers",))
    repository = hub.store.repositories["model", "tester/part"]
    hub.store.write(repository, {"part.safetensors": b"forged"})
    forged = findings("hf://tester/part", public_key=made.public, partial=True)
    assert {file for _, file in forged} == {"kohya/part.safetensors"}


def test_a_record_that_nobody_signed_hides_no_missing_output(made, copied):
    shutil.rmtree(copied / "diffusers")
    (copied / ".loramerge").mkdir()
    for outputs in ([], ["other"], None):
        record = {"recipe": "small", "files": {}, "outputs": outputs}
        (copied / ".loramerge" / "small.json").write_text(json.dumps(record))
        assert findings(copied, public_key=made.public) == [("missing", WEIGHTS)]
        assert findings(copied, public_key=made.public, partial=True) == [("missing", WEIGHTS)]


def test_an_artifact_with_no_signature_of_ours_is_made_again(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = write_recipe(
        tmp_path, name="plain", base=tiny.folder("sd15"), loras={"ink": made.folder / "a.safetensors"}
    )
    assert invoke("run", recipe, "--sign", made.key).exit_code == ExitCode.DONE
    assert invoke("run", recipe, "--sign", made.key).stdout == "plain: up to date\n"
    (tmp_path / "dist/plain/model.sig").write_text("garbage")
    assert invoke("run", recipe, "--sign", made.key).exit_code == ExitCode.DONE
    assert verify("dist/plain", public_key=made.public).signature == "verified"
    assert invoke("run", recipe, "--sign", made.other).exit_code == ExitCode.DONE
    assert verify("dist/plain", public_key=made.other.with_suffix(".pub")).signature == "verified"
