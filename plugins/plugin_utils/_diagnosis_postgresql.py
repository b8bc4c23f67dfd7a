# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Why clients cannot use a PostgreSQL database. Pure: looks go in, one cause with its evidence comes out.

Each cause has a treatment of its own, and the wrong one does harm: a failover does not help against an exhausted
pool and may lose writes, ended sessions do not bring a dead primary back. So a cause is named only when what was
seen says so and nothing that was seen says otherwise. Two sources that agree make it `PROVEN`, one that nothing
contradicts `LIKELY`; everything else is `inconclusive`, which changes nothing and calls a person.

The order of the questions matters, because a cause further up makes the symptoms of those below it:

1. More than one primary: never automatic, every step could destroy writes.
2. No primary answers: dead, hung or silent, or all members are standbys.
3. The primary answers, but has no place left for services: pool.
4. It answers with places left, and logins are refused: credentials.
5. It answers, has places, takes logins, and clients still cannot reach it: gateway or network.
6. Clients reach it and nothing fails: healthy.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_looks import Findings, MemberLook
from ansible_collections.codeblue.recovery.plugins.plugin_utils._failover_choice import (
    FailoverChoice,
    choose_among_standbys,
    choose_failover,
)

CAUSES = (
    "primary_dead",
    "pool_exhausted",
    "credentials_refused",
    "network_lost",
    "gateway_down",
    "standby_only",
    "healthy",
    "inconclusive",
)
PROVEN = 0.95
LIKELY = 0.8
UNDECIDED = 0.0

# A leak holds places and does nothing with them. Less than this share of the server's places exhausts no pool.
_LEAK_SHARE = 0.25
# Seconds. A primary with work to do is heard several times a second; an idle one every 30 s or less (half of
# wal_sender_timeout), and an idle database is not in a hurry.
_FRESH_WORD = 5.0
# Not being let in by the primary itself, as opposed to not reaching it.
_NO_WAY_IN = frozenset({"refused", "timeout", "closed", "unreachable", "name_resolution", "unavailable", "tls"})


@dataclass(frozen=True)
class Offender:
    """Who holds the places of an exhausted pool.

    :param may_be_ended: False for the service's own roles: those are restarted, never cut off.
    """

    user: str
    application_name: str
    count: int
    may_be_ended: bool


@dataclass(frozen=True)
class Diagnosis:
    """One cause, and what its treatment needs to know.

    :param cause: one of `CAUSES`.
    :param confidence: `PROVEN`, `LIKELY` or `UNDECIDED`.
    :param evidence: what was seen, one sentence each, the strongest first.
    :param next_step: what a person does when the cause is inconclusive, else None.
    :param primary: the member that is, or was, the primary.
    :param failover: for `primary_dead` and `standby_only`.
    :param offender: for `pool_exhausted`, None when nobody sticks out.
    :param roles_refused: for `credentials_refused`, the roles whose password the server does not take.
    """

    cause: str
    confidence: float
    evidence: tuple[str, ...]
    next_step: str | None = None
    primary: str | None = None
    failover: FailoverChoice | None = None
    offender: Offender | None = None
    roles_refused: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For results, the journal and playbooks."""
        return asdict(self)


def diagnose(
    findings: Findings, set_up_as_primary: str, rpo: float, credential_roles: Collection[str] = ()
) -> Diagnosis:
    """Name the cause.

    :param set_up_as_primary: the member that the inventory calls primary; asked only when no member says so itself.
    :param rpo: seconds, the service's objective.
    :param credential_roles: roles whose password can be rotated; only those are ever named as refused.
    """
    primaries = [look for look in findings.members.values() if look.is_primary]
    if len(primaries) > 1:
        return _two_primaries(primaries)
    if not primaries:
        return _without_primary(findings, set_up_as_primary, rpo)
    return _with_primary(primaries[0], findings, frozenset(credential_roles))


def _two_primaries(primaries: Sequence[MemberLook]) -> Diagnosis:
    names = " and ".join(look.machine for look in primaries)
    return _inconclusive(
        [f"{names} both say that they are the primary"],
        "take all traffic away, find out which one has the writes that count, and rejoin the other by hand",
    )


# -- no primary answers ------------------------------------------------------------------------------------------------


def _without_primary(findings: Findings, set_up_as_primary: str, rpo: float) -> Diagnosis:
    lost = _lost_primary(findings, set_up_as_primary)
    if lost is None:
        return _standby_only(findings, set_up_as_primary)
    evidence = [_how_it_is(lost)]
    if lost.sql_kind == "too_many_connections":
        # A server that says so is alive, and clients that got a place before are served: no contradiction.
        return _completely_full(lost, evidence)
    contradiction = _still_alive_somewhere(lost, findings)
    if contradiction is not None:
        return _inconclusive(
            [*evidence, contradiction],
            f"find out why {lost.machine} does not answer here: the way to it, its admin login, its load",
            lost.machine,
        )
    if lost.sql_kind in ("authentication", "no_database"):
        return _inconclusive(
            [*evidence, "the administrator's own login does not work, so nothing else can be seen"],
            "check admin_user, admin_passfile and database in the inventory",
            lost.machine,
        )
    failing = _ways_in_that_fail(findings.results)
    if failing:
        evidence.append(f"clients fail as well: {', '.join(failing)}")
    choice = choose_failover(lost, findings.members, rpo, findings.first_failed_at, findings.now)
    evidence.append(choice.reason)
    # A machine that cannot be seen may be fine and only out of our reach: one source, however loud.
    proven = bool(failing) and lost.unreachable is None
    return Diagnosis("primary_dead", PROVEN if proven else LIKELY, tuple(evidence), None, lost.machine, choice)


def _completely_full(lost: MemberLook, evidence: Sequence[str]) -> Diagnosis:
    """The server refuses its administrator as well. Who holds the places is known only if it said so before."""
    offender = _offender(lost)
    full = "not even the places reserved for administrators are free"
    return Diagnosis(
        "pool_exhausted",
        LIKELY,
        (*evidence, full, *([] if offender is None else [_who_holds(offender)])),
        primary=lost.machine,
        offender=offender,
    )


def _lost_primary(findings: Findings, set_up_as_primary: str) -> MemberLook | None:
    """The member that was the primary. None when every member is a standby that answers."""
    silent = [look for look in findings.members.values() if not look.is_standby]
    if not silent:
        return None
    # What the disk would start as is newer than the inventory, which may date from before a failover.
    by_disk = [look for look in silent if look.role == "primary"]
    for look in (*by_disk, *silent):
        if look.machine == set_up_as_primary:
            return look
    return (by_disk or silent)[0]


def _standby_only(findings: Findings, set_up_as_primary: str) -> Diagnosis:
    evidence = ["every member answers, and every one says that it is a standby"]
    if any(result.error_class == "read_only" for result in findings.results):
        evidence.append("writes are refused as read only")
    choice = choose_among_standbys(findings.members, set_up_as_primary)
    evidence.append(choice.reason)
    return Diagnosis("standby_only", PROVEN if len(evidence) > 2 else LIKELY, tuple(evidence), None, None, choice)


def _still_alive_somewhere(lost: MemberLook, findings: Findings) -> str | None:
    """What says that the primary is alive after all, or None."""
    sql = [result for result in findings.results if result.type in ("postgresql", "sentinel")]
    # Where a gateway sends clients to a standby, reads work and writes are refused: that is no sign of life.
    if not any(result.error_class == "read_only" for result in sql):
        for result in sql:
            if result.ok:
                return f"yet clients are served: {result.target}/{result.id} is well"
    # A standby that hears from its primary. A hung one keeps the connection open and a machine that lost its power
    # does not close it, so where the age of the last word is known, only a fresh one counts.
    if not lost.hung and lost.alive is not False:
        for look in findings.members.values():
            fresh = look.receiver_heard_ago is None or look.receiver_heard_ago < _FRESH_WORD
            if look.receiver_status == "streaming" and fresh:
                return f"yet {look.machine} is still streaming from its primary"
    return None


def _how_it_is(lost: MemberLook) -> str:
    if lost.unreachable is not None:
        return f"the machine {lost.machine} does not answer: {lost.unreachable}"
    if lost.hung:
        how = "is stopped by a signal" if lost.sql_kind == "stopped" else "runs and does not answer"
        return f"PostgreSQL on {lost.machine} {how}"
    if lost.sql_kind == "starting_up":
        return f"PostgreSQL on {lost.machine} is starting and replays its log"
    if lost.alive is False:
        disk = "can be used" if lost.disk_usable else "cannot be used"
        return f"no PostgreSQL process runs on {lost.machine}; its data directory {disk}"
    return f"PostgreSQL on {lost.machine} does not answer ({lost.sql_kind or 'no reason given'})"


# -- the primary answers -----------------------------------------------------------------------------------------------


def _with_primary(primary: MemberLook, findings: Findings, credential_roles: frozenset[str]) -> Diagnosis:
    failing = [result for result in findings.results if not result.ok]
    refused_for_places = [result for result in failing if result.error_class == "too_many_connections"]
    full = primary.free_for_services is not None and primary.free_for_services <= 0
    if full or refused_for_places:
        return _pool(primary, refused_for_places, full)
    refused = _refused_roles(failing, findings, credential_roles)
    if refused:
        return _credentials(primary, refused, findings)
    if primary.read_only and any(result.error_class == "read_only" for result in failing):
        return _inconclusive(
            [f"{primary.machine} is the primary and was switched to read only"],
            "find out who stopped the writes and why before you allow them again",
            primary.machine,
        )
    return _on_the_way(primary, failing, findings)


def _pool(primary: MemberLook, refused: Sequence[CheckResult], full: bool) -> Diagnosis:
    evidence = []
    if full:
        evidence.append(f"{primary.machine} has no place left of {primary.maximum_connections or 'its'} connections")
    if refused:
        evidence.append(f"the server refuses sessions (SQLSTATE 53300): {_names(refused)}")
    offender = _offender(primary)
    if offender is not None:
        evidence.append(_who_holds(offender))
    elif primary.sessions:
        evidence.append("no user sticks out; the sessions are working or spread over many users")
    # Places that are free again contradict a refusal that was seen a moment ago.
    proven = full and (bool(refused) or offender is not None)
    return Diagnosis(
        "pool_exhausted", PROVEN if proven else LIKELY, tuple(evidence), primary=primary.machine, offender=offender
    )


def _who_holds(offender: Offender) -> str:
    whose = "the service's own role" if not offender.may_be_ended else "no role of the service"
    application = f" ({offender.application_name})" if offender.application_name else ""
    return f"{offender.user}{application} holds {offender.count} idle sessions, {whose}"


def _offender(primary: MemberLook) -> Offender | None:
    """Who holds most idle sessions, if those are enough to exhaust the pool. Strangers before the service's own."""
    counts: dict[tuple[str, str, bool], int] = {}
    for group in primary.sessions:
        if group.state.startswith("idle"):
            key = (group.user, group.application_name, group.service_role)
            counts[key] = counts.get(key, 0) + group.count
    enough = max(1.0, (primary.maximum_connections or 0) * _LEAK_SHARE)
    suspects = [(key, count) for key, count in counts.items() if count >= enough]
    if not suspects:
        return None
    (user, application, service_role), count = min(suspects, key=lambda each: (each[0][2], -each[1], each[0]))
    return Offender(user, application, count, may_be_ended=not service_role)


def _refused_roles(
    failing: Sequence[CheckResult], findings: Findings, credential_roles: frozenset[str]
) -> tuple[str, ...]:
    """Roles whose own credential was tried from its own place and refused."""
    tried = {look.role for look in findings.logins if look.accepted is False and look.role in credential_roles}
    # The same role may be taken from one machine and refused from another: then one of the files is old.
    return tuple(sorted(tried)) if failing or tried else ()


def _credentials(primary: MemberLook, refused: tuple[str, ...], findings: Findings) -> Diagnosis:
    evidence = []
    for role in refused:
        places = sorted(look.machine for look in findings.logins if look.role == role and look.accepted is False)
        evidence.append(f"the server refuses the password for {role} that is on {', '.join(places)}")
        taken = sorted(look.machine for look in findings.logins if look.role == role and look.accepted)
        if taken:
            evidence.append(f"and takes the one that is on {', '.join(taken)}")
    failing = [result for result in findings.results if not result.ok]
    if failing:
        evidence.append(f"failing: {_names(failing)}")
    confidence = PROVEN if failing else LIKELY
    return Diagnosis("credentials_refused", confidence, tuple(evidence), None, primary.machine, roles_refused=refused)


def _on_the_way(primary: MemberLook, failing: Sequence[CheckResult], findings: Findings) -> Diagnosis:
    """The primary is well by its own word: is it the gateway, the network, or nothing at all?"""
    well = f"{primary.machine} answers as the primary and has places left"
    if not failing:
        return Diagnosis("healthy", PROVEN, (well, "no check fails"), primary=primary.machine)
    blocked = [result for result in failing if result.type in ("postgresql", "sentinel", "tcp")]
    if not blocked:
        return _inconclusive(
            [well, f"only checks of other services fail: {_names(failing)}"],
            "try the logins of the services that fail; if they work, look at those services",
            primary.machine,
        )
    gateway = findings.gateway
    down = _down(gateway.servers.get(primary.machine)) if gateway is not None else None
    if gateway is not None and gateway.answers is False:
        return Diagnosis(
            "gateway_down",
            PROVEN,
            (well, "the gateway's own process does not answer", f"failing: {_names(blocked)}"),
            primary=primary.machine,
        )
    if any(result.error_class == "read_only" for result in blocked):
        return _inconclusive(
            [well, f"yet writes are refused as read only: {_names(blocked)}"],
            f"see where the gateway leads: it may send clients to a standby instead of {primary.machine}",
            primary.machine,
        )
    if gateway is not None and gateway.answers and gateway.servers.get(primary.machine) in ("maint", "drain"):
        switched_off = f"the gateway has {primary.machine} in {gateway.servers[primary.machine]}"
        return Diagnosis("gateway_down", PROVEN, (well, switched_off), primary=primary.machine)
    classes = {result.error_class for result in blocked}
    if down and classes <= _NO_WAY_IN:
        evidence = (well, f"the gateway runs and cannot reach {primary.machine}", f"failing: {_names(blocked)}")
        return Diagnosis("network_lost", PROVEN, evidence, primary=primary.machine)
    if classes <= {"unreachable", "name_resolution"}:
        return Diagnosis("network_lost", LIKELY, (well, f"failing: {_names(blocked)}"), primary=primary.machine)
    if gateway is not None and gateway.answers is None and classes == {"refused"}:
        return Diagnosis("gateway_down", LIKELY, (well, f"failing: {_names(blocked)}"), primary=primary.machine)
    return _inconclusive(
        [well, f"yet clients fail: {_names(blocked)}"],
        "compare the address and the user of the failing checks with the way that services take",
        primary.machine,
    )


def _down(state: str | None) -> bool:
    return state is not None and state.lower() == "down"


def _ways_in_that_fail(results: Sequence[CheckResult]) -> list[str]:
    return [
        f"{result.target}/{result.id} ({result.error_class})"
        for result in results
        if not result.ok and result.error_class in (*_NO_WAY_IN, "starting", "read_only")
    ][:5]


def _names(results: Sequence[CheckResult]) -> str:
    shown = [f"{result.target}/{result.id} ({result.error_class})" for result in results[:5]]
    return ", ".join(shown) + (f" and {len(results) - 5} more" if len(results) > 5 else "")


def _inconclusive(evidence: Sequence[str], next_step: str, primary: str | None = None) -> Diagnosis:
    return Diagnosis("inconclusive", UNDECIDED, tuple(evidence), next_step, primary)
