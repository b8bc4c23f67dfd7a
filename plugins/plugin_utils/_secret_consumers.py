# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who uses which secret, found out on the machines and held against what the inventory says.

A consumer that the inventory does not name is locked out by a rotation. It shows itself by a file that holds the same
secret, and at a database by sessions of the role from an address that no consumer has. Only keyed digests leave a
machine.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
import typing as t
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer, MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import Consumer

Look = Callable[[Sequence[MachineCall]], list[MachineAnswer]]

#: A variable of machines: where secrets lie there. By default the directories of the files that the inventory names.
DIRECTORIES = "codeblue_secret_directories"
_MODULE = "codeblue.recovery.secret_usage"
_SECONDS = 60.0
_THIS_MACHINE = ("127.0.0.1", "::1")


@dataclass(frozen=True)
class KnownSecret:
    """One secret of the inventory.

    :param what: for people, such as `password of records_app`.
    :param pattern: how it stands in the files, as `secret_usage` takes it.
    """

    service: str
    what: str
    holders: tuple[tuple[str, str], ...]
    pattern: str | None = None


@dataclass(frozen=True)
class MissingConsumer:
    """Somebody who uses a secret and stands in no list of its consumers.

    :param where: the machine, or the address of a session.
    """

    service: str
    what: str
    where: str
    detail: str

    def __str__(self) -> str:
        return f"{self.service}: {self.where}: {self.detail} the {self.what}, and no consumer of it says so"


@dataclass(frozen=True)
class Usage:
    """What was found out.

    :param unseen: what could not be looked at, one line each.
    """

    missing: tuple[MissingConsumer, ...]
    unseen: tuple[str, ...]
    files: int


def secrets_of(service: Service) -> list[KnownSecret]:
    """The secrets of one service that lie in files of consumers."""
    host = service.require_host()
    found = [
        KnownSecret(service.name, f"password of {role}", _places(each.consumers), each.pattern)
        for role, each in host.credentials.items()
    ]
    if host.session_keys is not None:
        found.append(KnownSecret(service.name, "signing key", _places(host.session_keys.signing)))
        found.append(KnownSecret(service.name, "verification key", _places(host.session_keys.verification)))
    found += [
        KnownSecret(service.name, f"API key {name}", _places(key.consumers)) for name, key in host.api_keys.items()
    ]
    return found


def look_for_consumers(
    known: Sequence[KnownSecret], hostvars: Mapping[str, Mapping[str, t.Any]], machines: Iterable[str], look: Look
) -> Usage:
    """Which files hold a secret and are not named.

    :param hostvars: of all machines.
    :param machines: where to look, beside the machines of the consumers.
    """
    salt = secrets.token_hex(16)
    holders = {place: each for each in known for place in each.holders}
    unseen: list[str] = []
    own: dict[str, list[str]] = {}
    for machine, path in holders:
        own.setdefault(machine, []).append(path)
    first = look(
        [
            _call(machine, salt, files=[{"path": path, "pattern": holders[machine, path].pattern} for path in paths])
            for machine, paths in own.items()
        ]
    )
    names: dict[str, set[KnownSecret]] = {}
    for answer in first:
        held = _result(answer, unseen).get("held", {})
        unseen += [
            f"{answer.machine}: {path} cannot be read" for path in own[answer.machine] if answer.ok and path not in held
        ]
        for path, digests in held.items():
            for digest in digests:
                names.setdefault(digest, set()).add(holders[answer.machine, path])
    places = {machine: _directories(hostvars, machine, own.get(machine, ())) for machine in {*own, *machines}}
    second = look(
        [
            _call(machine, salt, directories=directories, known=sorted(names))
            for machine, directories in sorted(places.items())
            if directories and names
        ]
    )
    missing = []
    for answer in second:
        result = _result(answer, unseen)
        unseen += [f"{answer.machine}: {path} could not be seen whole" for path in result.get("not_seen_whole", ())]
        kept = f"{hostvars[answer.machine].get('codeblue_lock_dir', '/var/lib/codeblue')}/kept/"
        for path, digests in result.get("found", {}).items():
            if path.startswith(kept):
                continue
            for secret in sorted({each for digest in digests for each in names[digest]}, key=lambda each: each.what):
                if (answer.machine, path) not in secret.holders:
                    missing.append(MissingConsumer(secret.service, secret.what, answer.machine, f"{path} holds"))
    return Usage(tuple(missing), tuple(dict.fromkeys(unseen)), len(holders))


def foreign_sessions(
    service: Service,
    every: Mapping[str, Service],
    hostvars: Mapping[str, Mapping[str, t.Any]],
    sessions: Sequence[Mapping[str, t.Any]],
) -> list[MissingConsumer]:
    """Sessions of a role from an address that neither a consumer of it nor the gateway has.

    :param sessions: as `postgresql_login_roles` counts them.
    """
    host = service.require_host()
    names = _names(every, hostvars)
    found = []
    for credential in host.credentials.values():
        machines = [one.machine for one in credential.consumers]
        machines += [] if host.gateway is None else [each.machine for each in host.gateway.every]
        known = {name for machine in machines for name in names.get(machine, ())}
        if any(each["role"] in credential.logins and each["client"] not in known for each in sessions):
            # Only now: a name that nobody knows can take a resolver seconds.
            known.update([address for name in known for address in _resolved(name)])
        found += [
            MissingConsumer(
                service.name,
                f"password of {credential.role}",
                str(each["client"]),
                f"{each['count']} sessions of {each['application_name'] or 'an application without a name'} use",
            )
            for each in sessions
            if each["role"] in credential.logins and each["client"] not in known
        ]
    return found


def _places(consumers: Iterable[Consumer]) -> tuple[tuple[str, str], ...]:
    return tuple(dict.fromkeys((each.machine, each.secret_file) for each in consumers))


def _directories(hostvars: Mapping[str, Mapping[str, t.Any]], machine: str, files: Iterable[str]) -> list[str]:
    given = hostvars[machine].get(DIRECTORIES)
    if given is not None:
        return [str(each) for each in given]
    return sorted({str(PurePosixPath(path).parent) for path in files})


def _call(machine: str, salt: str, **arguments: t.Any) -> MachineCall:
    return MachineCall(machine, _MODULE, {"salt": salt, **arguments}, _SECONDS, check_mode=True)


def _result(answer: MachineAnswer, unseen: list[str]) -> dict[str, t.Any]:
    if answer.result is None:
        unseen.append(f"{answer.machine}: {answer.unreachable or answer.failure}")
        return {}
    return answer.result


def _names(every: Mapping[str, Service], hostvars: Mapping[str, Mapping[str, t.Any]]) -> dict[str, set[str]]:
    """Every address, or name of one, by which a machine is known."""
    found: dict[str, set[str]] = {}
    for service in every.values():
        host = service.require_host()
        for instance in host.instances.values():
            found.setdefault(instance.machine, set()).add(instance.address)
        if host.postgresql is not None:
            for member in host.postgresql.members.values():
                found.setdefault(member.machine, set()).add(member.address)
    for machine, variables in hostvars.items():
        if variables.get("ansible_connection") == "local":
            found.setdefault(machine, set()).update(_THIS_MACHINE)
        else:
            found.setdefault(machine, set()).add(str(variables.get("ansible_host", machine)))
    return found


def _resolved(name: str) -> tuple[str, ...]:
    try:
        return (str(ipaddress.ip_address(name)),)
    except ValueError:
        pass
    try:
        return tuple({str(each[4][0]) for each in socket.getaddrinfo(name, None)})
    except OSError:
        # A name that only Ansible knows: it says nothing about addresses.
        return ()
