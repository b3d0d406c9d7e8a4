"""nsinit completion: the shell's part of completion."""

import click


@click.command
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script that makes a shell complete nsinit.

    \b
    bash:  echo 'eval "$(nsinit completion bash)"' >> ~/.bashrc
    zsh:   echo 'eval "$(nsinit completion zsh)"' >> ~/.zshrc
    fish:  nsinit completion fish > ~/.config/fish/completions/nsinit.fish
    """
    from click.shell_completion import get_completion_class

    complete = get_completion_class(shell)
    assert complete is not None
    click.echo(complete(ctx.find_root().command, {}, "nsinit", "_NSINIT_COMPLETE").source())
