# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads `codeblue_host` from the inventory; every problem is named by its key."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Collection

from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_api_keys import read_api_key
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_certificates import read_certificate
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_credentials import read_credential
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_features import read_feature, read_flag_places
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import (
    ConfigurationRepository,
    Consumer,
    Gateway,
    HostDatabase,
    HostPlatform,
    Instance,
    IntegrityRule,
    Member,
    Process,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_isolation import read_isolation
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_migrations import read_migrations
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_sessions import read_session_keys
from ansible_collections.codeblue.recovery.plugins.plugin_utils._typed_mapping import TypedMapping

MANAGERS = ("supervisor", "systemd")
MEMBER_ROLES = ("primary", "standby")
WRITE_PATHS = ("gateway", "direct")
RELOADS = ("restart", "none")
ARCHIVE_PRUNERS = ("others", "codeblue")


def read_host(values: TypedMapping, kind: str, inventory_names: Collection[str]) -> HostPlatform:
    """Read `codeblue_host`; what is wrong goes to the problems of the mapping."""
    reader = _HostReader(inventory_names)
    platform = reader.platform(values)
    if values.names():
        if kind == "database" and platform.postgresql is None:
            values.problem("postgresql", "is missing, a service of kind database needs it")
        if kind != "database" and platform.postgresql is not None:
            values.problem("postgresql", f"does not fit kind {kind}, set codeblue_kind: database")
        if kind != "database" and not platform.instances:
            values.problem("instances", f"is missing, a service of kind {kind} needs at least one")
    return platform


def read_process(values: TypedMapping) -> Process:
    """Read a process under a manager; what is wrong goes to the problems of the mapping."""
    return _HostReader(())._process(values)


def read_integrity_rule(values: TypedMapping) -> IntegrityRule:
    """Read one rule; what is wrong goes to the problems of the mapping."""
    rule = IntegrityRule(
        id=values.text("id"),
        tables=values.texts("tables", required=True),
        violations=values.optional_text("violations"),
        minimum_rows=values.integer("minimum_rows", least=1) if "minimum_rows" in values else None,
        constraints=values.boolean("constraints", default=False),
        readable=values.boolean("readable", default=False),
    )
    given = (rule.violations is not None, rule.minimum_rows is not None, rule.constraints, rule.readable)
    if sum(given) != 1:
        values.problem("id", "needs exactly one of violations, minimum_rows, constraints, readable")
    values.finish()
    return rule


class _HostReader:
    def __init__(self, inventory_names: Collection[str]) -> None:
        self._inventory_names = inventory_names

    def platform(self, values: TypedMapping) -> HostPlatform:
        database = values.optional_child("postgresql")
        postgresql = self._database(database) if database is not None else None
        instances = {name: self._instance(values, name, item) for name, item in values.children("instances")}
        fronted = [*(postgresql.members if postgresql else ()), *instances]
        credentials = {r: read_credential(item, r, self._consumer) for r, item in values.children("credentials")}
        alone, keys = values.optional_child("isolation"), values.optional_child("session_keys")
        platform = HostPlatform(
            postgresql=postgresql,
            gateway=self._gateways(values, fronted),
            credentials=credentials,
            instances=instances,
            flags_file=self._optional_path(values, "flags_file"),
            flags=read_flag_places(values.listed("flags"), self._inventory_names),
            features={n: read_feature(item, n, self._inventory_names) for n, item in values.children("features")},
            isolation=read_isolation(alone, instances) if alone is not None else None,
            session_keys=read_session_keys(keys, self._consumer) if keys is not None else None,
            api_keys={name: read_api_key(item, name, self._consumer) for name, item in values.children("api_keys")},
            certificates={
                name: read_certificate(item, name, self._known_machine)
                for name, item in values.children("certificates")
            },
        )
        values.finish()
        return platform

    def _database(self, values: TypedMapping) -> HostDatabase:
        members = {name: self._member(values, name, item) for name, item in values.children("members")}
        tool = values.optional_child("migrations")
        database = HostDatabase(
            bin_dir=self._path(values, "bin_dir"),
            os_user=values.text("os_user", default="postgres"),
            database=values.text("database"),
            admin_user=values.text("admin_user", default="postgres"),
            admin_passfile=self._optional_path(values, "admin_passfile"),
            socket_dir=self._optional_path(values, "socket_dir"),
            service_roles=values.texts("service_roles"),
            archive_dir=self._optional_path(values, "archive_dir"),
            replication_user=values.optional_text("replication_user"),
            write_paths=values.texts("write_paths", required=True, choices=WRITE_PATHS),
            members=members,
            integrity=tuple(read_integrity_rule(item) for item in values.listed("integrity")),
            migrations=read_migrations(tool, self._inventory_names) if tool is not None else None,
            archive_pruned_by=values.choice("archive_pruned_by", ARCHIVE_PRUNERS, default="others"),
        )
        if not members:
            values.problem("members", "is missing, name at least the primary")
        elif sum(member.role == "primary" for member in members.values()) != 1:
            values.problem("members", "must hold exactly one member with role: primary")
        values.finish()
        return database

    def _member(self, outer: TypedMapping, machine: str, values: TypedMapping) -> Member:
        self._known_machine(outer, f"members.{machine}", machine)
        member = Member(
            machine=machine,
            role=values.choice("role", MEMBER_ROLES),
            address=values.text("address"),
            port=values.port(),
            data_dir=self._path(values, "data_dir"),
            process=self._process(values.child("process")),
            config_file=self._optional_path(values, "config_file"),
        )
        values.finish()
        return member

    def _instance(self, outer: TypedMapping, machine: str, values: TypedMapping) -> Instance:
        self._known_machine(outer, f"instances.{machine}", machine)
        instance = Instance(
            machine=machine,
            address=values.text("address"),
            port=values.port(),
            process=self._process(values.child("process")),
            release_root=self._optional_path(values, "release_root"),
            config_files=self._paths(values, "config_files"),
            config_repository=self._config_repository(values.optional_child("config_repository")),
            log_files=self._paths(values, "log_files"),
            release_copies=self._paths(values, "release_copies"),
            processes_below=self._optional_path(values, "processes_below"),
        )
        values.finish()
        return instance

    def _config_repository(self, values: TypedMapping | None) -> ConfigurationRepository | None:
        if values is None:
            return None
        repository = ConfigurationRepository(self._path(values, "work_tree"), self._optional_path(values, "git_dir"))
        values.finish()
        return repository

    def _gateways(self, values: TypedMapping, fronted: Collection[str]) -> Gateway | None:
        """The one in `gateway`, or the first of `gateways` with the others beside it."""
        alone = values.optional_child("gateway")
        found = [self._gateway(each, fronted) for each in values.listed("gateways")]
        if alone is not None and found:
            values.problem("gateways", "stands beside gateway: list all of them in gateways")
        if alone is not None:
            return self._gateway(alone, fronted)
        if not found:
            return None
        first = found[0]
        places = [(each.machine, each.socket) for each in found]
        if len(set(places)) < len(places):
            values.problem("gateways", "names a gateway twice: the same machine and socket")
        if any(set(each.servers) != set(first.servers) for each in found):
            values.problem("gateways", "must name the same members or instances in each servers")
        return dataclasses.replace(first, beside=tuple(found[1:]))

    def _gateway(self, values: TypedMapping, fronted: Collection[str]) -> Gateway:
        machine = values.text("machine")
        if machine:
            self._known_machine(values, "machine", machine)
        pairs = values.child("servers")
        servers = {name: pairs.text(name) for name in pairs.names()}
        for name in servers:
            if fronted and name not in fronted:
                pairs.problem(name, f"is no member or instance of this service, known are: {', '.join(fronted)}")
        gateway = Gateway(
            machine=machine,
            socket=self._path(values, "socket"),
            state_file=self._optional_path(values, "state_file"),
            backend=values.text("backend"),
            servers=servers,
            refused_sources_file=self._optional_path(values, "refused_sources_file"),
        )
        values.finish()
        return gateway

    def _consumer(self, values: TypedMapping) -> Consumer:
        machine = values.text("machine")
        if machine:
            self._known_machine(values, "machine", machine)
        consumer = Consumer(
            machine=machine,
            secret_file=self._path(values, "secret_file"),
            process=self._process(values.child("process")),
            reload=values.choice("reload", RELOADS, default="restart"),
        )
        values.finish()
        return consumer

    def _process(self, values: TypedMapping) -> Process:
        # Without keys the mapping itself is missing, and that was said already.
        if not values.names():
            return Process("systemd", "")
        manager = values.choice("manager", MANAGERS)
        socket = self._optional_path(values, "socket")
        if manager == "supervisor" and socket is None:
            values.problem("socket", "is missing, give the path of supervisord's unix socket")
        if manager == "systemd" and socket is not None:
            values.problem("socket", "does not fit manager systemd, leave it out")
        process = Process(manager, values.text("unit"), socket)
        values.finish()
        return process

    def _known_machine(self, values: TypedMapping, key: str, machine: str) -> None:
        if machine not in self._inventory_names:
            close = difflib.get_close_matches(machine, [str(name) for name in self._inventory_names], n=1)
            advice = f"did you mean {close[0]}?" if close else "add it to the group codeblue_machines"
            values.problem(key, f"machine {machine!r} is not in the inventory, {advice}")

    def _path(self, values: TypedMapping, key: str) -> str:
        path = values.text(key)
        if path and not path.startswith("/"):
            values.problem(key, f"must be an absolute path, not {path!r}")
        return path

    def _optional_path(self, values: TypedMapping, key: str) -> str | None:
        if key in values:
            return self._path(values, key)
        values.plain(key)
        return None

    def _paths(self, values: TypedMapping, key: str) -> tuple[str, ...]:
        found = values.texts(key)
        for position, path in enumerate(found):
            if not path.startswith("/"):
                values.problem(f"{key}[{position}]", f"must be an absolute path, not {path!r}")
        return found
