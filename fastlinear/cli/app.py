"""The ``fastlinear`` command: finds the module of a command and reports its errors."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from fastlinear.cli.errors import CommandError

COMMANDS = ("train", "predict", "check", "info", "warmup", "activations", "profile", "explain")
"""Each names a module of this package and the function in it that typer turns into the command."""


class LazyGroup(TyperGroup):
    """A group that imports a command's module when the command (or the help) is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import and return one command; None if there is no such command."""
        if cmd_name not in COMMANDS:
            return None
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(cmd_name)(getattr(import_module(f"fastlinear.cli.{cmd_name}"), cmd_name))
        return typer.main.get_command(single)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; a `CommandError` becomes one line on stderr and an exit status."""
        try:
            return super().invoke(ctx)
        except (CommandError, MemoryError) as error:
            reason = str(error) or "expected more memory than there is"
            typer.echo(f"fastlinear {ctx.invoked_subcommand}: {reason}", err=True)
            raise typer.Exit(getattr(error, "status", 1)) from None


app = typer.Typer(
    cls=LazyGroup,
    name="fastlinear",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def fastlinear() -> None:
    """Train, check and inspect networks made of compiled explicit loops."""
