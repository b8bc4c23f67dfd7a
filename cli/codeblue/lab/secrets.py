"""The lab's random passwords, each in a file of its own with mode 0600."""

from __future__ import annotations

import secrets
from pathlib import Path

from codeblue.lab.files import make_directory, write_text
from codeblue.lab.layout import APPLICATION_MACHINES, Layout

# Roles of the database; the services' ones have a copy on each machine that uses them.
DATABASE_ROLES = ("postgres", "replicator", "records_app", "auth_app", "sentinel", "reporting", "billing")
CONSUMED_ROLES = ("records_app", "auth_app")
# The second login of each consumed role: a planned rotation goes from one to the other and back.
ALTERNATES = {role: f"{role}_2" for role in CONSUMED_ROLES}
# What a consumer's file holds, as libpq takes it: which login, and its password, replaced together.
CONSUMED_CONTENT = "user={role} password={password}"
# Who may call ai, by the name of the key's file; records is a service, the other is the clinic's monitoring.
AI_CALLERS = ("records", "monitoring")
# The account of the clinic that monitoring logs in with.
PROBE_ACCOUNT = "probe"
# The API key that monitoring calls ai with.
MONITORING_KEY = "monitoring_ai_key"


def new_password() -> str:
    """256 bits, without characters that a pgpass file would need escaped."""
    return secrets.token_urlsafe(32)


def read_secret(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip()


def write_secret(path: Path, value: str, owner: tuple[int, int] | None = None) -> None:
    write_text(path, value + "\n", 0o600, owner)


def make_secrets(layout: Layout, postgresql_owner: tuple[int, int] | None) -> None:
    """Make every password and give each consumer its copy.

    :param postgresql_owner: who must be able to read the passfile with which members replicate.
    """
    make_directory(layout.secrets, 0o711)
    for role in (*DATABASE_ROLES, PROBE_ACCOUNT, MONITORING_KEY):
        write_secret(layout.secret(role), new_password())
    lines = [f"*:*:*:{role}:{read_secret(layout.secret(role))}" for role in ("postgres", "replicator")]
    write_secret(layout.admin_passfile, "\n".join(lines), postgresql_owner)
    for machine in APPLICATION_MACHINES:
        make_directory(layout.machine(machine) / "secrets", 0o700)
    copy_to_consumers(layout)
    make_api_keys(layout)
    for role in ("reporting", "billing"):
        write_secret(layout.machine_secret("app2", f"{role}.password"), read_secret(layout.secret(role)))


def make_api_keys(layout: Layout) -> None:
    """One key for each caller of ai: in the file that ai accepts it from and, for records, in its own."""
    keys = {"records": new_password(), "monitoring": read_secret(layout.secret(MONITORING_KEY))}
    for machine in APPLICATION_MACHINES:
        for caller in AI_CALLERS:
            write_secret(layout.machine_secret(machine, f"ai_accepts_{caller}.keys"), keys[caller])
        write_secret(layout.machine_secret(machine, "records_ai.key"), keys["records"])


def make_identity(layout: Layout) -> None:
    """Make the age key pair for snapshots and evidence, outside of the machines' directories."""
    import pyrage

    identity = pyrage.x25519.Identity.generate()
    make_directory(layout.identity.parent, 0o700)
    write_text(layout.identity, f"{identity}\n", 0o600)
    write_text(layout.recipients, f"{identity.to_public()}\n", 0o644)


def copy_to_consumers(layout: Layout) -> list[str]:
    """Give every consumer the lab's own passwords again; returns the roles whose copies differed."""
    changed: list[str] = []
    for role in CONSUMED_ROLES:
        value = CONSUMED_CONTENT.format(role=role, password=read_secret(layout.secret(role)))
        for machine in APPLICATION_MACHINES:
            copy = layout.machine_secret(machine, f"{role}.password")
            if not copy.exists() or read_secret(copy) != value:
                write_secret(copy, value)
                if role not in changed:
                    changed.append(role)
    return changed
