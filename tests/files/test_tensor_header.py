"""Headers of safetensors files: what the library takes is taken, what it refuses is refused."""

import json
import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize

from loramerge.errors import SourceError
from loramerge.files.file_view import FileBytes, digest_of
from loramerge.files.reading import read_json
from loramerge.files.tensor_header import read_header


def file_of(header, room):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(room)


def entry(dtype="F32", shape=(2,), offsets=(0, 8), **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


def ours(path, content):
    path.write_bytes(content)
    return read_header(FileBytes.at(path, "the LoRA"))


GOOD = {
    "one": ({"a": entry()}, 8),
    "out of order": ({"b": entry(offsets=(8, 16)), "a": entry()}, 16),
    "none": ({}, 0),
    "no element": ({"a": entry(shape=(0, 3), offsets=(0, 0)), "b": entry()}, 8),
    "a number": ({"a": entry("I64", (), (0, 8))}, 8),
    "metadata": ({"__metadata__": {"x": "y"}, "a": entry("F8_E4M3", (8,), (0, 8))}, 8),
    "four bits": ({"a": entry("F4", (4,), (0, 2))}, 2),
    "padding": (b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}      ', 1),
}
BAD = {
    "a gap": ({"a": entry(), "b": entry(offsets=(9, 17))}, 17),
    "an overlap": ({"a": entry(), "b": entry(offsets=(4, 12))}, 12),
    "too little": ({"a": entry()}, 7),
    "too much": ({"a": entry()}, 9),
    "another size": ({"a": entry(shape=(3,))}, 8),
    "an unknown format": ({"a": entry("F33")}, 8),
    "half a byte": ({"a": entry("F4", (3,), (0, 1))}, 1),
    "a negative size": ({"a": entry(shape=(-2, -1))}, 8),
    "an end before its beginning": ({"a": entry(shape=(0,), offsets=(8, 0))}, 8),
    "metadata of numbers": ({"__metadata__": {"x": 1}, "a": entry()}, 8),
    "no JSON": (b"{nothing", 0),
    "no UTF-8": (b'{"\xff":1}', 0),
    "a list": (b"[]      ", 0),
    "a huge number": ({"a": entry(shape=(2**70, 0))}, 8),
    "a fraction": (b'{"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}}', 1),
    "deep": (b'{"a":' + b"[" * 100_000, 0),
}


@pytest.mark.parametrize("case", GOOD)
def test_a_sound_file_is_read_as_the_library_reads_it(case, tmp_path):
    content = file_of(*GOOD[case])
    want = {name: (each["dtype"], tuple(each["shape"]), len(each["data"])) for name, each in deserialize(content)}
    found = ours(tmp_path / "x", content)
    assert {each.key: (each.dtype, each.shape, each.size) for each in found.entries} == want


@pytest.mark.parametrize("case", BAD)
def test_what_can_not_be_true_is_refused(case, tmp_path):
    content = file_of(*BAD[case])
    with pytest.raises(SafetensorError):
        deserialize(content)
    with pytest.raises(SourceError, match="the LoRA is not a sound safetensors file: ") as caught:
        ours(tmp_path / "x", content)
    assert len(str(caught.value)) < 500


@given(st.integers(0, 200), st.integers(0, 255), st.sampled_from(sorted(GOOD)))
def test_one_wrong_byte_is_judged_as_the_library_judges_it(tmp_path_factory, place, byte, case):
    content = bytearray(file_of(*GOOD[case]))
    content[place % len(content)] = byte
    try:
        sound = bool(deserialize(bytes(content)) or True)
    except SafetensorError:
        sound = False
    path = tmp_path_factory.getbasetemp() / "byte"
    try:
        ours(path, content)
    except SourceError:
        assert not sound or b"twice" in content
    else:
        assert sound


def test_a_large_file_is_refused_before_it_is_hashed(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    path.touch()
    os.truncate(path, 50 << 30)
    monkeypatch.setattr(FileBytes, "digest", lambda _: pytest.fail("it was hashed"))
    with pytest.raises(SourceError, match="the LoRA is not a sound safetensors file: it does not begin with a header"):
        digest_of(path, "the LoRA")


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%b\nsize 184550112\n" % (b"4d7a2146" * 8)


def test_a_pointer_is_called_so_with_the_size_of_the_file_and_the_way_to_it(tmp_path):
    for read in (lambda: ours(tmp_path / "x", POINTER), lambda: read_json(tmp_path / "x", "the LoRA")):
        with pytest.raises(SourceError) as caught:
            read()
        assert caught.value.message == (
            "the LoRA is a Git LFS pointer; the file that it stands for has 184,550,112 bytes"
        )
        assert "`git lfs pull`" in caught.value.hint


def test_a_pickle_is_called_so_with_a_way_out(tmp_path):
    with pytest.raises(SourceError, match="the LoRA holds a pickle") as caught:
        ours(tmp_path / "x", b"PK\x03\x04" + bytes(100))
    assert "weights_only=True" in caught.value.hint


@pytest.mark.parametrize("shape", [["9" * 4000] * 5000, ["2147483648"] * 500_000], ids=["long numbers", "many numbers"])
def test_a_tensor_larger_than_any_file_is_refused_at_once(tmp_path, shape):
    header = b'{"a": {"dtype": "F16", "shape": [%b], "data_offsets": [0, 2]}}' % ",".join(shape).encode()
    with pytest.raises(SourceError, match="says of 'a' what can't be"):
        ours(tmp_path / "x", len(header).to_bytes(8, "little") + header + b"00")
