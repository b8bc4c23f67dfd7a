# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What each runbook and operation needs of the inventory beyond what every service has, and what it cannot do without.

The tables below are the one place for services on hosts, `_inventory_needs_kubernetes` that for those on Kubernetes;
`docs/hosts.md` and `docs/kubernetes.md` have the same keys, held together by tests. A key is a path into the
variables of a service: `*` is every child, `[name=a|b]` takes the children of which `name` is one of the values.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

Severity = t.Literal["needed", "narrows"]

NEEDED: Severity = "needed"
NARROWS: Severity = "narrows"

_DATABASE = ("database",)
_INSTANCES = ("service", "auth", "ai", "storage")
_ALL_BUT_DATABASES = ("gateway", *_INSTANCES)
_SEGMENT = re.compile(r"(?P<name>\*|\w+)(?:\[(?P<field>\w+)=(?P<values>[\w|]+)\])?")
_NO_SIGNAL = "no criterion can fire, it runs with --because only"
_MEMBERS = "codeblue_host.postgresql.members"


@dataclass(frozen=True)
class Need:
    """A key that a runbook or an operation needs.

    :param kinds: of the services that it is asked of.
    :param severity: `needed` when it can do nothing for a service without it, `narrows` when a way is missing.
    :param without: what that means, as the end of a sentence.
    :param page: where it is documented, below `docs/`.
    :param on_members: it is a variable of the machines of a database's members.
    :param only_with: another key; a service without that one has no use for this one.
    """

    key: str
    kinds: tuple[str, ...]
    severity: Severity
    without: str
    page: str = "hosts.md"
    on_members: bool = False
    only_with: str = ""

    @property
    def name(self) -> str:
        """The key's own name; for checks their level, for signals their topic."""
        last = _segments(self.key)[-1]
        return last["values"] if last["name"] == "signals" and last["field"] else last["name"]


@dataclass(frozen=True)
class Lack:
    """A key that services of an inventory do not have.

    :param wanted_by: the runbook or operation.
    :param services: which, with the parts of it in brackets where some have it.
    """

    wanted_by: str
    need: Need
    services: tuple[str, ...]

    def as_dict(self) -> dict[str, t.Any]:
        """For JSON."""
        return {
            "wanted_by": self.wanted_by,
            "key": self.need.key,
            "services": list(self.services),
            "severity": self.need.severity,
            "without": self.need.without,
            "documented": f"docs/{self.need.page}",
        }

    def sentence(self) -> str:
        """One line for people."""
        verb = "have" if len(self.services) > 1 else "has"
        return f"{', '.join(self.services)} {verb} no {self.need.key}: {self.need.without}"


def _signals(topic: str, page: str, kinds: tuple[str, ...]) -> Need:
    return Need(f"codeblue_checks.signals[topic={topic}]", kinds, NARROWS, _NO_SIGNAL, page)


def _phi(key: str, without: str, page: str = "privacy.md", severity: Severity = NARROWS) -> Need:
    return Need(key, ("service",), severity, without, page, only_with="codeblue_phi")


_RELEASES = Need("codeblue_host.instances.*.release_root", _INSTANCES, NARROWS, "no release of it is rolled back")
_ARCHIVE = Need(
    "codeblue_host.postgresql.archive_dir",
    _DATABASE,
    NARROWS,
    "what was written after a snapshot is not restored",
)
_BACKUPS = Need(
    "codeblue_snapshot_directory",
    _DATABASE,
    NARROWS,
    "there is nothing to restore from",
    on_members=True,
)
_REFUSED_SOURCES = Need(
    "codeblue_host.gateway.refused_sources_file", _INSTANCES, NARROWS, "no address is refused at its gateway"
)
_ISOLATION = Need(
    "codeblue_host.isolation",
    _INSTANCES,
    NEEDED,
    "it is neither looked at for intruders nor cut off",
    "security.md",
)
_ISOLATION_PARTS = (
    Need(
        "codeblue_host.isolation.management",
        _INSTANCES,
        NARROWS,
        "a quarantine leaves open only the ports that operators come in by, not their networks",
        "security.md",
    ),
    Need(
        "codeblue_host.isolation.own_user",
        _INSTANCES,
        NARROWS,
        "its own connections are told from those of others by its systemd unit only",
        "security.md",
    ),
)

#: By runbook. What a runbook cannot begin without is checked by the model itself.
RUNBOOK_NEEDS: dict[str, tuple[Need, ...]] = {
    "complete_system_outage": (
        _RELEASES,
        Need(
            "codeblue_host.instances.*.config_repository",
            _INSTANCES,
            NARROWS,
            "no change of its configuration is rolled back",
        ),
        Need(
            "codeblue_host.flags",
            _INSTANCES,
            NARROWS,
            "none of its flags is put back",
            "changes.md",
            only_with="codeblue_host.flags_file",
        ),
        Need(
            "codeblue_host.postgresql.migrations",
            _DATABASE,
            NARROWS,
            "no migration of its schema is taken back",
            "changes.md",
        ),
        _ARCHIVE,
        _BACKUPS,
    ),
    "database_connection_failure": (
        Need(f"{_MEMBERS}[role=standby]", _DATABASE, NARROWS, "nobody takes over from a primary that stays down"),
        Need("codeblue_host.gateway", _DATABASE, NARROWS, "clients are not led to a new primary"),
        Need("codeblue_host.credentials", _DATABASE, NARROWS, "a refused password is left to a person"),
        Need(
            "codeblue_host.postgresql.service_roles",
            _DATABASE,
            NARROWS,
            "idle sessions of services may be taken for a leak",
        ),
        _ARCHIVE,
        _BACKUPS,
    ),
    "ai_service_unavailable": (
        _RELEASES,
        Need("codeblue_host.instances.*.release_copies", ("ai",), NARROWS, "a damaged model is not mended"),
        Need("codeblue_host.features", ("ai",), NARROWS, "what uses it is not switched to go on without"),
        Need("codeblue_host.gateway", ("ai",), NARROWS, "no instance is taken out of traffic"),
    ),
    "authentication_system_down": (
        Need("codeblue_host.session_keys", ("auth",), NARROWS, "keys that do not fit are left to a person", "login.md"),
        Need("codeblue_host.certificates", ("auth",), NARROWS, "no certificate is renewed", "login.md"),
        _RELEASES,
    ),
    "data_corruption_detected": (
        Need(
            "codeblue_host.postgresql.integrity",
            _DATABASE,
            NEEDED,
            "nobody can say which state is clean, a person decides",
            "integrity.md",
        ),
        Need(
            "codeblue_host.postgresql.archive_dir",
            _DATABASE,
            NEEDED,
            "no state between two backups can be restored",
            "integrity.md",
        ),
        Need(
            "codeblue_snapshot_directory",
            _DATABASE,
            NEEDED,
            "there is no backup to restore from",
            "integrity.md",
            on_members=True,
        ),
        Need(
            "codeblue_evidence_recipients",
            _DATABASE,
            NARROWS,
            "later writes to damaged tables are not kept, and their loss has to be accepted",
            "integrity.md",
        ),
        _signals("integrity", "integrity.md", _DATABASE),
    ),
    "security_breach_response": (
        _ISOLATION,
        *_ISOLATION_PARTS,
        Need("codeblue_host.credentials", _DATABASE, NARROWS, "passwords that an intruder knows stay"),
        Need("codeblue_host.session_keys", ("auth",), NARROWS, "stolen sessions are not ended", "login.md"),
        _REFUSED_SOURCES,
        _signals("intrusion", "security.md", _INSTANCES),
    ),
    "hipaa_compliance_violation": (
        Need("codeblue_phi", ("service",), NARROWS, "it counts as one that holds no patients' data", "privacy.md"),
        _phi("codeblue_host.instances.*.log_files", "its logs are not searched", "hosts.md"),
        _phi("codeblue_phi.access_logs", "nobody can count whom a breach concerns"),
        _phi("codeblue_phi.blocked_paths_file", "a page that shows patients is not refused at the gateway"),
        _phi("codeblue_host.instances.*.release_root", "no release of it is taken back", "hosts.md"),
        _phi("codeblue_evidence_recipients", "what was closed is not kept, and the run stops there", severity=NEEDED),
        _phi("codeblue_checks.signals[topic=exposure]", _NO_SIGNAL, "hosts.md"),
    ),
    "performance_degradation": (
        _REFUSED_SOURCES,
        Need(
            "codeblue_host.postgresql.service_roles",
            _DATABASE,
            NARROWS,
            "a session of a service that blocks others is ended like any other",
        ),
        _RELEASES,
        _signals("performance", "hosts.md", _INSTANCES),
    ),
}

#: By operation.
OPERATION_NEEDS: dict[str, tuple[Need, ...]] = {
    "database_rejoin": (
        Need("codeblue_host.postgresql.replication_user", _DATABASE, NEEDED, "no member can follow the primary"),
    ),
    "database_switchover": (
        Need("codeblue_host.postgresql.replication_user", _DATABASE, NEEDED, "no member can follow a new primary"),
        Need(f"{_MEMBERS}[role=standby]", _DATABASE, NARROWS, "nobody can take over from the primary"),
        Need(
            "codeblue_host.gateway.state_file",
            _DATABASE,
            NARROWS,
            "its gateway would forget a switchover when it restarts, which is refused",
            only_with="codeblue_host.gateway",
        ),
    ),
    "feature_switch": (Need("codeblue_host.features", ("ai",), NARROWS, "there is nothing to switch"),),
    "quarantine_service": (_ISOLATION, *_ISOLATION_PARTS),
    # For services on AWS, whose standby is looked at in every run of it.
    "region_failover": (),
    "release_service": (_ISOLATION,),
    "replay_writes": (
        Need("codeblue_evidence_recipients", _DATABASE, NEEDED, "nothing was kept that could be written again"),
    ),
    "rotate_secrets": (
        Need(
            "codeblue_host.credentials.*.alternate",
            _DATABASE,
            NARROWS,
            "its password is not replaced while its consumers work",
            "security.md",
            only_with="codeblue_host.credentials",
        ),
        Need(
            "codeblue_host.session_keys.token_lifetime",
            ("auth",),
            NARROWS,
            "its signing key is not replaced while people are logged in",
            "login.md",
            only_with="codeblue_host.session_keys",
        ),
    ),
    "snapshot_services": (
        Need("codeblue_snapshot_directory", _DATABASE, NEEDED, "no backup is taken", on_members=True),
        Need("codeblue_snapshot_recipients", _ALL_BUT_DATABASES, NEEDED, "no snapshot is taken", "snapshots.md"),
        Need("codeblue_snapshot_recipients", _DATABASE, NARROWS, "no copy leaves its machine", "snapshots.md"),
    ),
    "snapshot_verification": (),
    "snapshot_proof": (),
    # A member without a directory for backups has none to remove.
    "snapshot_retention": (),
}


def lacks(variables: Mapping[str, Mapping[str, t.Any]], machines: Mapping[str, Mapping[str, t.Any]]) -> list[Lack]:
    """What the services of an inventory lack, by runbook and then by operation, what is needed first.

    :param variables: of each service, as Ansible resolved them, from an inventory that loads.
    :param machines: the variables of each machine.
    """
    # Late, because it is made of what is above.
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._inventory_needs_kubernetes import KUBERNETES_NEEDS

    found = []
    on_hosts = {**RUNBOOK_NEEDS, **OPERATION_NEEDS}
    for wanted_by in on_hosts:
        needs_on = {"host": on_hosts[wanted_by], "kubernetes": KUBERNETES_NEEDS.get(wanted_by, ())}
        missing: dict[Need, list[str]] = {}
        for service, own in variables.items():
            needs = needs_on.get(str(own.get("codeblue_platform")), ())
            for need, parts in _lacking(needs, _with_one_gateway(own), machines):
                missing.setdefault(need, []).append(service + (f" ({', '.join(parts)})" if parts else ""))
        ordered = sorted(missing.items(), key=lambda each: each[0].severity != NEEDED)
        found += [Lack(wanted_by, need, tuple(services)) for need, services in ordered]
    return found


def _with_one_gateway(own: Mapping[str, t.Any]) -> Mapping[str, t.Any]:
    """Variables in which `gateway` has what all of `gateways` have."""
    host = own.get("codeblue_host")
    fronts = host.get("gateways") if isinstance(host, Mapping) else None
    if not isinstance(host, Mapping) or not fronts:
        return own
    common = {key: value for key, value in fronts[0].items() if all(each.get(key) for each in fronts)}
    return {**own, "codeblue_host": {**host, "gateway": common}}


def _lacking(
    needs: Iterable[Need], own: Mapping[str, t.Any], machines: Mapping[str, Mapping[str, t.Any]]
) -> Iterator[tuple[Need, list[str]]]:
    """Needs that a service does not meet, with the parts of it that do not when others do."""
    without: list[str] = []
    for need in needs:
        # A key inside of one that is missing is not missed beside it.
        if own.get("codeblue_kind") not in need.kinds or any(need.key.startswith(f"{key}.") for key in without):
            continue
        if need.only_with and not all(met for _part, met in _there(own, _segments(need.only_with))):
            continue
        if need.on_members:
            members = ((own.get("codeblue_host") or {}).get("postgresql") or {}).get("members") or {}
            there = {name: bool((machines.get(name) or {}).get(need.key)) for name in members}
        else:
            there = dict(_there(own, _segments(need.key)))
        if all(there.values()):
            continue
        without.append(need.key)
        yield need, [part for part, met in there.items() if not met] if any(there.values()) else []


def _segments(key: str) -> list[dict[str, str]]:
    return [match.groupdict() for match in _SEGMENT.finditer(key)]


def _there(value: t.Any, segments: list[dict[str, str]], part: str = "") -> Iterator[tuple[str, bool]]:
    """Whether something is at the end of a path, for each part that `*` stands for."""
    if not segments:
        yield part, value not in (None, "", [], {})
        return
    first, rest = segments[0], segments[1:]
    if not isinstance(value, Mapping):
        yield part, False
        return
    if first["name"] == "*":
        for name, child in value.items():
            yield from _there(child, rest, str(name))
        return
    found = value.get(first["name"])
    if first["field"]:
        children = found.values() if isinstance(found, Mapping) else found or []
        wanted = first["values"].split("|")
        found = [child for child in children if isinstance(child, Mapping) and child.get(first["field"]) in wanted]
    yield from _there(found, rest, part)
