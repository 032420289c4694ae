"""Functions of the user's own that judge."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from loramerge.adapter import Adapter
from loramerge.search.function import ObjectiveError, OwnFunction
from loramerge.search.judged import Judged, Picture, Tried

TRIED = Tried(None, Adapter({}), [Picture("a bowl", 0, Image.new("RGB", (8, 8)))])


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_judge", raising=False)

    def loaded(text, name="score"):
        (tmp_path / "own_judge.py").write_text(text)
        return OwnFunction.load(f"own_judge:{name}", tmp_path)

    return loaded


@pytest.mark.parametrize(
    ("text", "draws", "score"),
    [
        ("def score(pictures): return len(pictures)", True, 1),
        ("def score(merged): return len(merged)", False, 0),
        ("def score(*, merged, pictures, recipe=None, more=3): return more", True, 3),
        ("import numpy\ndef score(merged): return numpy.float32(0.5)", False, 0.5),
        ("import torch\ndef score(merged): return torch.tensor(0.25)", False, 0.25),
    ],
)
def test_it_gets_what_it_asks_for(load, text, draws, score):
    function = load(text)
    assert function.draws is draws
    assert function(TRIED) == Judged(score)


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("import nowhere_at_all", "score", "own_judge can't be imported: ModuleNotFoundError: No module named 'nowh"),
        ("1 / 0", "score", r"own_judge can't be imported: ZeroDivisionError: division by zero \(.*own_judge.py:1\)"),
        ("def (", "score", "own_judge can't be imported: SyntaxError"),
        ("def skore(merged): ...", "score", r"own_judge.py: score is not in it; did you mean 'skore'\?"),
        ("score = 3", "score", "own_judge.py: score is no function"),
        ("def score(adapter): ...", "score", "own_judge:score wants adapter; expected parameters called `recipe`, "),
        ("def score(): ...", "score", "own_judge:score takes nothing; expected parameters called"),
        ("def score(merged, /): ...", "score", "own_judge:score wants merged; expected"),
    ],
)
def test_what_can_not_be_had(load, text, name, message):
    with pytest.raises(ObjectiveError, match=message):
        load(text, name)


def test_a_module_that_is_nowhere(tmp_path):
    with pytest.raises(ObjectiveError, match="no_such_module can't be imported: ModuleNotFoundError") as caught:
        OwnFunction.load("no_such_module:score", tmp_path)
    assert str(tmp_path) in caught.value.hint


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise KeyError('x')", r"own_judge:score raised KeyError: 'x' \(.*own_judge.py:1\)"),
        ("return None", "own_judge:score returned None; expected a number, of which the highest is the best"),
        ("return '0.5'", "returned '0.5'; expected a number"),
        ("return float('nan')", "returned nan; expected a number"),
        ("return float('inf')", "returned inf; expected a number"),
        ("return [1]", r"returned \[1\]; expected a number"),
    ],
)
def test_what_does_not_judge(load, body, message):
    with pytest.raises(ObjectiveError, match=message):
        load(f"def score(merged): {body}")(TRIED)


def test_numbers_of_arrays_are_none():
    function = OwnFunction("m:f", lambda merged: np.zeros(2) + len(merged), ("merged",))
    with pytest.raises(ObjectiveError, match="expected a number"):
        function(TRIED)
    assert OwnFunction("m:f", lambda merged: torch.ones(()) + len(merged), ("merged",))(TRIED) == Judged(1.0)
