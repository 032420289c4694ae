"""One trial of a search: a merge, its pictures where somebody looks at them, and a judgement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loramerge import sources
from loramerge.analysis.kept import directions, kept
from loramerge.bases.quiet import quiet
from loramerge.errors import MismatchError, UsageError
from loramerge.merging.device import chosen_device
from loramerge.recipe.search import KEPT, PREVIEWS, Search
from loramerge.recipe.weights import plain
from loramerge.search.alike import Alike
from loramerge.search.clip import FILES, ByClip, ClipModel
from loramerge.search.easel import Easel
from loramerge.search.function import OwnFunction
from loramerge.search.judged import Judge, Judged, Tried
from loramerge.search.space import SearchSpace
from loramerge.stages.combine import WeightedAdapter, check_combination, combine
from loramerge.stages.load import load, weighed
from loramerge.stages.resolve import resolve
from loramerge.stages.with_base import with_base

if TYPE_CHECKING:
    from loramerge.lock.model import Lock
    from loramerge.progress import Progress
    from loramerge.recipe import Preview, Recipe
    from loramerge.search.judged import Picture
    from loramerge.search.space import Values
    from loramerge.stages.load import Loaded


@dataclass(frozen=True)
class SearchInputs:
    """All that trials need.

    Attributes:
        recipe: As it is read.
        search: Its search.
        space: What may be tried.
        function: The user's own that judges, where there is one.
        preview: What is drawn; None where nobody looks at pictures.
        device: `cpu` or `cuda`.
        loaded: The base, with its weights where pictures are drawn, and the LoRAs.
    """

    recipe: Recipe
    search: Search
    space: SearchSpace
    function: OwnFunction | None
    preview: Preview | None
    device: str
    loaded: Loaded

    @classmethod
    def of(
        cls, recipe: Recipe, lock: Lock | None = None, device: str = "auto", progress: Progress | None = None
    ) -> SearchInputs:
        """Look at everything that may be wrong before anything is tried, and fetch and read the inputs.

        Args:
            recipe: With a search.
            lock: What its sources have to be; by default what they are.
            device: `auto`, `cpu` or `cuda`.
            progress: Told of every source.

        Raises:
            UsageError: The recipe has no search, trials would look at pictures that it does not name, or there is no
                device of that name.
            ObjectiveError: The user's function can't be had.
            MismatchError: A combination type can't take these LoRAs.
            LoramergeError: As by `run`.
        """
        if recipe.search is None:
            raise UsageError(
                f"the recipe {recipe.name} says nothing of a search",
                hint="add to it, for example, search: {vary: {loras.0.weight: {from: 0.2, to: 1.2}}}",
            )
        chosen, objective = chosen_device(device), recipe.search.objective
        function = None if objective in (KEPT, PREVIEWS) else OwnFunction.load(objective, recipe.folder)
        draws = objective == PREVIEWS or (function is not None and function.draws)
        if draws and recipe.preview is None:
            raise UsageError(
                f"{objective} looks at pictures, and the recipe {recipe.name} says nothing of any",
                hint="add preview: {prompts: [a bowl]} to it, or --set 'preview.prompts=[a bowl]'",
            )
        wanted = with_base(recipe if draws else recipe.model_copy(update={"preview": None}), lock, progress=progress)
        loaded = load(resolve(wanted, lock, progress=progress), progress=progress)
        space = SearchSpace.of(recipe)
        found = cls(recipe, recipe.search, space, function, recipe.preview if draws else None, chosen, loaded)
        found.check_types()
        return found

    def loras(self, recipe: Recipe) -> list[WeightedAdapter]:
        """The LoRAs, which all trials share, at the weights of one of them."""
        return [
            WeightedAdapter(lora.name, lora.adapter, plain(given.weight))
            for given, lora in zip(recipe.loras, self.loaded.loras, strict=True)
        ]

    def check_types(self) -> None:
        """Name every combination type that can't take these LoRAs.

        Raises:
            MismatchError: There is one.
        """
        mistakes = []
        for each in self.space.types:
            recipe = self.space.example(each)
            try:
                check_combination(self.loras(recipe), self.loaded.base, recipe.merge)
            except MismatchError as error:
                mistakes.append(f"{each}: {error.message}")
        if mistakes:
            raise MismatchError("\n".join(mistakes), hint="leave these types out of the search")


class Trier:
    """Tries values, one after the other; everything that trials share is loaded once.

    Args:
        inputs: What they need.
        progress: Told of what is drawn before the first trial.

    Raises:
        LoramergeError: With the exit code of what went wrong.
    """

    def __init__(self, inputs: SearchInputs, progress: Progress | None = None) -> None:
        self._inputs = inputs
        clip = None if inputs.search.clip is None else _clip_model(inputs.search.clip, inputs.recipe)
        self._easel = None
        if inputs.preview is not None:
            self._easel = Easel(inputs.recipe, inputs.preview, inputs.loaded, inputs.device)
        if inputs.function is not None:
            self._judge: Judge = inputs.function
        elif self._easel is not None:
            self._judge = _by_pictures(self._easel, clip, progress)
        else:
            self._judge = _by_factors(inputs.loaded)

    @classmethod
    def loading(cls, recipe: Recipe, lock: Lock | None, device: str) -> Trier:
        """One that loads its inputs itself, in a process of its own."""
        return cls(SearchInputs.of(recipe, lock, device))

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be said of the pictures."""
        return tuple(self._easel.notes) if self._easel else ()

    def __call__(self, values: Values) -> Judged:
        """Try some values.

        Raises:
            ObjectiveError: The user's own function does not judge.
            LoramergeError: They can't be merged.
        """
        inputs = self._inputs
        recipe = inputs.space.recipe_of(values)
        merged = combine(inputs.loras(recipe), inputs.loaded.base, recipe.merge, device=inputs.device).adapter
        pictures: Sequence[Picture] = self._easel.merge(merged) if self._easel else ()
        return self._judge(Tried(recipe, merged, pictures))

    def close(self) -> None:
        """Give the memory back."""
        if self._easel is not None:
            self._easel.close()


def _by_factors(loaded: Loaded) -> Judge:
    own = directions(weighed(loaded))

    def judge(tried: Tried) -> Judged:
        held = {name: each.likeness for name, each in kept(tried.merged, own).items()}
        return Judged.by_the_worst({name: likeness for name, likeness in held.items() if likeness is not None})

    return judge


def _by_pictures(easel: Easel, clip: ClipModel | None, progress: Progress | None) -> Judge:
    base, own = easel.inputs(progress)
    images = {name: [each.image for each in pictures] for name, pictures in own.items()}
    if clip is not None:
        return ByClip(clip, {name: clip.of_pictures(each) for name, each in images.items()})
    return Alike.beside([each.image for each in base], images)


def _clip_model(reference: str, recipe: Recipe) -> ClipModel:
    """The CLIP model that pictures are compared by."""
    located = sources.parse(reference, folder=recipe.folder).locate()
    names = [name for name in FILES if name in located.files]
    with quiet(drawing=False):
        return ClipModel(located.fetch(names), located.reference)
