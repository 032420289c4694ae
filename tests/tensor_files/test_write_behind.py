"""What goes to the disk early is what was written."""

from __future__ import annotations

import os

import pytest

from loramerge.tensor_files.write_behind import SteadyWriter

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("has_advice", [True, False])
def test_every_byte_arrives(has_advice, tmp_path, monkeypatch):
    if not has_advice:
        monkeypatch.delattr(os, "posix_fadvise", raising=False)
    pieces = [os.urandom(size) for size in (3, 9 << 20, 1, 20 << 20, 70_000, 8 << 20)]
    with (tmp_path / "file").open("wb") as file:
        writer = SteadyWriter(file)
        for piece in pieces:
            writer.write(memoryview(piece))
            writer.let_go()
    assert (tmp_path / "file").read_bytes() == b"".join(pieces)
