# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The part of a service that runs on hosts: PostgreSQL members, gateways, instances, processes, credentials."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_api_keys import ApiKey, read_api_key
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_certificates import Certificate, read_certificate
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_credentials import Credential, read_credential
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_features import (
    Feature,
    FlagPlace,
    read_feature,
    read_flag_places,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_isolation import Isolation, read_isolation
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_migrations import Migrations, read_migrations
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_sessions import SessionKeys, read_session_keys
from ansible_collections.codeblue.recovery.plugins.plugin_utils._typed_mapping import TypedMapping

MANAGERS = ("supervisor", "systemd")
MEMBER_ROLES = ("primary", "standby")
WRITE_PATHS = ("gateway", "direct")
RELOADS = ("restart", "none")
ARCHIVE_PRUNERS = ("others", "codeblue")


@dataclass(frozen=True)
class Process:
    """A process under a manager on one machine.

    :param socket: path of supervisord's unix socket; only with the manager `supervisor`.
    """

    manager: str
    unit: str
    socket: str | None = None

    def as_arguments(self) -> dict[str, str]:
        """As modules take it."""
        arguments = {"manager": self.manager, "unit": self.unit}
        if self.socket is not None:
            arguments["socket"] = self.socket
        return arguments


@dataclass(frozen=True)
class Member:
    """One PostgreSQL server of a database.

    :param machine: the inventory name, which names the member too.
    :param role: how it was set up; which one is the primary now is looked up.
    :param config_file: None when postgresql.conf is in the data directory.
    """

    machine: str
    role: str
    address: str
    port: int
    data_dir: str
    process: Process
    config_file: str | None = None


@dataclass(frozen=True)
class IntegrityRule:
    """What must hold for the data of some tables, see the module postgresql_integrity.

    :param tables: that it speaks for; those of one rule belong together and are restored together.
    """

    id: str
    tables: tuple[str, ...]
    violations: str | None = None
    minimum_rows: int | None = None
    constraints: bool = False
    readable: bool = False

    def as_arguments(self) -> dict[str, object]:
        """As modules take it."""
        arguments = {name: value for name, value in vars(self).items() if value is not None}
        return {**arguments, "tables": list(self.tables)}


@dataclass(frozen=True)
class HostDatabase:
    """A PostgreSQL database with its members.

    :param admin_passfile: on the machine; None for peer or trust authentication.
    :param socket_dir: on the machine; None to use the member's address.
    :param service_roles: roles whose idle sessions are never taken for a leak.
    :param write_paths: every way by which a client can write to the primary.
    :param integrity: by which data corruption is known.
    :param migrations: the tool by which its schema is migrated.
    :param archive_pruned_by: `codeblue` when nobody else restores from the log archive or prunes it.
    """

    bin_dir: str
    os_user: str
    database: str
    admin_user: str
    admin_passfile: str | None
    socket_dir: str | None
    service_roles: tuple[str, ...]
    archive_dir: str | None
    replication_user: str | None
    write_paths: tuple[str, ...]
    members: Mapping[str, Member]
    integrity: tuple[IntegrityRule, ...] = ()
    migrations: Migrations | None = None
    archive_pruned_by: str = "others"

    @property
    def set_up_as_primary(self) -> Member:
        """The member that the inventory calls primary."""
        return next(member for member in self.members.values() if member.role == "primary")


@dataclass(frozen=True)
class Gateway:
    """An HAProxy backend in front of a service.

    :param servers: member or instance to the name of its server in the backend.
    :param refused_sources_file: a pattern file with addresses whose connections it refuses; None when it has none.
    """

    machine: str
    socket: str
    state_file: str | None
    backend: str
    servers: Mapping[str, str]
    refused_sources_file: str | None = None


@dataclass(frozen=True)
class Consumer:
    """Who uses a credential: the file that holds it on a machine and the process that reads it."""

    machine: str
    secret_file: str
    process: Process
    reload: str


@dataclass(frozen=True)
class ConfigurationRepository:
    """A git repository on a machine that keeps the history of its configuration files, as etckeeper does.

    :param git_dir: None when it is `.git` in the work tree.
    """

    work_tree: str
    git_dir: str | None = None

    def as_arguments(self) -> dict[str, str]:
        """As the module `configuration_switch` takes it."""
        return {"work_tree": self.work_tree, **({"git_dir": self.git_dir} if self.git_dir else {})}


@dataclass(frozen=True)
class Instance:
    """One running copy of a service on a machine; the machine names it.

    :param config_repository: keeps the history of `config_files`.
    :param release_copies: directories of the machine with copies of releases, as they were delivered, by version.
    :param processes_below: only processes that work below this directory are its machine's; None for all.
    """

    machine: str
    address: str
    port: int
    process: Process
    release_root: str | None = None
    config_files: tuple[str, ...] = ()
    config_repository: ConfigurationRepository | None = None
    log_files: tuple[str, ...] = ()
    release_copies: tuple[str, ...] = ()
    processes_below: str | None = None


@dataclass(frozen=True)
class HostPlatform:
    """What `codeblue_host` says. A database has `postgresql`, everything else `instances`.

    :param flags: every place that holds flags of the service itself.
    """

    postgresql: HostDatabase | None = None
    gateway: Gateway | None = None
    credentials: Mapping[str, Credential] = field(default_factory=dict)
    instances: Mapping[str, Instance] = field(default_factory=dict)
    flags_file: str | None = None
    flags: tuple[FlagPlace, ...] = ()
    features: Mapping[str, Feature] = field(default_factory=dict)
    isolation: Isolation | None = None
    session_keys: SessionKeys | None = None
    api_keys: Mapping[str, ApiKey] = field(default_factory=dict)
    certificates: Mapping[str, Certificate] = field(default_factory=dict)

    def machines(self) -> tuple[str, ...]:
        """All machines behind the service, each once, members and instances first."""
        names: list[str] = [*self.instances]
        if self.postgresql is not None:
            names += self.postgresql.members
        if self.gateway is not None:
            names.append(self.gateway.machine)
        names += [consumer.machine for each in self.credentials.values() for consumer in each.consumers]
        names += [each.machine for each in self.session_keys.consumers] if self.session_keys is not None else []
        names += [each.machine for key in self.api_keys.values() for each in key.consumers]
        names += [each.machine for each in self.certificates.values()]
        names += [place.machine for feature in self.features.values() for place in feature.places]
        names += [place.machine for place in self.flags]
        if self.postgresql is not None and self.postgresql.migrations is not None:
            names.append(self.postgresql.migrations.machine)
        return tuple(dict.fromkeys(names))


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


class _HostReader:
    def __init__(self, inventory_names: Collection[str]) -> None:
        self._inventory_names = inventory_names

    def platform(self, values: TypedMapping) -> HostPlatform:
        database = values.optional_child("postgresql")
        postgresql = self._database(database) if database is not None else None
        instances = {name: self._instance(values, name, item) for name, item in values.children("instances")}
        fronted = [*(postgresql.members if postgresql else ()), *instances]
        front = values.optional_child("gateway")
        credentials = {r: read_credential(item, r, self._consumer) for r, item in values.children("credentials")}
        alone, keys = values.optional_child("isolation"), values.optional_child("session_keys")
        platform = HostPlatform(
            postgresql=postgresql,
            gateway=self._gateway(front, fronted) if front is not None else None,
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
            integrity=tuple(self._integrity_rule(item) for item in values.listed("integrity")),
            migrations=read_migrations(tool, self._inventory_names) if tool is not None else None,
            archive_pruned_by=values.choice("archive_pruned_by", ARCHIVE_PRUNERS, default="others"),
        )
        if not members:
            values.problem("members", "is missing, name at least the primary")
        elif sum(member.role == "primary" for member in members.values()) != 1:
            values.problem("members", "must hold exactly one member with role: primary")
        values.finish()
        return database

    def _integrity_rule(self, values: TypedMapping) -> IntegrityRule:
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
