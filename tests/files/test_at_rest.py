"""Looking at what another run replaces meanwhile."""

from __future__ import annotations

import pytest

from loramerge.errors import SourceError
from loramerge.files.at_rest import at_rest


def looks_of(changes):
    """Something that changes in each of the first looks."""
    looks = []

    def look():
        looks.append(len(looks))
        return len(looks)

    return look, lambda: min(len(looks), changes)


def test_what_stays_is_looked_at_once():
    look, mark = looks_of(0)
    assert at_rest(look, mark) == 1


def test_what_changes_is_looked_at_again():
    look, mark = looks_of(3)
    assert at_rest(look, mark) == 4


def test_what_never_rests_is_not_waited_for():
    look, mark = looks_of(10**9)
    assert at_rest(look, mark) == 10


@pytest.mark.parametrize("failure", [SourceError("x was changed while it was read"), FileNotFoundError("x")])
def test_an_error_of_what_changed_is_none(failure):
    found = iter([failure, "after"])
    marks = iter("abbb")

    def look():
        each = next(found)
        if isinstance(each, Exception):
            raise each
        return each

    assert at_rest(look, lambda: next(marks)) == "after"


def test_an_error_of_what_stays_is_raised():
    def look():
        raise SourceError("damaged")

    with pytest.raises(SourceError, match="damaged"):
        at_rest(look, lambda: 1)
