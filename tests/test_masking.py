"""No message shows what may be a secret, whatever the scheme and the spelling."""

import pytest
from command_line import invoke, write_recipe
from sample_recipe import small

from loramerge.documents.yaml_document import dump
from loramerge.errors import ExitCode, LoramergeError
from loramerge.masking import masked

SECRET = "SE.CR-ET_1"
ADDRESSES = [
    "hf://user:{}@a/b",
    "hf://{}@a/b",
    "hf://a/b?token={}",
    "hf://a/b?{}",
    "hf://a/b/c.safetensors?download=true&token={}",
    "hf://a/b;token={}",
    "hf://a/b/c.safetensors#token={}",
    "hf:user:{}@a/b",
    "HF://user:{}@a/b",
    "https:/u:{}@h",
    "https:u:{}@h/a.safetensors",
    "https:///u:{}@h/a.safetensors",
    "https://u:{}@h/a.safetensors",
    "https://u:x/{}@h/a.safetensors",
    "https://u:x@{}@h:80/a.safetensors",
    "https://h/a.safetensors?token={}",
    "https://h/a.safetensors;token={}",
    "https://h/a.safetensors#{}",
    "htps://u:{}@h/a?x={}",
    "http://h:8080/a.safetensors?sig={}",
    "s3://key:{}@bucket/a",
    "user:{}@h/a",
    "h/a.safetensors?token={}",
    "h/a.safetensors;access_token={}&x=1",
    "ftp://{}@h/a",
]
KEPT = [
    "hf://owner/name@main/a",
    "hf://owner/name/a#b;c.safetensors",
    "https://host:8443/path@v1/x",
    "a@b/lora.safetensors",
    "/data/me@home/lora #1;2.safetensors",
    "C:\\loras\\ink@2.safetensors",
    "small.yaml:15:1: loras.0.sorce: unknown key; did you mean 'source'?",
    "it redirects to https://host/a; try again",
    "hf_hub_download",
    "merge? yes; token=1 is a word",
]


def test_what_lets_somebody_into_a_bucket_is_masked():
    said = "AKIAIOSFODNN7EXAMPLE failed; AWS_SECRET_ACCESS_KEY=wJalr/XUt+nFEMI aws_session_token: FwoGZ"
    assert masked(said) == "AKIA… failed; AWS_SECRET_ACCESS_KEY=… aws_session_token: …"
    assert masked("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or log in") == (
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or log in"
    )


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_secret_is_masked_alone_and_in_a_sentence(address):
    text = address.replace("{}", SECRET)
    for said in (text, f"{text!r} is no source; try {text}.", f"see {text}: it can't be read", f"({text})"):
        assert SECRET not in masked(said)
        assert SECRET not in str(LoramergeError(said, hint=said))
    assert masked(f"{text} is no source").endswith(" is no source")


@pytest.mark.parametrize("text", KEPT)
def test_what_is_no_secret_stays(text):
    assert masked(text) == text


def test_tokens_of_the_hub_are_masked_wherever_they_are():
    assert masked("source: hf_" + "a1" * 17) == "source: hf_…"


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("command", ["validate", "plan"])
def test_no_command_says_a_secret_of_a_source(command, address, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = address.replace("{}", SECRET)
    path = write_recipe(tmp_path, base="base", loras={"ink": text})
    for arguments in ([command, path], [command, path, "--json"]):
        result = invoke(*arguments)
        assert result.exit_code != ExitCode.DONE or command == "validate"
        assert SECRET not in result.output
    assert SECRET not in invoke("inspect", text).output


@pytest.mark.parametrize(
    "field", ["name", "license", "base.revision", "merge.combination_type", "loras.0.weight", "loras.0.sha256"]
)
@pytest.mark.parametrize("address", [ADDRESSES[0], ADDRESSES[9], ADDRESSES[15]])
def test_no_field_says_a_secret(field, address, tmp_path):
    text = address.replace("{}", SECRET)
    path = tmp_path / "r.yaml"
    path.write_text(dump(small()))
    for arguments in (["--set", f"{field}={text}"], ["--set", f"{field}={text}", "--json"]):
        assert SECRET not in invoke("plan", path, *arguments).output


def test_a_word_without_end_is_masked_whole():
    for begin in ("ab:", "https:/", "user@", "a?", "https://user:"):
        assert masked(f"see {begin * 100_000}{SECRET} now").count(SECRET) == 0
        assert len(masked(f"see {begin * 100_000}{SECRET} now")) < 400
    password = "p" * 5000
    assert "ppp" not in masked(f"https://user:{password}@host/x")
    assert masked("x" * 10_000) == "x" * 10_000
    assert masked(f"{'x' * 10_000}: can't be read") == f"{'x' * 10_000}: can't be read"
