"""The base alone: a folder, a family's name, or one file, and `base.config`, which says what that is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge import sources
from loramerge.bases import model_index
from loramerge.bases.base import SCHEDULER, config_files, read_base, single_file
from loramerge.bases.pipeline_files import no_pipeline
from loramerge.bases.published import architecture
from loramerge.errors import MismatchError
from loramerge.families import SIZES
from loramerge.sources.inputs import InputFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Executor

    from loramerge.bases.base import Base
    from loramerge.lock.model import LockedSource
    from loramerge.lock.pin import Pin
    from loramerge.recipe import BaseSource, Recipe
    from loramerge.sources import Located


@dataclass(frozen=True)
class BaseConfig:
    """The configs that say what a file is.

    Attributes:
        located: Where they are.
        names: Of the files there.
    """

    located: Located
    names: tuple[str, ...]

    def base(self) -> Base:
        """The base that they describe.

        Raises:
            SourceError: They can't be had, or describe no model that LoRAs are made for.
        """
        return read_base(self.located.reference, self.located.fetch(self.names), self.names)

    def inputs(self, pool: Executor) -> InputFiles:
        """The files, as they are read.

        Args:
            pool: Takes their digests.
        """
        return InputFiles(pool, self.located.reference, self.located.fetch(self.names), self.names)


def base_config(given: BaseSource, folder: Path, pin: Pin | None = None) -> BaseConfig | None:
    """Where `base.config` is; None where the recipe has none, or it is a family's name.

    Args:
        given: The recipe's base.
        folder: The recipe's, where paths start.
        pin: What it has to be.

    Raises:
        SourceError: It is missing or refused, has no configs, or is not what the lock says.
    """
    if given.config_source is None:
        return None
    source = sources.parse(given.config_source, folder=folder)
    located = (source.at(pin.locked.commit) if pin and pin.locked.commit else source).locate()
    if single_file(located):
        raise MismatchError(
            f"base.config: {located.reference} is a file of weights", hint="name the folder that has its config.json"
        )
    names = config_files(located)
    return BaseConfig(pin.hold(located, names) if pin else located, names)


def told(given: BaseSource, config: BaseConfig | None) -> Base | None:
    """What the recipe says that the file of its base is; None where it does not.

    Raises:
        SourceError: The configs can't be had.
    """
    if config is not None:
        return config.base()
    return architecture(given.config) if given.config is not None else None


def located_base(located: Located, names: tuple[str, ...], told: Callable[[], Base | None]) -> Base:
    """A base by its configs, or by the header of its one file, of which no more is fetched.

    Args:
        located: Where it is.
        names: Its files that say what it is.
        told: What `base.config` says that a file is.

    Raises:
        SourceError: It can't be had, or is no base.
        MismatchError: It is a file that fits several families, or not what `base.config` says.
    """
    if single_file(located) is None:
        return read_base(located.reference, located.fetch(names), names)
    with located.outlines(names) as folder:
        return read_base(located.reference, folder, names, told())


def check_kind_of_base(recipe: Recipe, base: Located) -> None:
    """Refuse what a recipe wants of a base that is one file or a lone model, or of one that is none.

    Raises:
        MismatchError: Pictures or a pipeline of what is none, or a config for a folder.
    """
    file = single_file(base)
    if file is None and recipe.base.config is not None:
        raise MismatchError(
            f"base.config says what one file is, and {base.reference} has configs of its own",
            hint="leave base.config out",
        )
    wants_pipeline = any(output.needs_pipeline_folder for output in recipe.outputs)
    if file is None and model_index.FILE not in base.files:
        if wants_pipeline:
            raise no_pipeline(base.reference, "an output of `kind: pipeline` needs one; `kind: model` does not")
        if recipe.preview is not None:
            raise MismatchError(
                f"preview: {base.reference} is one model and no pipeline, and draws no pictures",
                hint="leave `preview` out",
            )
    if file is not None and recipe.preview is not None:
        raise MismatchError(
            f"preview: {base.reference} is one file, and pictures need the folder of a pipeline with its tokenizers",
            hint="leave `preview` out, or choose the base's folder",
        )


def configs_like(base: Located, earlier: LockedSource | None) -> tuple[str, ...]:
    """The base's configs, without the scheduler's where a lock is one of an earlier version, which lists none.

    Args:
        base: Where it is.
        earlier: What a lock says of it.
    """
    names = config_files(base)
    return tuple(name for name in names if earlier is None or name != SCHEDULER or name in earlier.files)


def no_files(_names: Iterable[str], /) -> Path:
    """A family's sizes are the program's own: there are no files to fetch."""
    return Path()


def base_of(recipe: Recipe) -> Base:
    """The base of a recipe, without its weights.

    Raises:
        SourceError: It can't be had, or is no pipeline.
        MismatchError: It is of another family.
    """
    given = recipe.base
    if given.source is None:
        return architecture(given.family or "")
    source = sources.parse(given.source, folder=recipe.folder, revision=given.revision, sha256=given.sha256)
    located = source.locate()
    return located_base(located, config_files(located), lambda: told(given, base_config(given, recipe.folder)))


def load_base(reference: str | Path, *, revision: str | None = None, folder: Path | None = None) -> Base:
    """Read a base's configs, without its weights.

    Args:
        reference: `hf://owner/name`, the folder of a diffusers pipeline or of a model of transformers, one safetensors
            file, or a family whose published sizes are known: `sdxl`, `wan/1.3b`. A folder of that name counts before a
            family.
        revision: Of a Hub repository.
        folder: Where a relative path starts; the current one by default.

    Raises:
        SourceError: It can't be had, or is no pipeline.
        MismatchError: It is of another family.
    """
    if reference in SIZES and not (folder or Path.cwd()).joinpath(reference).exists():
        return architecture(str(reference))
    located = sources.parse(str(reference), folder=folder or Path.cwd(), revision=revision).locate()
    return located_base(located, config_files(located), lambda: None)
