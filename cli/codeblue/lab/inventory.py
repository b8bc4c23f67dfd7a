"""The lab's inventory: the same shape as a production one, with loopback addresses and local connections."""

from __future__ import annotations

from typing import Any

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError

from codeblue.lab.authority import LOGIN_NAMES
from codeblue.lab.configuration import Configuration
from codeblue.lab.files import make_directory, write_text
from codeblue.lab.gateway import (
    DATABASE_BACKEND,
    FRONTS,
    front_port_name,
    instance_port_name,
)
from codeblue.lab.intrusion import KNOWN_NETWORK
from codeblue.lab.inventory_checks import CHECK_PACE, ServiceChecks
from codeblue.lab.keepers import MACHINE as KEEPERS_MACHINE
from codeblue.lab.keepers import Keepers
from codeblue.lab.layout import (
    APPLICATION_MACHINES,
    DATABASE_MEMBERS,
    GATEWAY_MACHINE,
    GATEWAY_UNIT,
    MACHINES,
    Layout,
    postgres_unit,
    unit,
)
from codeblue.lab.migrations import MACHINE, NEEDS_FILE, SchemaMigrations
from codeblue.lab.patient_records import INTEGRITY_RULES
from codeblue.lab.postgresql import DATABASE, PORT_NAMES
from codeblue.lab.secrets import ALTERNATES, CONSUMED_CONTENT
from codeblue.lab.services import DATABASE_USERS
from codeblue.lab.state import LabState

_HEADER = "# Written by `codeblue lab up`; gone with `codeblue lab down`. Holds references to secrets, never secrets.\n"


class Inventory:
    """Writes `inventory/hosts.yml` of one lab."""

    def __init__(self, layout: Layout, state: LabState) -> None:
        self.layout = layout
        self.state = state
        self._checks = ServiceChecks(layout, state)

    def write(self) -> None:
        import yaml

        make_directory(self.layout.inventory.parent)
        write_text(self.layout.inventory, _HEADER + yaml.safe_dump(self.content(), sort_keys=False, width=120))

    def content(self) -> dict[str, Any]:
        recipient = self.layout.recipients.read_text(encoding="utf-8").strip()
        services = {
            "codeblue_databases": {"patient_db": self._patient_db()},
            "codeblue_gateways": {"gateway": self._gateway()},
            "codeblue_auth_services": {"auth": self._service("auth", "auth", 1, ["patient_db", "gateway"])},
            "codeblue_application_services": {
                "records": self._service("records", "service", 2, ["patient_db", "gateway", "auth"])
            },
            "codeblue_ai_services": {"ai": self._service("ai", "ai", 3, ["gateway"])},
        }
        return {
            "all": {
                "vars": {
                    "codeblue_environment": "lab",
                    "codeblue_snapshot_recipients": [recipient],
                    "codeblue_evidence_recipients": [recipient],
                },
                "children": {
                    "codeblue_machines": {
                        "vars": {
                            "ansible_connection": "local",
                            "ansible_python_interpreter": self._binaries().python,
                        },
                        "hosts": {
                            machine: {
                                "codeblue_lock_dir": str(self.layout.lock_dir(machine)),
                                **(
                                    {"codeblue_snapshot_directory": str(self.layout.snapshot_dir(machine))}
                                    if machine in DATABASE_MEMBERS
                                    else {}
                                ),
                                **(
                                    {"codeblue_reconcilers": Keepers(self.layout).inventory()}
                                    if machine == KEEPERS_MACHINE
                                    else {}
                                ),
                            }
                            for machine in MACHINES
                        },
                    },
                    "codeblue_services": {
                        "children": {group: {"hosts": hosts} for group, hosts in services.items()},
                    },
                },
            }
        }

    def _patient_db(self) -> dict[str, Any]:
        address = {"address": "127.0.0.1", "port": self._front(DATABASE_BACKEND)}
        session = {
            "type": "postgresql",
            **address,
            "database": DATABASE,
            "user": "sentinel",
            "password_from": f"file:{self.layout.secret('sentinel')}",
            "sslmode": "disable",
            "timeout": "1s",
        }
        write = (
            "INSERT INTO codeblue_check VALUES (1, clock_timestamp())"
            " ON CONFLICT (id) DO UPDATE SET checked_at = excluded.checked_at RETURNING checked_at"
        )
        return {
            "codeblue_platform": "host",
            "codeblue_kind": "database",
            "codeblue_tier": 0,
            "codeblue_depends_on": [],
            "codeblue_objectives": {"rto": "5m", "rpo": "5m"},
            "codeblue_snapshot_queries": {"sentinels": "SELECT count(*) FROM codeblue_sentinel"},
            "codeblue_host": {
                "postgresql": self._postgresql(),
                "gateway": self._backend(DATABASE_BACKEND, DATABASE_MEMBERS),
                "credentials": {
                    role: {
                        "alternate": ALTERNATES[role],
                        "content": CONSUMED_CONTENT,
                        "consumers": [self._consumer(service, role, machine) for machine in APPLICATION_MACHINES],
                    }
                    for service, (role, _) in DATABASE_USERS.items()
                },
            },
            "codeblue_checks": {
                **CHECK_PACE,
                "shallow": [{"id": "tcp", "type": "tcp", **address, "timeout": "1s"}],
                "deep": [
                    {"id": "read", **session, "query": "SELECT count(*) FROM codeblue_check"},
                    {"id": "write", **session, "query": write, "writes": True},
                ],
                "comprehensive": [
                    {"id": "sentinels", **session, "query": "SELECT count(*), max(n) FROM codeblue_sentinel"},
                ],
                "signals": [self._checks.signal("record_integrity", "patient_db", "integrity")],
                "thresholds": {"response": "500ms", "error_rate": 0.001, "p95_floor": "250ms"},
            },
        }

    def _postgresql(self) -> dict[str, Any]:
        return {
            "bin_dir": self._binaries().postgresql_bin_dir,
            "os_user": self.state.os_user,
            "database": DATABASE,
            "admin_user": "postgres",
            "admin_passfile": str(self.layout.admin_passfile),
            "socket_dir": str(self.layout.postgresql_sockets),
            "service_roles": [*ALTERNATES, *ALTERNATES.values(), "sentinel"],
            "archive_dir": str(self.layout.archive),
            "replication_user": "replicator",
            "write_paths": ["gateway"],
            "integrity": INTEGRITY_RULES,
            "migrations": self._migrations(),
            "members": {
                member: {
                    "role": "primary" if member == DATABASE_MEMBERS[0] else "standby",
                    "address": "127.0.0.1",
                    "port": self.state.ports[PORT_NAMES[member]],
                    "data_dir": str(self.layout.data_dir(member)),
                    "process": self._process(postgres_unit(member)),
                }
                for member in DATABASE_MEMBERS
            },
        }

    def _gateway(self) -> dict[str, Any]:
        return {
            "codeblue_platform": "host",
            "codeblue_kind": "gateway",
            "codeblue_tier": 0,
            "codeblue_depends_on": [],
            "codeblue_objectives": {"rto": "5m", "rpo": "0s"},
            "codeblue_host": {
                "instances": {
                    GATEWAY_MACHINE: {
                        "address": "127.0.0.1",
                        "port": self._front(DATABASE_BACKEND),
                        "process": self._process(GATEWAY_UNIT),
                        "config_files": [str(self.layout.gateway_config), str(self.layout.gateway_state_file)],
                        "log_files": [str(self.layout.log_dir(GATEWAY_MACHINE) / "haproxy.log")],
                    }
                }
            },
            "codeblue_checks": {
                **CHECK_PACE,
                "shallow": [
                    {
                        "id": f"tcp_{backend}",
                        "type": "tcp",
                        "address": "127.0.0.1",
                        "port": self._front(backend),
                        "timeout": "1s",
                    }
                    for backend in FRONTS
                ],
                "deep": [],
                "comprehensive": [],
            },
        }

    def _service(self, name: str, kind: str, tier: int, depends_on: list[str]) -> dict[str, Any]:
        return {
            "codeblue_platform": "host",
            "codeblue_kind": kind,
            "codeblue_tier": tier,
            "codeblue_depends_on": depends_on,
            "codeblue_objectives": {"rto": "15m", "rpo": "5m"},
            "codeblue_host": {
                "instances": {machine: self._instance(name, machine) for machine in APPLICATION_MACHINES},
                "gateway": {
                    **self._backend(name, APPLICATION_MACHINES),
                    "refused_sources_file": str(self.layout.refused_sources),
                },
                "flags_file": str(self.layout.flags_file(name)),
                "flags": [self._flags(name)],
                **({"features": {"triage": self._triage()}} if name == "ai" else {}),
                "isolation": self._isolation(name),
                **({"session_keys": self._session_keys()} if name == "auth" else {}),
                **({"api_keys": {"records": self._records_ai_key()}} if name == "ai" else {}),
                **({"certificates": {"login": self._login_certificate()}} if name == "auth" else {}),
            },
            **({"codeblue_phi": self._phi()} if name == "records" else {}),
            # What people's requests come to; ten make a rate, as in production.
            "codeblue_metrics": {"gateway": {"minimum_requests": 10}},
            "codeblue_checks": self._checks.of_service(name),
        }

    def _login_certificate(self) -> dict[str, Any]:
        return {
            "machine": GATEWAY_MACHINE,
            "socket": str(self.layout.gateway_socket),
            "file": str(self.layout.login_certificate),
            "names": list(LOGIN_NAMES),
            "issuer_key_from": f"file:{self.layout.authority_key}",
            "issuer_certificate_from": f"file:{self.layout.authority_certificate}",
        }

    def _session_keys(self) -> dict[str, Any]:
        """auth signs with the private key, records verifies with the public one."""

        def consumers(service: str, file: str) -> list[dict[str, Any]]:
            return [{**self._holder(service, file, machine), "reload": "restart"} for machine in APPLICATION_MACHINES]

        return {
            "signing": consumers("auth", "token_signing.pem"),
            "verification": [
                *consumers("auth", "token_verification.pem"),
                *consumers("records", "token_verification.pem"),
            ],
            "token_lifetime": "15m",
            "verify_url": f"http://127.0.0.1:{self._front('auth')}/verify",
            "use_urls": [
                f"http://127.0.0.1:{self.state.ports[instance_port_name('records', machine)]}/records/1"
                for machine in APPLICATION_MACHINES
            ],
        }

    def _records_ai_key(self) -> dict[str, Any]:
        """What records calls ai with. ai reads the keys that it accepts anew for each request."""
        return {
            "header": "X-Api-Key",
            "accepted_by": [
                {**self._holder("ai", "ai_accepts_records.keys", machine), "reload": "none"}
                for machine in APPLICATION_MACHINES
            ],
            "used_by": [
                {**self._holder("records", "records_ai.key", machine), "reload": "restart"}
                for machine in APPLICATION_MACHINES
            ],
            "check_urls": [
                f"http://127.0.0.1:{self.state.ports[instance_port_name('ai', machine)]}/caller"
                for machine in APPLICATION_MACHINES
            ],
        }

    def _holder(self, service: str, file: str, machine: str) -> dict[str, Any]:
        return {
            "machine": machine,
            "secret_file": str(self.layout.machine_secret(machine, file)),
            "process": self._process(unit(service, machine)),
        }

    def _isolation(self, service: str) -> dict[str, Any]:
        """With whom a service may speak. Operators of a lab come in by no network at all."""
        logs = {machine: str(self.layout.access_log(machine, service)) for machine in APPLICATION_MACHINES}
        return {"known_networks": [KNOWN_NETWORK], **({"access_logs": logs} if service == "records" else {})}

    def _phi(self) -> dict[str, Any]:
        """What is about patients at records, and whose duty it is."""
        return {
            "identifiers": {"patient_ref": r"\bsynthetic-[0-9]{4}\b"},
            "fields": {"note": "clinical_text"},
            "refused_requests": ["/records/1"],
            "access_logs": {
                machine: [str(self.layout.access_log(machine, "records"))] for machine in APPLICATION_MACHINES
            },
            "blocked_paths_file": str(self.layout.blocked_paths),
            "organisation": "Example Clinic",
            "contact": {"telephone": "the number in the lab's handbook", "email": "privacy@clinic.invalid"},
            "state": "NY",
            "time_zone": "America/New_York",
        }

    def _instance(self, service: str, machine: str) -> dict[str, Any]:
        return {
            "address": "127.0.0.1",
            "port": self.state.ports[instance_port_name(service, machine)],
            "process": self._process(unit(service, machine)),
            "release_root": str(self.layout.release_root(machine, service)),
            "config_repository": Configuration(self.layout).repository(machine),
            "config_files": [str(self.layout.service_config(machine, service)), str(self.layout.flags_file(service))],
            "log_files": [str(self.layout.service_log(machine, service))],
            "release_copies": [str(self.layout.artifacts(machine))],
            # All machines of the lab are one.
            "processes_below": str(self.layout.machine(machine)),
        }

    def _triage(self) -> dict[str, Any]:
        """What records uses of ai, and can do without."""
        return {
            "used_by": "records",
            "enabled": "ai_enabled",
            "share": "ai_share",
            # All instances of the lab read one file; a file that machines share is named once.
            "places": [self._flags("records")],
        }

    def _flags(self, service: str) -> dict[str, Any]:
        history = {"file": str(self.layout.flags_history(service))}
        return {
            "machine": APPLICATION_MACHINES[0],
            "file": str(self.layout.flags_file(service)),
            "history": history,
        }

    def _migrations(self) -> dict[str, Any]:
        tool = SchemaMigrations(self.layout, self.state)
        return {
            "machine": MACHINE,
            "status_command": tool.command("status"),
            "down_command": tool.command("down", "{version}"),
            "up_command": tool.command("up", "{version}"),
            "used_by": list(DATABASE_USERS),
            "needs_file": NEEDS_FILE,
            "lock_timeout": "2s",
            "statement_timeout": "5s",
            "timeout": "15s",
        }

    def _consumer(self, service: str, role: str, machine: str) -> dict[str, Any]:
        return {**self._holder(service, f"{role}.password", machine), "reload": "restart"}

    def _backend(self, backend: str, servers: tuple[str, ...]) -> dict[str, Any]:
        return {
            "machine": GATEWAY_MACHINE,
            "socket": str(self.layout.gateway_socket),
            "state_file": str(self.layout.gateway_state_file),
            "backend": backend,
            "servers": {server: server for server in servers},
        }

    def _process(self, name: str) -> dict[str, str]:
        return {"manager": "supervisor", "socket": str(self.layout.supervisor_socket), "unit": name}

    def _front(self, backend: str) -> int:
        return self.state.ports[front_port_name(backend)]

    def _binaries(self) -> Any:
        if self.state.binaries is None:
            raise CodeblueError(f"{self.layout.state_file} names no programs", "clean up with: codeblue lab down")
        return self.state.binaries
