"""The commands by name; each is imported when it is asked for."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from loramerge.cli import console, options
from loramerge.cli.boundary import exit_code_of
from loramerge.documents.problems import did_you_mean
from loramerge.errors import ExitCode

NAMES = (
    "merge",
    "resize",
    "extract",
    "convert",
    "run",
    "plan",
    "preview",
    "grid",
    "tune",
    "validate",
    "lock",
    "publish",
    "verify",
    "bom",
    "inspect",
    "init",
    "schema",
    "completion",
)


_EXIT_CODES = """

\b
Exit codes:
  0    done
  1    the run failed
  2    changes are pending
  3    the recipe is invalid
  4    a source is missing, refused or changed
  5    the inputs do not fit together: wrong base, ranks, shapes
  6    verification failed
  7    publishing failed
  64   wrong usage
  130  interrupted
"""


class Commands(click.Group):
    """Commands that are modules of this package, and the one place where their errors end."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order in which they are of use."""
        del ctx
        return list(NAMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or None."""
        del ctx
        if cmd_name not in NAMES:
            return None
        command: click.Command = import_module(f"loramerge.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first argument names.

        Raises:
            click.UsageError: There is none; the message has the nearest name.
        """
        if args and args[0] not in NAMES and not args[0].startswith("-"):
            ctx.fail(f"there is no command {args[0]!r}{did_you_mean(args[0], NAMES)}")
        return super().resolve_command(ctx, args)

    def main(  # type: ignore[override]  # always standalone: it never returns
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run a command, report its errors and exit with the code that they mean."""
        arguments = list(sys.argv[1:] if args is None else args)
        extra["standalone_mode"] = False
        sys.exit(exit_code_of(lambda: super(Commands, self).main(arguments, prog_name, **extra), arguments))


def _say_versions(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    from loramerge.artifact.environment import versions

    found = versions()
    click.echo(f"loramerge {found.pop('loramerge')}")
    click.echo(", ".join(f"{name} {version}" for name, version in found.items()))
    context.exit()


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=options.examples(
        "loramerge merge ink.safetensors:0.7 glow.safetensors:0.8 -o ink-glow.safetensors",
        "loramerge init ink.safetensors glow.safetensors --base hf://owner/model -o ink-glow.yaml",
        "loramerge run ink-glow.yaml",
        "loramerge inspect ink.safetensors",
    )
    + _EXIT_CODES,
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_say_versions,
    help="Show the version, those of the libraries that decide bytes, and exit.",
)
@click.pass_context
def commands(context: click.Context) -> None:
    """Several LoRAs become one: exact, reproducible, published.

    One YAML recipe says what to merge; one command merges it, proves what it did, and publishes it.
    """
    if context.invoked_subcommand is None:
        console.note(context.get_help())
        context.exit(ExitCode.USAGE)
