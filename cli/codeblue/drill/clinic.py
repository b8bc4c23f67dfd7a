"""The lab as a drill sees it: its services, whether criteria fire, and whether it is normal."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import Card
from ansible_collections.codeblue.recovery.plugins.plugin_utils._detection import Detection, dependents_of, detect
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service, load_services

if TYPE_CHECKING:
    from codeblue.lab import Lab

_SERVICES_GROUP = "codeblue_services"
_LAB = "lab"
# HAProxy and pools notice within this time that what they lead to is back.
_SETTLE_SECONDS = 5.0
_POLL_SECONDS = 0.1
_BASELINE_ROUNDS = 10


class Clinic:
    """A lab that is up, with its services as Ansible reads them from its inventory.

    :raises Refused: the inventory is not that of a lab.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._variables = _read_inventory(lab)
        names = [*self._variables, *_machine_names(self._variables)]
        self.services: dict[str, Service] = load_services(self._variables, names)
        elsewhere = {service.environment for service in self.services.values()} - {_LAB}
        if elsewhere:
            environments = ", ".join(sorted(elsewhere))
            raise Refused(
                f"{lab.inventory_path}: codeblue_environment is {environments}, not {_LAB}",
                "drills break what they are given, so they are given labs only",
            )

    def watched(self, card: Card) -> dict[str, Service]:
        """What a run of the runbook looks at: its targets, and the services that need one of them."""
        targets = [name for name, service in self.services.items() if not card.kinds or service.kind in card.kinds]
        dependents = dependents_of(targets, self._variables, list(self.services))
        return {name: self.services[name] for name in (*targets, *dependents)}

    def detect(self, card: Card) -> Detection:
        """The same question that the run will ask, in the same words."""
        return detect(card, self.watched(card))

    def platform(self, card: Card) -> str:
        """The platforms of the runbook's targets."""
        return ", ".join(sorted({service.platform for service in self.watched(card).values()}))

    def failing_checks(self) -> list[str]:
        """What fails of all shallow and deep checks and signals, asked once; empty when everything works."""
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import run_checks
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import plan_checks

        plan = plan_checks({name: service.checks for name, service in self.services.items()}, "deep", signals=True)
        results = run_checks(plan, deadline=_SETTLE_SECONDS)
        return [f"{each.target}: {each.id} fails ({each.error_class})" for each in results if not each.ok]

    def keep_baseline(self) -> str:
        """Measure answer times of the healthy clinic and keep them as `codeblue baseline record` does; in words."""
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._baseline import measure, summarise
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import open_store
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_baselines import add_answer_times

        checks = {name: service.checks for name, service in self.services.items()}
        times = summarise(measure(checks, _BASELINE_ROUNDS, _POLL_SECONDS), only_well=True)
        store = open_store()
        try:
            kept = add_answer_times(store, times, "control")
        finally:
            store.close()
        slowest = max(times, key=lambda each: each.p95, default=None)
        said = f"; the slowest is {slowest.target}/{slowest.check}, p95 {slowest.p95 * 1000:.0f} ms" if slowest else ""
        return f"answer times of {kept} checks{said}"

    def deviations(self) -> list[str]:
        """How it differs from its normal state, by its parts and by its checks; asked until there is nothing.

        :returns: what is still wrong after a few seconds, one line each.
        """
        deadline = time.monotonic() + _SETTLE_SECONDS
        while True:
            found = [*self._wrong_parts(), *self.failing_checks()]
            if not found or time.monotonic() >= deadline:
                return found
            time.sleep(_POLL_SECONDS)

    def _wrong_parts(self) -> list[str]:
        from codeblue.lab.intrusion_faults import intrusion_left
        from codeblue.lab.layout import DATABASE_MEMBERS, FAULT_UNITS
        from codeblue.lab.phi_faults import leftovers
        from codeblue.lab.releases import GOOD

        first, second = DATABASE_MEMBERS
        status = self.lab.status()
        found = [f"fault {fault} is still injected" for fault in status.active_faults]
        if status.primary != first:
            found.append(f"{first} is not the only primary")
        if second not in status.members or not status.members[second].streams_from_peer:
            found.append(f"{second} does not follow {first}")
        found += [
            f"process {name} is {each['state']}"
            for name, each in status.processes.items()
            if (each["state"] == "RUNNING") == (name in FAULT_UNITS)
        ]
        found += [f"{where} has release {version}" for where, version in status.releases.items() if version != GOOD]
        found += leftovers(self.lab.layout)
        found += intrusion_left(self.lab.layout)
        return found + (_settings_left(self.lab, first) if status.primary == first else [])


def _settings_left(lab: Lab, member: str) -> list[str]:
    """What a recovery set for roles and databases; the lab itself only lets second logins act as their role."""
    with lab.parts.postgresql.connect(member) as connection:
        limited = connection.execute("select rolname, rolconnlimit from pg_roles where rolconnlimit <> -1").fetchall()
        set_for = connection.execute("select unnest(setconfig) from pg_db_role_setting").fetchall()
    return [
        *(f"role {role} is limited to {limit} connections" for role, limit in limited),
        *(f"{setting} is set for a role or database" for (setting,) in set_for if not setting.startswith("role=")),
    ]


@contextmanager
def exclusive_drill(lab: Lab) -> Iterator[None]:
    """One drill at a time per lab: a second one would measure the faults of the first.

    :raises Refused: another one is going on.
    """
    descriptor = os.open(lab.directory / "drill.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Refused(
                f"another drill is going on in {lab.directory}", "wait for it, or use another lab: --lab-dir"
            ) from error
        yield
    finally:
        os.close(descriptor)


def _read_inventory(lab: Lab) -> dict[str, Mapping[str, object]]:
    """The variables of all services, merged by Ansible itself."""
    from ansible.inventory.manager import InventoryManager
    from ansible.parsing.dataloader import DataLoader
    from ansible.vars.manager import VariableManager

    loader = DataLoader()
    inventory = InventoryManager(loader=loader, sources=[str(lab.inventory_path)])
    variables = VariableManager(loader=loader, inventory=inventory)
    hosts = inventory.get_hosts(_SERVICES_GROUP) if _SERVICES_GROUP in inventory.groups else []
    if not hosts:
        raise CodeblueError(f"{lab.inventory_path}: no host is in {_SERVICES_GROUP}", "begin anew: codeblue lab down")
    return {str(host.name): variables.get_vars(host=host) for host in hosts}


def _machine_names(variables: Mapping[str, Mapping[str, object]]) -> list[str]:
    found = next(iter(variables.values())).get("groups")
    return [str(name) for name in found["all"]] if isinstance(found, dict) else []
