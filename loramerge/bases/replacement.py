"""A component of a pipeline that takes the place of the base's own, and which of the base's own can be left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramerge.bases.pipeline_files import PipelineFiles
from loramerge.bases.quiet import quiet
from loramerge.errors import MismatchError, SourceError
from loramerge.messages import any_of

if TYPE_CHECKING:
    from loramerge.bases.model_index import ModelIndex

# Documented by diffusers: `pipeline.vae = AutoencoderTiny.from_pretrained(…)` and the like.
_IN_PLACE_OF = {"AutoencoderKL": ("AutoencoderTiny", "AsymmetricAutoencoderKL")}
_ALIKE = (
    "latent_channels", "z_dim", "in_channels", "out_channels", "hidden_size", "d_model", "projection_dim",
    "cross_attention_dim", "vocab_size",
)  # fmt: skip
"""Settings of what goes in and comes out: other components were trained with them."""
_LATENTS = ("scaling_factor", "shift_factor", "latents_mean", "latents_std")
"""Where latents lie; those of another class lie elsewhere by themselves."""
SAFETY_CHECKER = "safety_checker"
_NEEDED_BY = {"feature_extractor": SAFETY_CHECKER}


@dataclass(frozen=True)
class Replacement:
    """A component of a pipeline from elsewhere.

    Attributes:
        reference: Its source, for messages.
        files: Its configs and weights, in no folder of their own.
        entry: Library and class, as model_index.json has them.
    """

    reference: str
    files: PipelineFiles
    entry: tuple[str, str]


def replacing_entry(index: ModelIndex, name: str, configs: tuple[Mapping[str, Any], Mapping[str, Any]], source: str,
                    where: str) -> tuple[str, str]:  # fmt: skip
    """Library and class of a component that takes the place of another.

    Args:
        index: The base's.
        name: Of the component.
        configs: The config.json of the base's own, and that of what takes its place.
        source: Where the latter is, for messages.
        where: The key of the recipe, for messages.

    Raises:
        SourceError: Its config does not say of which class it is.
        MismatchError: It is of another class, or was made for other inputs or results.
    """
    library, wanted = index.classes[name]
    before, after = configs
    found = _class_of(after)
    if not found:
        raise SourceError(
            f"{where}: {source} does not say of which class it is", hint="its config.json should have `_class_name`"
        )
    if found != wanted and found not in _IN_PLACE_OF.get(wanted, ()):
        raise MismatchError(
            f"{where}: {source} is of the class {found}, and the base's {name} is of the class {wanted}",
            hint=f"choose a folder whose config.json names {any_of([wanted, *_IN_PLACE_OF.get(wanted, ())])}",
        )
    keys = (*_ALIKE, *(_LATENTS if found == wanted else ()))
    defaults = (_defaults(library, wanted, before, after), _defaults(library, found, before, after))
    for key in keys:
        one, two = (_plain(config.get(key, known.get(key))) for config, known in zip(configs, defaults, strict=True))
        if one != two and not (library == "transformers" and None in (one, two)):
            raise MismatchError(
                f"{where}: {key} of {source} is {two}, and that of the base's {name} is {one}: the rest of the "
                "pipeline was trained with the latter",
                hint=f"choose a {name} that was made for such a pipeline",
            )
    sizes = [len(config["block_out_channels"]) for config in configs if "block_out_channels" in config]
    if len({*sizes}) > 1:
        raise MismatchError(
            f"{where}: {source} has {sizes[1]} blocks, and the base's {name} has {sizes[0]}: it makes pictures of "
            "another size of the same latents",
            hint=f"choose a {name} that was made for such a pipeline",
        )
    return (library if found == wanted else "diffusers"), found


def check_droppable(index: ModelIndex, name: str, dropped: frozenset[str], where: str) -> None:
    """Go on only if a pipeline does without a component.

    Args:
        index: The base's.
        name: Of the component.
        dropped: All components that are left out.
        where: The key of the recipe, for messages.

    Raises:
        MismatchError: It has no such component, or can't do without it.
    """
    optional = _optional(index.pipeline)
    if name not in index.classes and name not in optional:
        raise _unknown(index, name, where)
    if name not in optional:
        can = f"it does without {any_of(sorted(optional))}" if optional else "nothing is known that it does without"
        raise MismatchError(f"{where}: a {index.pipeline} can't do without its {name}", hint=can)
    needed = _NEEDED_BY.get(name)
    if name in index.classes and needed in index.classes and needed not in dropped:
        raise MismatchError(f"{where}: {needed} needs {name}", hint=f"leave it out as well: `{needed}: null`")


def check_replaceable(index: ModelIndex, name: str, files: tuple[str, ...], where: str) -> None:
    """Go on only if a base has a component with weights of its own.

    Args:
        index: The base's.
        name: Of the component.
        files: All of the base's.
        where: The key of the recipe, for messages.

    Raises:
        MismatchError: It has none, or one without weights.
    """
    if name not in index.classes:
        raise _unknown(index, name, where)
    if f"{name}/config.json" not in files or index.classes[name][1].startswith("Multi"):
        hint = "`scheduler:` of the output says which it is" if name == "scheduler" else "leave it out"
        raise MismatchError(f"{where}: the base's {name} is no single model, and only such are replaced", hint=hint)


def takes_safety_checker(pipeline: str) -> bool:
    """Whether a class of pipelines has a setting that says whether it should have a safety checker.

    Args:
        pipeline: Of diffusers.
    """
    from inspect import signature

    found = _pipeline_class(pipeline)
    return found is not None and "requires_safety_checker" in signature(found.__init__).parameters


def replacement(
    reference: str, folder: Path, place: str, names: tuple[str, ...], entry: tuple[str, str]
) -> Replacement:
    """What takes the place of a component, where its files lie.

    Args:
        reference: Its source.
        folder: Of the source's files.
        place: The folder in it that is the component, with a '/' at its end; empty where that is all of it.
        names: Its files, relative to `folder`.
        entry: Library and class.
    """
    files = PipelineFiles(folder / place, tuple(name.removeprefix(place) for name in names), None)
    return Replacement(reference, files, entry)


def _unknown(index: ModelIndex, name: str, where: str) -> MismatchError:
    near = get_close_matches(name, index.classes, n=1)
    return MismatchError(
        f"{where}: the base, a {index.pipeline}, has no {name}",
        hint=f"did you mean {near[0]}?" if near else f"it has {any_of(sorted(index.classes))}",
    )


def _class_of(config: Mapping[str, Any]) -> str:
    said = config.get("architectures")
    named = said[0] if isinstance(said, list) and said else ""
    return str(config.get("_class_name") or named)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _defaults(library: str, class_name: str, *configs: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a class of diffusers takes for what a config leaves out; looked up only where one of two does."""
    one, other = ({key for key in (*_ALIKE, *_LATENTS) if key in config} for config in configs)
    if library != "diffusers" or one == other:
        return {}
    from inspect import signature

    with quiet():
        import diffusers

        found = getattr(diffusers, class_name, None)
    given = {} if found is None else signature(found.__init__).parameters
    return {name: each.default for name, each in given.items() if each.default is not each.empty}


def _optional(pipeline: str) -> frozenset[str]:
    """The components that a class of pipelines does without; nothing is known of classes that diffusers lacks."""
    found = _pipeline_class(pipeline)
    return frozenset(getattr(found, "_optional_components", ()))


def _pipeline_class(name: str) -> Any:
    with quiet():
        import diffusers

        return getattr(diffusers, name, None)
