"""The clinic's database: roles, tables and synthetic records."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from codeblue.lab.layout import Layout
from codeblue.lab.patient_records import create_records
from codeblue.lab.postgresql import DATABASE, PostgreSQL
from codeblue.lab.secrets import ALTERNATES, DATABASE_ROLES, PROBE_ACCOUNT, read_secret

if TYPE_CHECKING:
    import psycopg

CLINIC_TABLES = """
create table accounts (
    username text primary key,
    password_hash text not null,
    full_name text not null
);
-- One row for each numbered write of the prober: what was acknowledged must be here after a recovery.
create table codeblue_sentinel (
    n bigint primary key,
    written_at timestamptz not null default clock_timestamp()
);
-- One row that checks write to, so that they never meet the prober's numbers.
create table codeblue_check (
    id integer primary key,
    checked_at timestamptz not null
);
grant select on accounts to auth_app;
grant select, insert on codeblue_sentinel to sentinel;
grant select, insert, update on codeblue_check to sentinel;
"""
# What the migration tool keeps. The tables themselves are the first migration, long ago.
_MIGRATIONS_TABLE = """
create table schema_migrations (
    version text primary key,
    applied_at timestamptz not null default clock_timestamp()
);
insert into schema_migrations values ('0001', '2026-01-01 09:00:00+00');
"""


def create_database(postgresql: PostgreSQL, member: str) -> None:
    """Make roles, database and content on the primary `member`."""
    from psycopg import sql

    with postgresql.connect(member) as connection:
        for role in DATABASE_ROLES:
            if role != "postgres":
                attributes = sql.SQL("replication") if role == "replicator" else sql.SQL("noreplication")
                connection.execute(sql.SQL("create role {} login {}").format(sql.Identifier(role), attributes))
        for role, alternate in ALTERNATES.items():
            connection.execute(
                sql.SQL("create role {} login in role {}").format(*map(sql.Identifier, (alternate, role)))
            )
        reset_roles(connection)
        set_passwords(postgresql.layout, connection)
        connection.execute(sql.SQL("create database {} strategy file_copy").format(sql.Identifier(DATABASE)))
    with postgresql.connect(member, DATABASE) as connection:
        connection.execute(CLINIC_TABLES)
        connection.execute(_MIGRATIONS_TABLE)
        create_records(connection)
        connection.execute("insert into codeblue_check values (1, clock_timestamp())")
        probe_password = read_secret(postgresql.layout.secret(PROBE_ACCOUNT))
        connection.execute(
            "insert into accounts values (%s, %s, 'Synthetic monitoring')",
            (PROBE_ACCOUNT, hash_password(probe_password)),
        )


def set_passwords(layout: Layout, connection: psycopg.Connection) -> None:
    """Set every role's password to the lab's own, and none for second logins; only verifiers travel."""
    from psycopg import sql

    for role in DATABASE_ROLES:
        set_password(connection, role, read_secret(layout.secret(role)))
    for alternate in ALTERNATES.values():
        connection.execute(sql.SQL("alter role {} password null").format(sql.Identifier(alternate)))


def reset_roles(connection: psycopg.Connection) -> None:
    """Take back what a recovery set for roles: connection limits against a leak, and settings."""
    from psycopg import sql

    for role in (*DATABASE_ROLES, *ALTERNATES.values()):
        name = sql.Identifier(role)
        connection.execute(sql.SQL("alter role {} connection limit -1").format(name))
        connection.execute(sql.SQL("alter role {} reset all").format(name))
    for role, alternate in ALTERNATES.items():
        # Its sessions are the role's own: the same rights, and what they make belongs to the same owner.
        connection.execute(sql.SQL("alter role {} set role = {}").format(sql.Identifier(alternate), sql.Literal(role)))


def set_password(connection: psycopg.Connection, role: str, password: str) -> None:
    """Give a role a password without its text reaching the server's log."""
    from psycopg import sql

    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode("ascii")
    connection.execute(
        sql.SQL("alter role {} password {}").format(sql.Identifier(role), sql.Literal(verifier)),
    )


def hash_password(password: str) -> str:
    """scrypt, in the format that the auth service reads. Cheap parameters: the passwords are random 256 bits."""
    salt = os.urandom(16)
    digest = hashlib.scrypt(password.encode(), salt=salt, n=2**11, r=8, p=1)
    return f"scrypt$2048$8$1${salt.hex()}${digest.hex()}"
