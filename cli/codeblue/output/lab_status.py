"""How `codeblue lab status` says to people how a lab is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from codeblue.lab.aws.status import AwsLabStatus
    from codeblue.lab.kubernetes.status import KubernetesLabStatus
    from codeblue.lab.status import LabStatus


def print_lab_status(found: LabStatus | KubernetesLabStatus | AwsLabStatus) -> None:
    """Print the status of any lab."""
    from codeblue.lab.aws.status import AwsLabStatus
    from codeblue.lab.kubernetes.status import KubernetesLabStatus

    if isinstance(found, AwsLabStatus):
        _print_aws_status(found)
        return
    if not isinstance(found, KubernetesLabStatus):
        _print_status(found)
        return
    lines = [
        ("directory", found.directory),
        ("state", "up" if found.running else f"not up ({found.phase})"),
        ("inventory", found.inventory),
        ("context", found.context or "the account of this pod"),
        ("namespace", found.namespace),
        ("images", f"{found.image}/…"),
        ("kubelets", "real" if found.kubelets else "none: what runs in pods is simulated"),
        ("active faults", ", ".join(found.active_faults) or "none"),
        ("changed", "; ".join(found.changed) or "nothing"),
    ]
    for name, value in lines:
        click.echo(f"{name + ':':<15}{value}")
    _print_section("services", found.services)


def _print_aws_status(found: AwsLabStatus) -> None:
    lines = [
        ("directory", found.directory),
        ("state", "up" if found.running else f"not up ({found.phase})"),
        ("inventory", found.inventory),
        ("environment", f". {found.environment}"),
        ("edge", found.edge),
        ("calls", found.calls),
        ("played by", ", ".join(f"{name} {version}" for name, version in found.versions.items())),
        ("simulated", ", ".join(found.simulated)),
        ("active faults", ", ".join(found.active_faults) or "none"),
    ]
    for name, value in lines:
        click.echo(f"{name + ':':<15}{value}")
    _print_section(
        "regions",
        {
            region: f"{url}, its balancer {found.fronts[region]}"
            + (", closed" if region in found.closed_regions else "")
            for region, url in found.endpoints.items()
        },
    )
    _print_section("services", found.services)


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
