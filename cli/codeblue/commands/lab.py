"""codeblue lab: a small clinic on loopback to drill on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from codeblue.lab.layout import default_directory

if TYPE_CHECKING:
    from codeblue.drill.site import DrillFault
    from codeblue.lab import Lab
    from codeblue.lab.aws import AwsLab
    from codeblue.lab.kubernetes import KubernetesLab

    AnyLab = Lab | KubernetesLab | AwsLab

_KUBERNETES = "kubernetes"
_AWS = "aws"
_platform = click.option(
    "--platform",
    type=click.Choice(["host", _KUBERNETES, _AWS]),
    default="host",
    show_default=True,
    help="Processes on this machine, a namespace of a cluster that is marked as a lab, or an account on loopback.",
)
_context = click.option("--context", metavar="NAME", help="Of the kubeconfig; with --platform kubernetes.")
_namespace = click.option(
    "--namespace", metavar="NAME", help="Default: codeblue-lab, or that of the lab in the directory; likewise."
)
_directory = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    show_default="CODEBLUE_LAB_DIR, or below the user's state directory",
    help="The lab's directory.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")


@click.group(name="lab")
def command() -> None:
    """A small clinic on loopback, on a cluster or in an account: start it, break it, heal it.

    \b
    codeblue lab up && codeblue lab break primary_dead && codeblue lab heal
    codeblue lab up --platform kubernetes --context kind-lab
    codeblue lab up --platform aws
    """


def _place(directory: Path | None, platform: str, context: str | None, namespace: str | None) -> Path:
    """The directory of the lab.

    :raises UsageError: an option does not fit the platform.
    """
    if platform == _KUBERNETES:
        from codeblue.lab.kubernetes.layout import default_kubernetes_directory

        return directory or default_kubernetes_directory()
    if context or namespace:
        raise click.UsageError("--context and --namespace go with --platform kubernetes.")
    if platform == _AWS:
        from codeblue.lab.aws.layout import default_aws_directory

        return directory or default_aws_directory()
    return directory or default_directory()


def _load(directory: Path | None, platform: str, context: str | None, namespace: str | None) -> AnyLab:
    """The lab in a directory, which may be down."""
    directory = _place(directory, platform, context, namespace)
    if platform == _KUBERNETES:
        from codeblue.lab.kubernetes import KubernetesLab

        return KubernetesLab(directory, context, namespace)
    if platform == _AWS:
        from codeblue.lab.aws import AwsLab

        return AwsLab(directory)
    from codeblue.lab import Lab

    return Lab(directory)


@command.command()
@_platform
@_context
@_namespace
@_directory
@_json
@click.option(
    "--image",
    metavar="PREFIX",
    help="What stands before auth, records, ai, gateway and patient-db in their images; with --platform kubernetes.",
)
@click.option(
    "--postgresql-bin-dir",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Use the machine's own PostgreSQL (17 or newer), e.g. /usr/lib/postgresql/18/bin.",
)
def up(
    platform: str,
    context: str | None,
    namespace: str | None,
    directory: Path | None,
    as_json: bool,
    image: str | None,
    postgresql_bin_dir: Path | None,
) -> None:
    """Start the clinic; takes a few seconds. One that is up stays as it is.

    \b
    codeblue lab up --dir /var/tmp/clinic
    codeblue lab up --platform kubernetes --context kind-lab --image localhost:5000/clinic
    """
    directory = _place(directory, platform, context, namespace)
    if postgresql_bin_dir is not None and platform != "host":
        raise click.UsageError("--postgresql-bin-dir goes with --platform host.")
    if image is not None and platform != _KUBERNETES:
        raise click.UsageError("--image goes with --platform kubernetes.")
    if platform == _KUBERNETES:
        from codeblue.lab.kubernetes import KubernetesLab

        result = KubernetesLab(directory, context, namespace, image).up()
    elif platform == _AWS:
        from codeblue.lab.aws import AwsLab

        result = AwsLab(directory).up()
    else:
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
@_platform
@_context
@_namespace
@_directory
@_json
@click.option("--keep", is_flag=True, help="Leave the directory with its logs; the next `up` begins anew.")
def down(
    platform: str,
    context: str | None,
    namespace: str | None,
    directory: Path | None,
    as_json: bool,
    keep: bool,
) -> None:
    """End all processes of the lab, or remove its namespace, and remove its directory.

    Example: codeblue lab down
    """
    directory = _place(directory, platform, context, namespace)
    if keep and platform != "host":
        raise click.UsageError("--keep goes with --platform host.")
    if platform == _KUBERNETES:
        from codeblue.lab.kubernetes import KubernetesLab

        was_there = KubernetesLab(directory, context, namespace).down()
    elif platform == _AWS:
        from codeblue.lab.aws import AwsLab

        was_there = AwsLab(directory).down()
    else:
        from codeblue.lab import Lab

        was_there = Lab(directory).down(keep)
    if as_json:
        _print_json("lab_down", was_there=was_there)
        _print_summary()
    else:
        click.echo(f"The lab in {directory} is gone." if was_there else f"There is no lab in {directory}.")


@command.command()
@_platform
@_context
@_namespace
@_directory
@_json
def status(platform: str, context: str | None, namespace: str | None, directory: Path | None, as_json: bool) -> None:
    """Show programs and versions, ports, processes, who is primary, and the inventory.

    Exits 0 when the lab is up, whatever is broken in it, and 1 when it does not run.

    Example: codeblue lab status --json
    """
    found = _load(directory, platform, context, namespace).status()
    if as_json:
        _print_json("lab_status", **found.as_dict())
        _print_summary(0 if found.running else 1)
    else:
        from codeblue.output.lab_status import print_lab_status

        print_lab_status(found)
    if not found.running:
        click.get_current_context().exit(1)


@command.command(name="break")
@click.argument("fault")
@_platform
@_context
@_namespace
@_directory
@_json
def break_(
    fault: str, platform: str, context: str | None, namespace: str | None, directory: Path | None, as_json: bool
) -> None:
    """Inject a FAULT; `codeblue lab faults` lists them. Several can be combined.

    Example: codeblue lab break primary_dead
    """
    lab = _load(directory, platform, context, namespace)
    lab.require_up()
    injection = lab.break_(fault)
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
@_platform
@_context
@_namespace
@_directory
@_json
def heal(platform: str, context: str | None, namespace: str | None, directory: Path | None, as_json: bool) -> None:
    """Undo all faults and bring the clinic to its normal state.

    Example: codeblue lab heal
    """
    lab = _load(directory, platform, context, namespace)
    lab.require_up()
    seconds = lab.heal()
    if as_json:
        _print_json("lab_heal", seconds=seconds)
        _print_summary()
    else:
        click.echo(f"The clinic is in its normal state after {seconds:.1f} s.")


@command.command()
@_platform
@_json
def faults(platform: str, as_json: bool) -> None:
    """List the faults that can be injected.

    Example: codeblue lab faults
    """
    for fault in _faults_of(platform).values():
        if as_json:
            _print_json("lab_fault", name=fault.name, summary=fault.summary, hits=list(fault.hits))
        else:
            click.echo(f"{fault.name:<28} {fault.summary}")
    if as_json:
        _print_summary()


def _faults_of(platform: str) -> Mapping[str, DrillFault]:
    if platform == _KUBERNETES:
        from codeblue.lab.kubernetes.faults import cluster_faults

        return cluster_faults()
    if platform == _AWS:
        from codeblue.lab.aws.faults import aws_faults

        return aws_faults()
    from codeblue.lab.faults import all_faults

    return all_faults()


def _print_summary(exit_code: int = 0) -> None:
    """The promised last line; for errors the command's entry point prints it."""
    _print_json("summary", exit_code=exit_code)


def _print_json(message_type: str, **values: Any) -> None:
    click.echo(json.dumps({"message_type": message_type, **values}))
