"""`loramerge completion`."""

import click

from loramerge.cli import options
from loramerge.errors import LoramergeError

_SHELLS = ("bash", "zsh", "fish")


@click.command(
    epilog=options.examples(
        "loramerge completion bash >> ~/.bashrc",
        "loramerge completion zsh >> ~/.zshrc",
        "loramerge completion fish > ~/.config/fish/completions/loramerge.fish",
    )
)
@click.argument("shell", type=click.Choice(_SHELLS))
@options.verbose
@click.pass_context
def command(context: click.Context, shell: str, verbose: bool) -> None:
    """Print what completes commands and options in a shell."""
    del verbose
    from click.shell_completion import get_completion_class

    script = get_completion_class(shell)
    if script is None:
        raise LoramergeError(f"Click knows no completion for {shell}")
    click.echo(script(context.find_root().command, {}, "loramerge", "_LORAMERGE_COMPLETE").source())
