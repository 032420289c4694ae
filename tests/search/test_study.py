"""Studies in files: what was tried stays, and the search goes on as if it had not been stopped."""

from __future__ import annotations

import pytest
from sample_recipe import parsed, small

from loramerge.errors import LoramergeError, MismatchError
from loramerge.search.journal import begin_anew
from loramerge.search.judged import Judged
from loramerge.search.space import SearchSpace
from loramerge.search.study import Study

VARY = {
    "loras.ikea.weight": {"from": 0.2, "to": 1.2},
    "merge.combination_type": ["cat", "svd", "ties"],
    "merge.density": {"from": 0.3, "to": 0.9},
}
OF = {"loras": ["a"], "search.seed": 0}


@pytest.fixture
def opened(tmp_path):
    def study(name="r.study.log", of=None, seed=0):
        return Study(tmp_path / name, of or OF, SearchSpace.of(parsed(small(search={"vary": VARY}))), seed)

    return study


def score(values):
    return Judged(1 - abs(values["loras.ikea.weight"] - 0.4) + values.get("merge.density", 0), {"ikea": 0.5})


def go_on(study, count):
    """Try some more; returns the values."""
    tried = []
    for _ in range(count):
        number, values = study.ask()
        tried.append(values)
        study.tell(number, score(values))
    return tried


def test_the_first_trial_has_the_recipes_own_values(opened):
    assert go_on(opened(), 1) == [{"merge.combination_type": "cat", "loras.ikea.weight": 0.7}]


def test_the_same_seed_tries_the_same_and_another_tries_others(opened):
    one, two = (go_on(opened(f"{name}.log"), 16) for name in "ab")
    assert one == two
    other = go_on(opened("c.log", seed=1), 16)
    assert [each for each in other[1:] if each in one] == []


def test_a_search_that_was_stopped_goes_on_as_if_it_had_not_been(opened):
    whole = go_on(opened("whole.log"), 16)
    first = go_on(opened(), 5)
    opened().ask()  # which nobody ends
    second = go_on(opened(), 6)
    study = opened()
    assert first + second + go_on(study, 5) == whole
    assert study.begun == len(study.finished) == 16
    assert [each.number for each in study.finished] == list(range(16))
    best = study.best
    assert best is not None
    assert best.judged == score(best.values)
    assert best.judged.score == max(each.judged.score for each in study.finished)


def test_one_that_was_killed_in_its_first_trial_begins_as_if_it_had_not_been(opened, tmp_path):
    whole = go_on(opened("whole.log"), 3)
    opened().ask()
    (tmp_path / "r.study.log.lock").touch()  # as a process that is killed leaves it while Optuna writes
    assert go_on(opened(), 3) == whole
    study = opened("waiting.log")
    study._study.enqueue_trial(study._space.own())  # killed before it is asked
    assert go_on(opened("waiting.log"), 3) == whole


def test_what_can_not_be_merged_counts_and_is_not_the_best(opened):
    study = opened()
    number, _ = study.ask()
    study.tell_failure(number, "every LoRA weighs 0")
    assert study.best is None
    assert [each.why for each in opened().finished] == ["every LoRA weighs 0"]
    go_on(study, 1)
    assert study.begun == 2


def test_a_study_of_another_search_is_refused_and_can_be_begun_anew(opened, tmp_path):
    go_on(opened(), 1)
    opened().note("written", "a digest")
    with pytest.raises(MismatchError, match=r"is the study of another search, which differs in loras"):
        opened(of=OF | {"loras": ["b"]})
    begin_anew(tmp_path / "r.study.log", keep="written")
    study = opened(of=OF | {"loras": ["b"]})
    assert (study.begun, study.noted("written"), study.noted("other")) == (0, "a digest", "")


def test_half_a_line_of_a_killed_process_is_dropped(opened, tmp_path):
    go_on(opened(), 3)
    with (tmp_path / "r.study.log").open("ab") as stream:
        stream.write(b'{"op_code": 5, "wor')
    study = opened()
    assert len(study.finished) == 3
    go_on(study, 1)
    assert len(opened().finished) == 4


@pytest.mark.parametrize("content", [b"nonsense\n", b"[1]\n", b'{"op_code": 99}\n', b"\xff\xfe\n", b"{}\n"])
def test_a_file_that_is_no_study(opened, tmp_path, content):
    (tmp_path / "r.study.log").write_bytes(content)
    with pytest.raises(LoramergeError, match=r"r\.study\.log is no study that can be read: ") as caught:
        opened()
    assert "--restart" in caught.value.hint
    assert (tmp_path / "r.study.log").read_bytes() == content
    begin_anew(tmp_path / "r.study.log", keep="written")
    assert opened().begun == 0
