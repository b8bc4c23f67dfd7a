"""codeblue lab: a small clinic on loopback to drill on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from codeblue.lab.layout import default_directory

if TYPE_CHECKING:
    from codeblue.lab.status import LabStatus


_directory = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    default=default_directory,
    show_default="CODEBLUE_LAB_DIR, or below the user's state directory",
    help="The lab's directory.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")


@click.group(name="lab")
def command() -> None:
    """A small clinic on loopback: start it, break it, heal it.

    Example: codeblue lab up && codeblue lab break primary_dead && codeblue lab heal
    """


@command.command()
@_directory
@_json
@click.option(
    "--postgresql-bin-dir",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Use the machine's own PostgreSQL (17 or newer), e.g. /usr/lib/postgresql/18/bin.",
)
def up(directory: Path, as_json: bool, postgresql_bin_dir: Path | None) -> None:
    """Start the clinic; takes a few seconds. One that is up stays as it is.

    Example: codeblue lab up --dir /var/tmp/clinic
    """
    from codeblue.lab import Lab

    result = Lab(directory).up(postgresql_bin_dir)
    if as_json:
        _print_json("lab_up", already=result.already, inventory=str(result.inventory_path), seconds=result.seconds)
        _print_summary()
        return
    if result.already:
        click.echo(f"The lab in {directory} is up already.")
    else:
        click.echo(f"The lab in {directory} is up after {result.seconds:.1f} s.")
    click.echo(f"Inventory: {result.inventory_path}")


@command.command()
@_directory
@_json
@click.option("--keep", is_flag=True, help="Leave the directory with its logs; the next `up` begins anew.")
def down(directory: Path, as_json: bool, keep: bool) -> None:
    """End all processes of the lab and remove its directory.

    Example: codeblue lab down
    """
    from codeblue.lab import Lab

    was_there = Lab(directory).down(keep)
    if as_json:
        _print_json("lab_down", was_there=was_there)
        _print_summary()
    else:
        click.echo(f"The lab in {directory} is gone." if was_there else f"There is no lab in {directory}.")


@command.command()
@_directory
@_json
def status(directory: Path, as_json: bool) -> None:
    """Show programs and versions, ports, processes, who is primary, and the inventory.

    Exits 0 when the lab is up, whatever is broken in it, and 1 when it does not run.

    Example: codeblue lab status --json
    """
    from codeblue.lab import Lab

    found = Lab(directory).status()
    if as_json:
        _print_json("lab_status", **found.as_dict())
        _print_summary(0 if found.running else 1)
    else:
        _print_status(found)
    if not found.running:
        click.get_current_context().exit(1)


@command.command(name="break")
@click.argument("fault")
@_directory
@_json
def break_(fault: str, directory: Path, as_json: bool) -> None:
    """Inject a FAULT; `codeblue lab faults` lists them. Several can be combined.

    Example: codeblue lab break primary_dead
    """
    from codeblue.lab import Lab

    injection = Lab.load(directory).break_(fault)
    if as_json:
        _print_json(
            "lab_break",
            fault=injection.fault,
            already=injection.already,
            struck_at=injection.struck_at,
            struck_monotonic=injection.struck_monotonic,
            facts=injection.facts,
        )
        _print_summary()
    elif injection.already:
        click.echo(f"{fault} is there already.")
    else:
        facts = ", ".join(f"{name} {value}" for name, value in injection.facts.items() if value is not None)
        click.echo(f"{fault} is injected." + (f" ({facts})" if facts else ""))


@command.command()
@_directory
@_json
def heal(directory: Path, as_json: bool) -> None:
    """Undo all faults and bring the clinic to its normal state.

    Example: codeblue lab heal
    """
    from codeblue.lab import Lab

    seconds = Lab.load(directory).heal()
    if as_json:
        _print_json("lab_heal", seconds=seconds)
        _print_summary()
    else:
        click.echo(f"The clinic is in its normal state after {seconds:.1f} s.")


@command.command()
@_json
def faults(as_json: bool) -> None:
    """List the faults that can be injected.

    Example: codeblue lab faults
    """
    from codeblue.lab.faults import all_faults

    for fault in all_faults().values():
        if as_json:
            _print_json("lab_fault", name=fault.name, summary=fault.summary, hits=list(fault.hits))
        else:
            click.echo(f"{fault.name:<28} {fault.summary}")
    if as_json:
        _print_summary()


def _print_summary(exit_code: int = 0) -> None:
    """The promised last line; for errors the command's entry point prints it."""
    _print_json("summary", exit_code=exit_code)


def _print_json(message_type: str, **values: Any) -> None:
    click.echo(json.dumps({"message_type": message_type, **values}))


def _print_status(found: LabStatus) -> None:
    lines = [
        ("directory", found.directory),
        ("state", "running" if found.running else f"not running ({found.phase})"),
        ("inventory", found.inventory),
        ("primary", found.primary or "none, or more than one"),
        ("active faults", ", ".join(found.active_faults) or "none"),
        ("PostgreSQL", _program(found, "postgresql_version", "postgresql_bin_dir") + f", as {found.os_user}"),
        ("HAProxy", _program(found, "haproxy_version", "haproxy")),
        ("Python", found.binaries.get("python", "unknown")),
    ]
    for name, value in lines:
        click.echo(f"{name + ':':<15}{value}")
    _print_section(
        "members",
        {name: each.problem or _member(each.role, each.streams_from_peer) for name, each in found.members.items()},
    )
    _print_section(
        "processes",
        {
            name: f"{each['state']}" + (f" (pid {each['pid']})" if each["pid"] else "")
            for name, each in found.processes.items()
        },
    )
    _print_section(
        "gateway",
        {
            backend: ", ".join(f"{name} {state}" for name, state in servers.items())
            for backend, servers in found.servers.items()
        },
    )
    _print_section("releases", {name: version or "none" for name, version in found.releases.items()})
    _print_section("ports", {name: str(port) for name, port in found.ports.items()})


def _program(found: LabStatus, version: str, path: str) -> str:
    return f"{found.binaries.get(version, 'unknown')} ({found.binaries.get(path, 'unknown')})"


def _member(role: str, streams: bool) -> str:
    return role if role != "standby" else f"standby, {'streams' if streams else 'does not stream'}"


def _print_section(title: str, values: dict[str, str]) -> None:
    if values:
        click.echo(f"{title}:")
        for name, value in values.items():
            click.echo(f"  {name:<20} {value}")
