"""codeblue snapshot: take, verify, prove, look up and restore snapshots."""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from pathlib import Path

import click
from codeblue.runner.options import inventory_option, json_option, make_request, run_request

_F = t.TypeVar("_F", bound=Callable[..., t.Any])

_identity_option = click.option(
    "--identity",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The age identity that reads the snapshot. It is read here and copied nowhere.",
)
_plan_option = click.option("--plan", "plan", is_flag=True, help="Say what would be done, and do nothing.")
_service_option = click.option("--service", metavar="NAME", help="Only those of this service.")
_store_option = click.option(
    "--store",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The store on this controller. Default: what the catalog says, else $XDG_STATE_HOME/codeblue/snapshots.",
)


def _runner_options(function: _F) -> _F:
    """What the commands that run a play share."""
    for option in (
        json_option,
        click.option("-v", "--verbose", "verbosity", count=True, help="Show more; -vvv shows connections."),
        click.option("--pass-env", multiple=True, metavar="NAME", help="As for codeblue run."),
        click.option("-e", "--extra-vars", "extra_vars", multiple=True, metavar="VARS", help="As for codeblue run."),
        click.option("--limit", metavar="PATTERN", help="Only these services."),
        inventory_option,
        _plan_option,
    ):
        function = option(function)
    return function


@click.group(name="snapshot")
def command() -> None:
    """Snapshots: of services, their configuration, releases, flags and databases.

    \b
    codeblue snapshot create -i production.yml --limit patient_db
    codeblue snapshot verify -i production.yml --identity /media/safe/recovery.agekey
    codeblue snapshot prove -i production.yml --limit patient_db
    codeblue snapshot restore 01K9Z5V6A8T7Q2N4M3R1C0X9YB --to /tmp/looked-at --identity /media/safe/recovery.agekey
    """


@command.command()
@click.option(
    "--kind",
    type=click.Choice(["scheduled", "on_demand", "pre_deployment", "emergency"]),
    default="on_demand",
    show_default=True,
    help="What it is taken for, for the catalog.",
)
@click.option("--full", is_flag=True, help="Take full base backups, also where an incremental one is possible.")
@_runner_options
def create(kind: str, full: bool, plan: bool, as_json: bool, **options: t.Any) -> int:
    """Take a snapshot of each service.

    Example: codeblue snapshot create -i production.yml --kind pre_deployment
    """
    settings = {"codeblue_snapshot_kind": kind, **({"codeblue_snapshot_backup_kind": "full"} if full else {})}
    return _run("snapshot_services", plan, as_json, settings, options)


@command.command()
@click.argument("snapshot", required=False)
@_identity_option
@_runner_options
def verify(snapshot: str | None, identity: Path | None, plan: bool, as_json: bool, **options: t.Any) -> int:
    """Read snapshots back, every byte of them; damage is named and ends with 1.

    SNAPSHOT is an id of `codeblue snapshot list`; without it the newest of each service is read.

    Example: codeblue snapshot verify -i production.yml --identity /media/safe/recovery.agekey
    """
    return _run("snapshot_verification", plan, as_json, _of(snapshot, identity, options), options)


@command.command()
@click.argument("snapshot", required=False)
@_identity_option
@_runner_options
def prove(snapshot: str | None, identity: Path | None, plan: bool, as_json: bool, **options: t.Any) -> int:
    """Restore snapshots into a place of their own, count what is there, and remove them.

    A database is restored on the machine that has the backup; files need an identity and are restored here.

    Example: codeblue snapshot prove -i production.yml --limit patient_db
    """
    return _run("snapshot_proof", plan, as_json, _of(snapshot, identity, options), options)


@command.command(name="list")
@_service_option
@json_option
def list_(service: str | None, as_json: bool) -> None:
    """List the catalog, the latest snapshot first.

    Example: codeblue snapshot list --service patient_db
    """
    from codeblue.snapshots.show import show_list

    show_list(service, as_json)


@command.command()
@click.argument("snapshot")
@_identity_option
@json_option
def show(snapshot: str, identity: Path | None, as_json: bool) -> None:
    """Show one snapshot; with an identity also the files in it.

    Example: codeblue snapshot show 01K9Z5V6A8T7Q2N4M3R1C0X9YB
    """
    from codeblue.snapshots.show import show_one

    show_one(snapshot, identity, as_json)


@command.command()
@click.argument("snapshot")
@click.argument("paths", nargs=-1)
@click.option(
    "--to", "destination", type=click.Path(path_type=Path), required=True, help="A missing or empty directory."
)
@click.option(
    "--level",
    type=click.Choice(["database", "code", "configuration", "data", "infrastructure", "objects"]),
    help="Which part. May be left out when the snapshot has only one.",
)
@click.option(
    "--identity",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="The age identity that reads the snapshot. It is read here and copied nowhere.",
)
@_store_option
@json_option
def restore(
    snapshot: str,
    paths: tuple[str, ...],
    destination: Path,
    level: str | None,
    identity: Path,
    store: Path | None,
    as_json: bool,
) -> None:
    """Restore files of a snapshot into a directory of this controller, never in place.

    PATHS are paths in the snapshot as `codeblue snapshot show --identity` prints them; without any all of the level
    is restored. With --store it works without the catalog. A damaged snapshot is refused and nothing is touched.

    Example: codeblue snapshot restore 01K9Z5V6A8T7Q2N4M3R1C0X9YB --level configuration --to /tmp/was --identity KEY
    """
    from codeblue.snapshots.restore import restore as restore_files

    restore_files(snapshot, paths, destination, level, identity, store, as_json)


@command.command()
@click.option("--newest", type=click.IntRange(1, 10000), default=10, show_default=True, help="So many stay.")
@click.option("--days", type=click.FloatRange(0), default=30.0, show_default=True, help="Younger ones stay.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@_store_option
@json_option
def prune(newest: int, days: float, dry_run: bool, store: Path | None, as_json: bool) -> None:
    """Remove from the store what retention does not keep. The last proven snapshot of a service always stays.

    Base backups on their machines are left there, and named; see prune-machines.

    Example: codeblue snapshot prune --dry-run
    """
    from codeblue.snapshots.prune import prune as prune_store

    prune_store(newest, days, dry_run, store, as_json)


@command.command()
@click.argument("snapshot", required=False)
@click.option("--to", "place", type=click.Path(path_type=Path), required=True, help="A copy, or a new directory.")
@_store_option
@json_option
def copy(snapshot: str | None, place: Path, store: Path | None, as_json: bool) -> None:
    """Copy snapshots of the store into another place, with all that they are built upon.

    SNAPSHOT is an id; without it all that the copy lacks are copied. No key is needed: pieces are copied encrypted,
    read back there and compared. What is damaged is not copied, is named, and ends with 1. A copy is a store of its
    own, which restore reads with --store.

    Example: codeblue snapshot copy --to /mnt/second-site/snapshots
    """
    from codeblue.snapshots.copy import copy as copy_to

    copy_to(snapshot, place, store, as_json)


@command.command(name="prune-machines")
@click.option("--newest", type=click.IntRange(1, 10000), default=10, show_default=True, help="So many stay.")
@click.option("--days", type=click.FloatRange(0), default=30.0, show_default=True, help="Younger ones stay.")
@_runner_options
def prune_machines(newest: int, days: float, plan: bool, as_json: bool, **options: t.Any) -> int:
    """Remove base backups from the machines of databases that retention does not keep.

    What a kept backup is built upon stays, the last proven one too. Archived log that no kept backup needs goes where
    the inventory says archive_pruned_by: codeblue.

    Example: codeblue snapshot prune-machines -i production.yml --plan
    """
    settings = {"codeblue_snapshot_keep_newest": newest, "codeblue_snapshot_keep_days": days}
    return _run("snapshot_retention", plan, as_json, settings, options)


@command.command()
@click.option(
    "--recipient", "recipients", multiple=True, required=True, metavar="KEY", help="age1…, or a file of them."
)
@click.option("--append-only", is_flag=True, help="This program never removes anything from it.")
@_store_option
def init(recipients: tuple[str, ...], append_only: bool, store: Path | None) -> None:
    """Make a store. `create` makes one by itself; this is for one that is append-only.

    Example: codeblue snapshot init --store /srv/snapshots --recipient age1… --append-only
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store import ContentStore
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_places import store_directory

    made = ContentStore.init(store or store_directory(None), recipients, append_only=append_only)
    click.echo(f"{made.path} is a snapshot store; set codeblue_snapshot_store to it")


def _run(operation: str, plan: bool, as_json: bool, settings: dict[str, t.Any], options: dict[str, t.Any]) -> int:
    return run_request(make_request("plan" if plan else "run", operation, settings=settings, **options), as_json)


def _of(snapshot: str | None, identity: Path | None, options: dict[str, t.Any]) -> dict[str, t.Any]:
    """Settings for one snapshot; its service becomes the target."""
    settings: dict[str, t.Any] = {}
    if identity is not None:
        settings["codeblue_snapshot_identity"] = str(identity.expanduser().absolute())
    if snapshot is not None:
        from codeblue.snapshots.catalog import find_snapshot

        settings["codeblue_snapshot_id"] = snapshot
        options["limit"] = options.get("limit") or find_snapshot(snapshot).target
    return settings
