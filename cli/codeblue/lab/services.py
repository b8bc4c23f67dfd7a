"""The clinic's services on the application machines: their configuration, keys and processes."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError

from codeblue.lab import intrusion
from codeblue.lab.files import make_directory, write_json, write_text
from codeblue.lab.gateway import DATABASE_BACKEND, front_port_name, instance_port_name
from codeblue.lab.keepers import Keepers
from codeblue.lab.layout import (
    APPLICATION_MACHINES,
    BATCH_REPORT_UNIT,
    BILLING_EXPORT_UNIT,
    CRAWLER_UNIT,
    LEAKY_CLIENT_UNIT,
    MACHINES,
    MONITOR_UNIT,
    SERVICES,
    VISITOR_UNIT,
    Layout,
    unit,
)
from codeblue.lab.patient_records import MONITORED
from codeblue.lab.postgresql import DATABASE
from codeblue.lab.secrets import AI_CALLERS
from codeblue.lab.state import LabState
from codeblue.lab.supervisor import Program

# Where the crawler comes from; all of 127.0.0.0/8 is this machine.
CRAWLER_ADDRESS = "127.0.0.77"
# Role of the database for each service that uses it, and how many connections an instance may hold.
DATABASE_USERS = {"auth": ("auth_app", 3), "records": ("records_app", 5)}


class Services:
    """auth, records and ai, two instances each, and the client that leaks."""

    def __init__(self, layout: Layout, state: LabState) -> None:
        self.layout = layout
        self.state = state

    def prepare_machines(self) -> None:
        for machine in MACHINES:
            make_directory(self.layout.lock_dir(machine))
            make_directory(self.layout.log_dir(machine), _keep_mode(self.layout.log_dir(machine)))
        make_directory(self.layout.flags)
        self.write_flags()
        for service in SERVICES:
            for machine in APPLICATION_MACHINES:
                make_directory(self.layout.release_root(machine, service) / "releases")

    def write_flags(self) -> None:
        """The flags as they are in the normal state, with a history that begins now."""
        flags = {"ai_enabled": True}
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        line = json.dumps({"changed_at": now, "flags": flags, "by": "lab"})
        for service in SERVICES:
            write_json(self.layout.flags_file(service), flags)
            write_text(self.layout.flags_history(service), line + "\n")

    def make_signing_keys(self) -> None:
        """One key pair for the clinic: auth signs with it, records verifies."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

        key = Ed25519PrivateKey.generate()
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")
        for machine in APPLICATION_MACHINES:
            write_text(self.layout.machine_secret(machine, "token_signing.pem"), private, 0o600)
            write_text(self.layout.machine_secret(machine, "token_verification.pem"), public, 0o644)

    def write_configs(self) -> None:
        for service in SERVICES:
            for machine in APPLICATION_MACHINES:
                write_json(self.layout.service_config(machine, service), self._config(service, machine))
        make_directory(self.layout.monitor_config.parent)
        write_json(self.layout.monitor_config, self._monitor())
        write_json(self._leaky_client_config, self._database("reporting", "app2", "reporting"))
        make_directory(self._elsewhere)
        Keepers(self.layout).write_configs()
        for name, config in self._slow_clients().items():
            write_json(self._slow_client_config(name), config)

    def programs(self) -> list[Program]:
        services = [self._program(service, machine) for service in SERVICES for machine in APPLICATION_MACHINES]
        leaky_client = Program(
            name=LEAKY_CLIENT_UNIT,
            command=[
                self._python,
                str(Path(__file__).parent / "clinic" / "reporting.py"),
                str(self._leaky_client_config),
            ],
            directory=str(self.layout.machine("app2")),
            log_file=str(self.layout.log_dir("app2") / "reporting.log"),
            autorestart=True,
        )
        monitor = Program(
            name=MONITOR_UNIT,
            command=[
                self._python,
                str(Path(__file__).parent / "clinic" / "monitor.py"),
                str(self.layout.monitor_config),
            ],
            directory=str(self.layout.monitor_config.parent),
            log_file=str(self.layout.monitor_config.parent / "monitor.log"),
            autorestart=True,
        )
        visitor = Program(
            name=VISITOR_UNIT,
            command=[
                self._python,
                str(Path(__file__).parent / "clinic" / "visitor.py"),
                str(self.state.ports[front_port_name("records")]),
            ],
            directory=str(self.layout.monitor_config.parent),
            log_file=str(self.layout.monitor_config.parent / "visitor.log"),
            autorestart=True,
        )
        intruders = intrusion.programs(self.layout, self.state, self._python)
        keepers = Keepers(self.layout).programs(self._python)
        return [*services, monitor, leaky_client, visitor, *intruders, *self._slow_client_programs(), *keepers]

    def _slow_clients(self) -> dict[str, dict[str, Any]]:
        """What makes the clinic slow while a fault runs it; none of it is part of the clinic."""
        return {
            BILLING_EXPORT_UNIT: self._database("billing", "app2", "billing_export"),
            # All on one processor, the last one: a lab has one machine, and the others have to live on.
            BATCH_REPORT_UNIT: {"workers": 55, "processors": [max(os.sched_getaffinity(0))]},
            # Three times as many as the front takes at once.
            CRAWLER_UNIT: {
                "port": self.state.ports[front_port_name("records")],
                "source": CRAWLER_ADDRESS,
                "connections": 190,
                "hold_seconds": 0.75,
            },
        }

    def _slow_client_programs(self) -> list[Program]:
        scripts = {
            BILLING_EXPORT_UNIT: ("billing_export.py", self.layout.machine("app2")),
            BATCH_REPORT_UNIT: ("batch_report.py", self.layout.machine("app1")),
            # Somewhere on the network, on no machine of the clinic.
            CRAWLER_UNIT: ("crawler.py", self._elsewhere),
        }
        return [
            Program(
                name=name,
                command=[
                    self._python,
                    str(Path(__file__).parent / "clinic" / script),
                    str(self._slow_client_config(name)),
                ],
                directory=str(directory),
                log_file=str(self._slow_client_config(name).with_suffix(".log")),
                start_seconds=0,
            )
            for name, (script, directory) in scripts.items()
        ]

    @property
    def _elsewhere(self) -> Path:
        return self.layout.root / "elsewhere"

    def _slow_client_config(self, name: str) -> Path:
        return self._elsewhere / f"{name}.json"

    def _monitor(self) -> dict[str, Any]:
        """What the site's monitoring knows: every instance's machine, port, log and process."""
        return {
            "host": "127.0.0.1",
            "port": self.state.ports[MONITOR_UNIT],
            "root": str(self.layout.root),
            "integrity": {
                "patient_db": {"database": self._database("reporting", "app2", "monitor"), "violations": MONITORED}
            },
            "supervisor_socket": str(self.layout.supervisor_socket),
            "known_networks": [intrusion.KNOWN_NETWORK],
            "instances": {
                service: [
                    {
                        "machine": machine,
                        "unit": unit(service, machine),
                        "port": self.state.ports[instance_port_name(service, machine)],
                        "log_file": str(self.layout.service_log(machine, service)),
                        "access_log": str(self.layout.access_log(machine, service)),
                        "release_root": str(self.layout.release_root(machine, service)),
                    }
                    for machine in APPLICATION_MACHINES
                ]
                for service in SERVICES
            },
            "fronts": {service: self.state.ports[front_port_name(service)] for service in SERVICES},
        }

    def _program(self, service: str, machine: str) -> Program:
        current = self.layout.release_root(machine, service) / "current"
        return Program(
            name=unit(service, machine),
            command=[
                self._python,
                str(current / f"{service}.py"),
                str(self.layout.service_config(machine, service)),
            ],
            directory=str(self.layout.machine(machine)),
            log_file=str(self.layout.log_dir(machine) / f"{service}.stderr.log"),
            autorestart=True,
        )

    @property
    def _python(self) -> str:
        if self.state.binaries is None:
            raise CodeblueError(f"{self.layout.state_file} names no programs", "clean up with: codeblue lab down")
        return self.state.binaries.python

    @property
    def _leaky_client_config(self) -> Path:
        return self.layout.machine("app2") / "reporting.json"

    def _config(self, service: str, machine: str) -> dict[str, Any]:
        config: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": self.state.ports[instance_port_name(service, machine)],
            "log_file": str(self.layout.service_log(machine, service)),
            "flags_file": str(self.layout.flags_file(service)),
        }
        if service in DATABASE_USERS:
            role, pool_size = DATABASE_USERS[service]
            config["database"] = {**self._database(role, machine, unit(service, machine)), "pool_size": pool_size}
        if service == "auth":
            config["signing_key_file"] = str(self.layout.machine_secret(machine, "token_signing.pem"))
        if service in ("auth", "records"):
            config["verification_key_file"] = str(self.layout.machine_secret(machine, "token_verification.pem"))
        if service == "ai":
            config["api_keys"] = {
                caller: str(self.layout.machine_secret(machine, f"ai_accepts_{caller}.keys")) for caller in AI_CALLERS
            }
        if service == "records":
            config["access_log"] = str(self.layout.access_log(machine, service))
            config["ai_key_file"] = str(self.layout.machine_secret(machine, "records_ai.key"))
            config["ai_host"] = "127.0.0.1"
            config["ai_port"] = self.state.ports[front_port_name("ai")]
        return config

    def _database(self, role: str, machine: str, application_name: str) -> dict[str, Any]:
        return {
            "host": "127.0.0.1",
            "port": self.state.ports[front_port_name(DATABASE_BACKEND)],
            "dbname": DATABASE,
            "user": role,
            "password_file": str(self.layout.machine_secret(machine, f"{role}.password")),
            "application_name": application_name,
        }


def _keep_mode(path: Path) -> int:
    """Log directories of the database members are made before, for PostgreSQL's user only."""
    return path.stat().st_mode & 0o777 if path.exists() else 0o755
