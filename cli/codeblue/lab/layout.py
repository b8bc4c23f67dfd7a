"""Where things lie in a lab's one directory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

DATABASE_MEMBERS = ("db1", "db2")
APPLICATION_MACHINES = ("app1", "app2")
GATEWAY_MACHINE = "lb1"
MACHINES = (*DATABASE_MEMBERS, GATEWAY_MACHINE, *APPLICATION_MACHINES)
SERVICES = ("auth", "records", "ai")

# A unix socket's path holds 107 bytes; the longest one here needs 36 behind the directory (HAProxy binds to a
# temporary name first).
LONGEST_DIRECTORY = 70


def default_directory() -> Path:
    """`CODEBLUE_LAB_DIR`, else the user's state directory; for root a place that `nobody` can reach as well."""
    chosen = os.environ.get("CODEBLUE_LAB_DIR")
    if chosen:
        return Path(chosen).expanduser().absolute()
    if os.geteuid() == 0:
        return Path("/var/tmp/codeblue-lab-0")
    state_home = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state_home).expanduser().absolute() / "codeblue" / "lab"


@dataclass(frozen=True)
class Layout:
    """The paths of one lab.

    :param root: the lab's directory, absolute.
    """

    root: Path

    @property
    def state_file(self) -> Path:
        return self.root / "lab.json"

    @property
    def lock_file(self) -> Path:
        """Beside the directory, because `down` removes what is in it."""
        return self.root.with_name(f".{self.root.name}.lock")

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    def secret(self, role: str) -> Path:
        """The lab's own copy of a role's password, which `heal` goes back to."""
        return self.secrets / f"{role}.password"

    @property
    def admin_passfile(self) -> Path:
        return self.secrets / "admin.pgpass"

    @property
    def identity(self) -> Path:
        """The private key that reads snapshots and evidence; production keeps it where neither reaches it."""
        return self.root / "identity" / "recovery.agekey"

    @property
    def recipients(self) -> Path:
        """The public key, for whoever writes."""
        return self.root / "identity" / "recipients"

    def snapshot_dir(self, machine: str) -> Path:
        """Where a machine keeps base backups."""
        return self.machine(machine) / "snapshots"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def supervisor_socket(self) -> Path:
        return self.run / "supervisor.sock"

    @property
    def supervisor_config(self) -> Path:
        return self.root / "supervisord.conf"

    @property
    def supervisor_log(self) -> Path:
        return self.root / "supervisord.log"

    @property
    def gateway_socket(self) -> Path:
        return self.run / "haproxy.sock"

    @property
    def postgresql_sockets(self) -> Path:
        return self.run / "postgresql"

    @property
    def repository(self) -> Path:
        return self.root / "repository"

    @property
    def archive(self) -> Path:
        return self.root / "archive"

    @property
    def tools(self) -> Path:
        return self.root / "bin"

    @property
    def postgresql_copy(self) -> Path:
        """Where the wheel's tree goes when `nobody` cannot reach it in the virtual environment."""
        return self.root / "postgresql"

    @property
    def inventory(self) -> Path:
        return self.root / "inventory" / "hosts.yml"

    @property
    def faults(self) -> Path:
        return self.root / "faults"

    @property
    def flags(self) -> Path:
        return self.root / "flags"

    def flags_file(self, service: str) -> Path:
        return self.flags / f"{service}.json"

    def flags_history(self, service: str) -> Path:
        """Which flags a service had since when."""
        return self.flags / f"{service}.history.jsonl"

    def machine(self, name: str) -> Path:
        return self.root / "machines" / name

    def log_dir(self, machine: str) -> Path:
        return self.machine(machine) / "log"

    def data_dir(self, member: str) -> Path:
        return self.machine(member) / "data"

    def lock_dir(self, machine: str) -> Path:
        return self.machine(machine) / "codeblue"

    @property
    def gateway_config(self) -> Path:
        return self.machine(GATEWAY_MACHINE) / "haproxy.cfg"

    @property
    def blocked_paths(self) -> Path:
        """Paths that the gateway refuses, a pattern file of HAProxy."""
        return self.machine(GATEWAY_MACHINE) / "blocked_paths"

    @property
    def gateway_state_file(self) -> Path:
        return self.machine(GATEWAY_MACHINE) / "haproxy.state"

    def release_root(self, machine: str, service: str) -> Path:
        return self.machine(machine) / service

    def artifacts(self, machine: str) -> Path:
        """The machine's own copies of releases, as they were delivered; nobody runs them."""
        return self.machine(machine) / "artifacts"

    def service_config(self, machine: str, service: str) -> Path:
        return self.release_root(machine, service) / "config.json"

    def service_log(self, machine: str, service: str) -> Path:
        return self.log_dir(machine) / f"{service}.jsonl"

    def access_log(self, machine: str, service: str) -> Path:
        return self.log_dir(machine) / f"{service}.access.jsonl"

    @property
    def refused_sources(self) -> Path:
        """Addresses that the gateway refuses at once; HAProxy reads it as a pattern file."""
        return self.machine(GATEWAY_MACHINE) / "refused_sources"

    @property
    def monitor_config(self) -> Path:
        return self.root / "monitor" / "config.json"

    @property
    def authority_key(self) -> Path:
        """The key of the clinic's certificate authority; on the controller."""
        return self.root / "authority" / "authority.key"

    @property
    def authority_certificate(self) -> Path:
        return self.root / "authority" / "authority.pem"

    @property
    def login_certificate(self) -> Path:
        """Certificate and key that the gateway shows where people log in."""
        return self.machine(GATEWAY_MACHINE) / "certificates" / "login.pem"

    def machine_secret(self, machine: str, name: str) -> Path:
        """A consumer's own copy of a secret, which a rotation writes to."""
        return self.machine(machine) / "secrets" / name


def unit(service: str, machine: str) -> str:
    """The name of a process under supervisord."""
    return f"{service}-{machine}"


def postgres_unit(member: str) -> str:
    return unit("postgres", member)


GATEWAY_UNIT = unit("haproxy", GATEWAY_MACHINE)
LEAKY_CLIENT_UNIT = unit("reporting", "app2")
MONITOR_UNIT = "monitor"
VISITOR_UNIT = "visitor"
COLLECTOR_UNIT = "collector"
INTRUDER_UNIT = "intruder"
BILLING_EXPORT_UNIT = unit("billing_export", "app2")
BATCH_REPORT_UNIT = unit("batch_report", "app1")
CRAWLER_UNIT = "crawler"
FILE_KEEPER_UNIT = "file_keeper"
UNIT_KEEPER_UNIT = "unit_keeper"
# Run only while a fault has started them.
FAULT_UNITS: tuple[str, ...] = (
    LEAKY_CLIENT_UNIT,
    VISITOR_UNIT,
    FILE_KEEPER_UNIT,
    UNIT_KEEPER_UNIT,
    COLLECTOR_UNIT,
    INTRUDER_UNIT,
    BILLING_EXPORT_UNIT,
    BATCH_REPORT_UNIT,
    CRAWLER_UNIT,
)
