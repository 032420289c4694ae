import hashlib
import os

import pytest

from loramerge.errors import SourceError
from loramerge.files.digest import FileDigest
from loramerge.hub.listing import CardFacts
from loramerge.sources import parse


def locate(reference, folder, **extra):
    return parse(str(reference), folder=folder, **extra).locate()


def test_a_file_is_fetched_from_where_it_lies(tmp_path):
    (tmp_path / "ikea.safetensors").write_bytes(b"weights")
    located = locate("ikea.safetensors", tmp_path)
    assert (located.revision, located.files) == (None, ("ikea.safetensors",))
    assert (located.fetch(located.files) / "ikea.safetensors").read_bytes() == b"weights"


def test_a_folder_lists_what_is_below_it(tmp_path):
    for name in ("unet/config.json", "b.txt", "a.txt", ".git/config", "unet/.hidden", "odd\nname"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    located = locate(tmp_path, tmp_path)
    assert located.files == ("a.txt", "b.txt", "unet/config.json")
    assert (located.fetch(["unet/config.json"]) / "unet/config.json").exists()


def test_links_are_followed_and_circles_end(tmp_path):
    base, other = tmp_path / "base", tmp_path / "other"
    base.mkdir()
    other.mkdir()
    (other / "file.txt").write_bytes(b"x")
    (base / "link").symlink_to(other)
    (other / "back").symlink_to(base)
    assert locate(base, tmp_path).files == ("link/file.txt",)


def test_a_missing_file_is_named_with_the_nearest(tmp_path):
    (tmp_path / "ikea_instructions.safetensors").write_bytes(b"x")
    with pytest.raises(SourceError, match="there is no file or folder") as raised:
        locate("ikea_instruction.safetensors", tmp_path)
    assert raised.value.hint == "did you mean ikea_instructions.safetensors?"


def test_a_repository_without_its_prefix_is_recognised(tmp_path):
    with pytest.raises(SourceError) as raised:
        locate("ostris/ikea-lora", tmp_path)
    assert "hf://ostris/ikea-lora" in raised.value.hint


def test_a_name_that_is_not_listed_is_refused(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"x")
    with pytest.raises(SourceError, match=r"there is no file a\.text") as raised:
        locate(tmp_path, tmp_path).fetch(["a.text"])
    assert raised.value.hint == "did you mean a.txt?"


def test_an_empty_file_and_an_empty_folder_are_refused(tmp_path):
    (tmp_path / "empty.safetensors").touch()
    (tmp_path / "nothing").mkdir()
    with pytest.raises(SourceError, match=r"the file .* is empty"):
        locate("empty.safetensors", tmp_path)
    with pytest.raises(SourceError, match=r"the folder .* is empty"):
        locate("nothing", tmp_path)


def test_a_wrong_sha256_shows_both(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"weights")
    right = hashlib.sha256(b"weights").hexdigest()
    located = locate("a.safetensors", tmp_path, sha256=right)
    assert located.fetch(located.files) == tmp_path
    wrong = locate("a.safetensors", tmp_path, sha256="0" * 64)
    with pytest.raises(SourceError, match=f"{right}, expected {'0' * 64}"):
        wrong.fetch(wrong.files)


def test_a_sha256_is_for_files(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"weights")
    with pytest.raises(SourceError, match="`sha256` is for one file"):
        locate(tmp_path, tmp_path, sha256="0" * 64)


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match="neither a file nor a folder"):
        locate("pipe", tmp_path)


def test_a_file_below_a_file_does_not_exist(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(SourceError, match="a/b"):
        locate("a/b", tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_named(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"x")
    (tmp_path / "a.safetensors").chmod(0)
    located = locate("a.safetensors", tmp_path)
    with pytest.raises(SourceError, match="Permission denied"):
        located.fetch(located.files)


def test_a_file_that_went_away_is_named(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"x")
    located = locate("a.safetensors", tmp_path)
    (tmp_path / "a.safetensors").unlink()
    with pytest.raises(SourceError, match="No such file"):
        located.fetch(located.files)


def test_digests_are_those_of_the_content(tmp_path):
    (tmp_path / "config.json").write_bytes(b"weights")
    located = locate(tmp_path, tmp_path)
    assert located.licence is None
    assert located.digests(located.files) == {"config.json": FileDigest(7, hashlib.sha256(b"weights").hexdigest())}


def test_what_is_called_safetensors_and_is_none_has_no_digest(tmp_path):
    (tmp_path / "ikea.safetensors").write_bytes(b"weights")
    located = locate("ikea.safetensors", tmp_path)
    with pytest.raises(SourceError, match=r"^ikea\.safetensors is a text, and no safetensors file"):
        located.digests(located.files)


def test_a_path_has_no_commits(tmp_path):
    source = parse("ikea.safetensors", folder=tmp_path)
    assert source.at("0" * 40) == source


ALIASES = "".join(f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 9)}]\n" for level in range(1, 12))


def test_the_card_of_a_folder_is_the_source_s(tmp_path):
    (tmp_path / "ink.safetensors").write_bytes(b"x")
    (tmp_path / "README.md").write_text(
        "---\nlicense: mit\ninstance_prompt: in\u202eink\ntrigger_words: [by Feng, null, 3]\n"
        "tags: [ink, ink]\nbase_model: org/base\n---\n# Ink\n",
        encoding="utf-8",
    )
    card = locate(tmp_path, tmp_path).card
    assert locate(tmp_path, tmp_path).licence == "mit"
    assert card.trigger_words == ("in\\u202eink", "by Feng")
    assert (card.tags, card.base_model) == (("ink",), "org/base")
    assert locate("ink.safetensors", tmp_path).card == CardFacts()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# no front matter",
        "---\n[\n---\n",
        "---\n- a\n---\n",
        "---\ntags: {a: 1}\nbase_model: [a/b, c/d]\n---\n",
        f"---\nlicense: 0x{'f' * 20_000}\n---\n",
        f"---\nl0: &l0 [x]\n{ALIASES}license: [*l11]\ntags: [*l11]\n---\n",
    ],
    ids=lambda text: text[4:20],
)
def test_a_card_that_says_nothing_says_nothing(text, tmp_path):
    (tmp_path / "ink.safetensors").write_bytes(b"x")
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    assert locate(tmp_path, tmp_path).card == CardFacts()
