"""What lies between the empty directory of a lab and its running processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from codeblue.lab.authority import Authority
from codeblue.lab.database import create_database
from codeblue.lab.gateway import FRONTS, LOGIN_PORT_NAME, front_port_name, instance_port_name
from codeblue.lab.inventory import Inventory
from codeblue.lab.layout import (
    APPLICATION_MACHINES,
    DATABASE_MEMBERS,
    GATEWAY_UNIT,
    MONITOR_UNIT,
    SERVICES,
    postgres_unit,
    unit,
)
from codeblue.lab.parts import Parts
from codeblue.lab.ports import choose_ports
from codeblue.lab.postgresql import PORT_NAMES
from codeblue.lab.releases import GOOD, GOOD_PREVIOUS
from codeblue.lab.secrets import make_identity, make_secrets


def build(parts: Parts, launch_supervisord: Callable[[], None]) -> None:
    """Everything between empty directories and running processes, in parallel where it does not depend."""
    layout, postgresql = parts.layout, parts.postgresql
    previous_umask = os.umask(0o022)
    try:
        for directory in (layout.run, layout.faults):
            directory.mkdir()
        make_secrets(layout, postgresql.owner)
        make_identity(layout)
        postgresql.prepare_machines()
        parts.services.prepare_machines()
        parts.services.make_signing_keys()
        Authority(layout).make()
        parts.services.write_configs()
        parts.gateway.write_config()
        Inventory(layout, parts.state).write()
        with ThreadPoolExecutor(3, thread_name_prefix="lab") as executor:
            released = executor.submit(_release, parts)
            initialised = executor.submit(postgresql.initialise, DATABASE_MEMBERS[0])
            launch_supervisord()
            parts.supervisor.start(GATEWAY_UNIT, MONITOR_UNIT)
            initialised.result()
            _start_database(parts)
            released.result()
            parts.supervisor.start(
                *(unit(service, machine) for service in SERVICES for machine in APPLICATION_MACHINES)
            )
            _start_standby(parts)
        parts.gateway.wait_up({}, 5.0)
        parts.gateway.restore_normal_state()
    finally:
        os.umask(previous_umask)


def _release(parts: Parts) -> None:
    parts.configuration.keep_as_base()
    parts.migrations.install()
    parts.releases.make_repository()
    for version in (GOOD_PREVIOUS, GOOD):
        parts.releases.deploy_all(version)
    parts.releases.keep_as_base()


def _start_database(parts: Parts) -> None:
    primary = DATABASE_MEMBERS[0]
    parts.supervisor.start(postgres_unit(primary))
    parts.postgresql.wait_for_role(primary, "primary")
    create_database(parts.postgresql, primary)


def _start_standby(parts: Parts) -> None:
    standby = DATABASE_MEMBERS[1]
    parts.postgresql.copy_from_primary(standby)
    parts.supervisor.start(postgres_unit(standby))
    parts.postgresql.wait_for_role(standby, "standby")


def choose_lab_ports(owner: Path) -> dict[str, int]:
    """A free port for everything that listens, by name."""
    instances = [instance_port_name(service, machine) for service in SERVICES for machine in APPLICATION_MACHINES]
    return choose_ports(
        [
            *PORT_NAMES.values(),
            *(front_port_name(front) for front in FRONTS),
            *instances,
            LOGIN_PORT_NAME,
            MONITOR_UNIT,
        ],
        owner,
    )
