"""A copy has the same bytes, whatever the file system can do."""

from __future__ import annotations

import errno
import os

import pytest

from loramerge.files.reflink import copy

CONTENT = os.urandom(70_001)


@pytest.fixture
def source(tmp_path):
    """A file behind a symbolic link, as in the Hub's cache."""
    (tmp_path / "blob").write_bytes(CONTENT)
    (tmp_path / "source").symlink_to("blob")
    return tmp_path / "source"


def test_the_content_is_copied_and_not_the_link(source, tmp_path):
    copy(source, tmp_path / "target")
    assert not (tmp_path / "target").is_symlink()
    assert (tmp_path / "target").read_bytes() == CONTENT


@pytest.mark.parametrize("reason", [errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_kernel_that_refuses_is_done_without(source, tmp_path, monkeypatch, reason):
    def refuse(*arguments):
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(os, "copy_file_range", refuse, raising=False)
    copy(source, tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == CONTENT


def test_a_system_without_the_call_copies_as_well(source, tmp_path, monkeypatch):
    monkeypatch.delattr(os, "copy_file_range", raising=False)
    copy(source, tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == CONTENT


def test_an_empty_file_is_a_file(tmp_path):
    (tmp_path / "source").touch()
    copy(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b""
