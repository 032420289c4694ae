"""Freed memory is used again, in a process of its own: the C library's settings are those of all that runs there."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

from loramerge.numerics.memory import keep_freed_memory

PAGES = """
import resource, sys
from loramerge.numerics.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    block, another = bytearray(4 << 20), bytearray(4 << 20)
    del block, another
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages(how):
    return int(subprocess.run([sys.executable, "-c", PAGES, how], check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's own setting")
def test_blocks_of_a_tensors_size_come_from_what_was_freed():
    assert pages("kept") * 10 < pages("as it is")


def test_nothing_changes_on_other_systems(monkeypatch):
    opened = []
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(ctypes, "CDLL", opened.append)
    keep_freed_memory.__wrapped__()
    assert opened == []
