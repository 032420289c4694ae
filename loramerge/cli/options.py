"""Options that several commands share."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from loramerge.families import TITLES
from loramerge.files.lengths import too_long
from loramerge.files.neighbours import beside
from loramerge.merging.device import DEVICES

Command = TypeVar("Command", bound=Callable[..., Any])


def examples(*lines: str) -> str:
    """The end of a command's help."""
    # The backspace is Click's mark for lines that stay as they are.
    return "\n  ".join(("\b\nExamples:", *lines))


def as_json(command: Command) -> Command:
    """`--json`: the argument `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document; errors, too.")(command)


def verbose(command: Command) -> Command:
    """`-v`: the argument `verbose`."""
    return click.option("-v", "--verbose", is_flag=True, help="Say more; show where a defect lies.")(command)


def base(command: Command) -> Command:
    """`--base`: the argument `base`, for `GivenBase.parse`."""
    return click.option(
        "--base",
        metavar="REF",
        type=click.Path(),
        help=f"A folder, hf://owner/name or {', '.join(TITLES)}; told by the LoRAs if absent.",
    )(command)


def overrides(command: Command) -> Command:
    """`--set`: the argument `overrides`."""
    return click.option(
        "--set",
        "overrides",
        metavar="KEY=VALUE",
        multiple=True,
        help="Change a value of the recipe, such as loras.0.weight=0.5. May be given several times.",
    )(command)


class PlaceType(click.Path):
    """A path that something can lie at: click takes an empty one, which would then mean the default without a word."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path.

        Raises:
            click.BadParameter: It is empty, or too long.
        """
        if value == "":
            self.fail("it is empty; name a folder, or leave the option out", param, ctx)
        if reason := too_long(os.fspath(value)):
            self.fail(f"{reason}; choose a shorter one", param, ctx)
        return super().convert(value, param, ctx)


class ThereType(click.Path):
    """A path of something that is there."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path.

        Raises:
            click.BadParameter: Nothing is there; the message says what lies beside it.
        """
        try:
            there = os.path.exists(value)  # noqa: PTH110  which takes any text
        except ValueError:
            there = False
        if not there:
            self.fail("; ".join(filter(None, (f"there is no {value}", beside(Path(value))))), param, ctx)
        return super().convert(value, param, ctx)


def device(command: Command) -> Command:
    """`--device`: the argument `device`."""
    return click.option(
        "--device",
        type=click.Choice(DEVICES),
        default="auto",
        show_default=True,
        help="Where to compute.",
    )(command)
