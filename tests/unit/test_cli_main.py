"""The command group: lazy, quick, every command documented. About 2 s."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from codeblue.main import cli, main

ROOT = Path(__file__).parents[2]
# Each of these costs tens of milliseconds before the first action.
HEAVY = {
    "rich",
    "sqlalchemy",
    "ansible",
    "ansible_runner",
    "yaml",
    "jinja2",
    "cryptography",
    "psycopg",
    "httpx",
    "ulid",
}


def _commands() -> list[str]:
    with click.Context(cli) as context:
        return cli.list_commands(context)


def _imported_by(*arguments: str) -> set[str]:
    program = (
        "import sys; from codeblue.main import main; code = main(sys.argv[1:]); "
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr); sys.exit(code)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=30, check=True
    )
    return set(ended.stderr.split())


def test_help_and_the_help_of_run_import_nothing_heavy() -> None:
    assert not _imported_by("--help") & HEAVY
    assert not _imported_by("run", "--help") & HEAVY


def test_all_files_in_commands_are_found() -> None:
    assert {"run", "plan", "resume", "list", "show", "doctor", "report"} <= set(_commands())


@pytest.mark.parametrize("name", _commands())
def test_every_command_has_help(name: str) -> None:
    with click.Context(cli) as context:
        command = cli.get_command(context, name)
        assert command is not None
        assert command.help
        assert f"codeblue {name}" in command.help, "an example is missing"


def test_reference_is_what_the_command_says() -> None:
    from codeblue.output.reference import reference

    written = (ROOT / "docs" / "command.md").read_text(encoding="utf-8")
    assert written == reference(), "python -m codeblue.output.reference > docs/command.md"


def test_mistyped_command_is_one_line_with_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reusme"]) == 2
    assert "Did you mean resume?" in capsys.readouterr().err


def test_bad_input_ends_json_with_a_summary(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "no_such_runbook", "--json"]) == 2
    said = capsys.readouterr()
    assert '"message_type": "summary", "outcome": "bad_input", "exit_code": 2' in said.out


def test_python_module_is_the_command() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "codeblue", "--version"], capture_output=True, text=True, timeout=30, check=True
    )
    assert ended.stdout.startswith("codeblue")
