"""The `codeblue` command. A subcommand is imported when it is used: nothing slows the way to the first action."""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path

import click
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError

# Close to the moment of Enter; the interpreter itself has started a few hundredths of a second before.
STARTED_AT = time.time()

_COMMANDS = Path(__file__).parent / "commands"
_EXIT_BAD_INPUT = 2
_EXIT_INTERRUPTED = 130


class LazyGroup(click.Group):
    """Finds its subcommands as files: `commands/<name>.py` holds `command`; `_` in a file name is `-` in a command."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(path.stem.replace("_", "-") for path in _COMMANDS.glob("[a-z]*.py"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"codeblue.commands.{cmd_name.replace('-', '_')}")
        found = module.command
        if not isinstance(found, click.Command):
            raise TypeError(f"{module.__file__}: `command` is not a click command")
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from codeblue.runner.nearest import nearest

            close = nearest(args[0], self.list_commands(ctx))
            if close is None:
                raise
            raise click.UsageError(f"{error.message} Did you mean {close}?", ctx=ctx) from error


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 recovered or nothing to do, 1 failed but left safe, 2 bad input, 3 refused or waiting, "
    "4 recovered but degraded, 5 failed and not left safe, 130 interrupted.",
)
@click.version_option(package_name="codeblue-recovery", prog_name="codeblue")
def cli() -> None:
    """Emergency recovery runbooks: planned first, safe to run twice, recorded.

    \b
    codeblue list                                         which runbooks there are
    codeblue plan database_connection_failure -i hosts    what would be done
    codeblue run database_connection_failure -i hosts     do it
    codeblue resume RUN                                   go on after an interruption
    """


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    :param arguments: those of the process by default.
    :returns: the exit code, see the table in docs/architecture.md.
    """
    given = sys.argv[1:] if arguments is None else arguments
    try:
        result = cli.main(args=given, prog_name="codeblue", standalone_mode=False)
    except CodeblueError as error:
        _say(error.message, error.hint, error.exit_code, given)
        return error.exit_code
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f"{context.command_path} --help" if context else None
        _say(error.format_message(), hint, _EXIT_BAD_INPUT, given)
        return _EXIT_BAD_INPUT
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted", None, _EXIT_INTERRUPTED, given)
        return _EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader has gone (`| head`). Python would complain once more when it flushes at exit.
        sys.stdout = None
        return 0
    return result if isinstance(result, int) else 0


def _say(message: str, hint: str | None, exit_code: int, arguments: list[str]) -> None:
    """One line for people on stderr, and the promised last JSON line on stdout when JSON was asked for."""
    if "--json" in arguments:
        import json

        from codeblue.output.messages import OUTCOMES

        summary = {
            "message_type": "summary",
            "outcome": OUTCOMES.get(exit_code, "failed_safe"),
            "exit_code": exit_code,
            "error": message,
            "hint": hint,
        }
        click.echo(json.dumps(summary))
    click.echo(f"codeblue: {message}", err=True)
    if hint:
        click.echo(f"          {hint}", err=True)
