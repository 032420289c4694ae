"""What was tried and what came of it, in a file that outlives whoever tries.

One process writes it: who asks for values and tells what came of them. The sampler of each trial is seeded by the
search's seed and the trial's place alone, so a search that was stopped goes on as if it had not been.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loramerge.errors import MismatchError
from loramerge.messages import some
from loramerge.search.journal import RESTART, opened, quiet_optuna
from loramerge.search.judged import Judged

if TYPE_CHECKING:
    from pathlib import Path

    import optuna

    from loramerge.search.space import SearchSpace

_OF, _VALUES, _PARTS, _WHY = "of", "values", "parts", "why"
_STARTUP = 10
"""Trials of values at random before the sampler learns from them: Optuna's own default."""


@dataclass(frozen=True)
class FinishedTrial:
    """What was tried, and what came of it.

    Attributes:
        number: From 0 on, in the order in which trials were begun.
        values: Key as the recipe has it → value.
        judged: The judgement; None for what can't be merged.
        why: Why it can't.
    """

    number: int
    values: Mapping[str, Any]
    judged: Judged | None
    why: str = ""


class Study:
    """A study in a file.

    Args:
        path: The file, there or not. Nobody else has it open.
        of: What it is a study of, as plain data: scores of anything else can't be compared with its own.
        space: What may be tried.
        seed: Of what is tried.

    Raises:
        MismatchError: It is a study of something else.
        LoramergeError: It is no study, or can't be written.
    """

    def __init__(self, path: Path, of: Mapping[str, Any], space: SearchSpace, seed: int) -> None:
        self._path, self._space, self._seed = path, space, seed
        with quiet_optuna():
            self._study = opened(path)
            told = self._study.user_attrs.get(_OF)
            if told is None:
                self._study.set_user_attr(_OF, dict(of))
            elif told != of:
                differing = sorted(key for key in {*told, *of} if told.get(key) != of.get(key))
                said = f"{path} is the study of another search, which differs in {some(differing, 6)}"
                raise MismatchError(said, hint=RESTART)
            self._give_up_what_was_begun()

    @property
    def begun(self) -> int:
        """How many trials were begun, those that nobody ends aside."""
        return sum(not _is_given_up(each) for each in self._trials)

    @property
    def finished(self) -> tuple[FinishedTrial, ...]:
        """Those that ended, in the order in which they were begun."""
        ended = [each for each in self._trials if each.state.is_finished() and not _is_given_up(each)]
        return tuple(_finished_trial(number, each) for number, each in enumerate(ended))

    @property
    def best(self) -> FinishedTrial | None:
        """The first of those with the highest score."""
        scored = [each for each in self.finished if each.judged is not None]
        return max(scored, key=lambda each: each.judged.score if each.judged else 0.0, default=None)

    def noted(self, key: str) -> str:
        """What was noted down under a key; empty for nothing."""
        return str(self._study.user_attrs.get(key, ""))

    def note(self, key: str, value: str) -> None:
        """Note something down that is to outlive this process."""
        with quiet_optuna():
            self._study.set_user_attr(key, value)

    def ask(self) -> tuple[int, dict[str, Any]]:
        """(Optuna's number, values) of a trial that begins. The first tries the recipe's own values, if it may."""
        import optuna

        begun = self.begun
        with quiet_optuna():
            self._study.sampler = optuna.samplers.TPESampler(
                seed=_seed_of(self._seed, begun), n_startup_trials=_STARTUP
            )
            if begun == 0 and (own := self._space.own()) is not None and not self._is_waiting:
                self._study.enqueue_trial(own)
            trial = self._study.ask()
            values = self._space.choose(trial)
            trial.set_user_attr(_VALUES, values)
        return trial.number, values

    def tell(self, number: int, judged: Judged) -> None:
        """Note down what came of a trial."""
        with quiet_optuna():
            self._note(number, _PARTS, dict(judged.parts))
            self._study.tell(number, judged.score)

    def tell_failure(self, number: int, why: str) -> None:
        """Note down why what a trial tried can't be merged. It counts as one of the trials."""
        from optuna.trial import TrialState

        with quiet_optuna():
            self._note(number, _WHY, why)
            self._study.tell(number, state=TrialState.FAIL)

    @property
    def _trials(self) -> list[optuna.trial.FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    @property
    def _is_waiting(self) -> bool:
        """Whether values are to be tried that an earlier process set down before it was stopped."""
        from optuna.trial import TrialState

        return any(each.state == TrialState.WAITING for each in self._trials)

    def _note(self, number: int, key: str, value: Any) -> None:
        trial = next(each for each in self._trials if each.number == number)
        self._study._storage.set_trial_user_attr(trial._trial_id, key, value)  # noqa: SLF001  a `Trial` may be gone

    def _give_up_what_was_begun(self) -> None:
        """Trials of a process that was stopped: nobody ends them."""
        from optuna.trial import TrialState

        for each in self._trials:
            if each.state == TrialState.RUNNING:
                self._study.tell(each.number, state=TrialState.FAIL)


def _is_given_up(trial: optuna.trial.FrozenTrial) -> bool:
    from optuna.trial import TrialState

    return trial.state == TrialState.WAITING or (trial.state == TrialState.FAIL and _WHY not in trial.user_attrs)


def _finished_trial(number: int, trial: optuna.trial.FrozenTrial) -> FinishedTrial:
    values = trial.user_attrs.get(_VALUES, {})
    if trial.value is None:
        return FinishedTrial(number, values, None, str(trial.user_attrs.get(_WHY, "")))
    return FinishedTrial(number, values, Judged(trial.value, trial.user_attrs.get(_PARTS, {})))


def _seed_of(seed: int, place: int) -> int:
    """A seed for one trial, of 32 bits."""
    return int.from_bytes(hashlib.sha256(f"{seed} {place}".encode()).digest()[:4], "big")
