# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The part of a service that runs on hosts: PostgreSQL members, gateways, instances, processes, credentials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_api_keys import ApiKey
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_certificates import Certificate
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_credentials import Credential
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_features import Feature, FlagPlace
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_isolation import Isolation
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_migrations import Migrations
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_sessions import SessionKeys


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
    :param beside: further gateways in front of the same service, such as the other one of a pair that shares an
        address. Whatever is changed at this one is changed at them too.
    :param refused_sources_file: a pattern file with addresses whose connections it refuses; None when it has none.
    """

    machine: str
    socket: str
    state_file: str | None
    backend: str
    servers: Mapping[str, str]
    refused_sources_file: str | None = None
    beside: tuple[Gateway, ...] = ()

    @property
    def every(self) -> tuple[Gateway, ...]:
        """It and those beside it."""
        return (self, *self.beside)


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
            names += [each.machine for each in self.gateway.every]
        names += [consumer.machine for each in self.credentials.values() for consumer in each.consumers]
        names += [each.machine for each in self.session_keys.consumers] if self.session_keys is not None else []
        names += [each.machine for key in self.api_keys.values() for each in key.consumers]
        names += [each.machine for each in self.certificates.values()]
        names += [place.machine for feature in self.features.values() for place in feature.places]
        names += [place.machine for place in self.flags]
        if self.postgresql is not None and self.postgresql.migrations is not None:
            names.append(self.postgresql.migrations.machine)
        return tuple(dict.fromkeys(names))
