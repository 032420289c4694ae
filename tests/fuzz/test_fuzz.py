"""Everything that reads bytes of strangers takes its seeds, what broke it once, and a few changes of both."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz.targets import TARGETS
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.slow

FOUND = Path(__file__).parent / "found"


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_taken(name):
    for seed in TARGETS[name].seeds():
        TARGETS[name].run(seed)


@pytest.mark.parametrize("path", sorted(FOUND.glob("*/*")), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_broke_it_once(path):
    TARGETS[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_changed_seeds_break_nothing(name):
    seeds = TARGETS[name].seeds()

    @given(st.data())
    def tried(data):
        seed = data.draw(st.sampled_from(seeds))
        begin = data.draw(st.integers(0, len(seed)))
        end = data.draw(st.integers(begin, min(len(seed), begin + 20)))
        TARGETS[name](seed[:begin] + data.draw(st.binary(max_size=12)) + seed[end:])

    tried()
