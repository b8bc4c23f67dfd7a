"""What drills need to know of the clinic that they break, whatever it runs on."""

from __future__ import annotations

import fcntl
import os
import time
import typing as t
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import Card
from ansible_collections.codeblue.recovery.plugins.plugin_utils._detection import Detection, dependents_of, detect
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service, load_services

from codeblue.lab.injection import Injection

if t.TYPE_CHECKING:
    from codeblue.drill.result import DrillResult
    from codeblue.lab.lab import UpResult

_SERVICES_GROUP = "codeblue_services"
_LAB = "lab"
# Gateways, pools and endpoints notice within this time that what they lead to is back.
_SETTLE_SECONDS = 5.0
_POLL_SECONDS = 0.1
_BASELINE_ROUNDS = 10
_LATE_IN_A_ROW = 3


class DrillFault(t.Protocol):
    """A fault of any lab."""

    @property
    def name(self) -> str: ...

    @property
    def summary(self) -> str: ...

    @property
    def hits(self) -> tuple[str, ...]: ...

    @property
    def rto_target(self) -> float | None: ...

    @property
    def rpo_target(self) -> float: ...


class DrillLab(t.Protocol):
    """A lab that can be started, and knows what is broken in it."""

    @property
    def directory(self) -> Path: ...

    @property
    def inventory_path(self) -> Path: ...

    def up(self) -> UpResult: ...

    def down(self) -> bool: ...

    def break_(self, fault: str) -> Injection: ...

    def heal(self) -> float: ...

    def active_faults(self) -> list[str]: ...


class Witness(t.Protocol):
    """Looks at the clinic from outside while a drill goes on, as people would."""

    def start(self) -> None:
        """Begin to look; returns when everything was looked at once."""

    def stop(self) -> None:
        """Look no more."""

    def so_far(self) -> tuple[int, list[str]]:
        """How often it looked, and what was wrong, in words."""

    def wait_back(self, injection: Injection) -> None:
        """Wait until what the fault took away is back for good; bounded."""

    def measure(self, injection: Injection, result: DrillResult) -> str:
        """Put the figures into the result; what was measured, in one line.

        What cannot be measured is a problem of the result, unless the site says that it is simulated.
        """

    def still_away(self, injection: Injection) -> list[str]:
        """What has not come back."""


class Site(ABC):
    """A lab that is up, with its services as Ansible reads them from its inventory.

    :raises Refused: the inventory is not that of a lab.
    """

    #: Parts of the platform that are not real: figures about them are not measured.
    simulated: tuple[str, ...] = ()

    def __init__(self, inventory_path: Path) -> None:
        self.inventory_path = inventory_path
        self._variables = _read_inventory(inventory_path)
        names = [*self._variables, *_machine_names(self._variables)]
        self.services: dict[str, Service] = load_services(self._variables, names)
        elsewhere = {service.environment for service in self.services.values()} - {_LAB}
        if elsewhere:
            environments = ", ".join(sorted(elsewhere))
            raise Refused(
                f"{inventory_path}: codeblue_environment is {environments}, not {_LAB}",
                "drills break what they are given, so they are given labs only",
            )

    @property
    @abstractmethod
    def faults(self) -> Mapping[str, DrillFault]:
        """All that can be injected, by name."""

    @abstractmethod
    def witness(self, fault: str, scratch: Path) -> Witness:
        """Who looks from outside while this fault is drilled.

        :param scratch: a directory of the drill.
        """

    @abstractmethod
    def wrong_parts(self) -> list[str]:
        """What differs from the normal state beyond checks, one line each."""

    @abstractmethod
    def facts(self) -> dict[str, str]:
        """The programs that it was measured with, for the report."""

    @abstractmethod
    def break_(self, fault: str) -> Injection:
        """Inject a fault."""

    @abstractmethod
    def heal(self) -> float:
        """Undo all faults; the seconds that it took."""

    def prepare(self, fault: str) -> str | None:
        """Make what a fault needs to have been made before it, as the schedule would; in words, None for nothing."""
        return None

    def is_left_to_person(self, fault: str) -> bool:
        """Whether the runbook contains the fault and ends, for a person to go on."""
        return False

    def not_contained(self, fault: str) -> list[str]:
        """What such a run should have done and has not, seen from outside; one line each."""
        return []

    def give_back(self, fault: str) -> str:
        """Go on as that person does, until the service is given back; what was done, in words.

        :raises CodeblueError: it could not be given back.
        """
        raise NotImplementedError

    def lose_a_part(self) -> str | None:
        """Take something away that comes back by itself, for the control: no criterion may fire for it.

        :returns: in words; None where there is nothing of that kind.
        """
        return None

    def wait_whole(self) -> None:  # noqa: B027 (most have nothing to wait for)
        """Wait until that is back.

        :raises CodeblueError: it does not come back by itself.
        """

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
        """What fails of all shallow and deep checks and signals; empty when everything works.

        What is late is asked again: criteria want three late answers in a row as well.
        """
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import run_checks
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import plan_checks

        plan = plan_checks({name: service.checks for name, service in self.services.items()}, "deep", signals=True)
        results = run_checks(plan, deadline=_SETTLE_SECONDS)
        for _again in range(_LATE_IN_A_ROW - 1):
            late = {(each.target, each.id) for each in results if each.error_class == "slow"}
            if not late:
                break
            anew = run_checks([each for each in plan if (each.target, each.check.id) in late], deadline=_SETTLE_SECONDS)
            results = [*(each for each in results if (each.target, each.id) not in late), *anew]
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
            found = [*self.wrong_parts(), *self.failing_checks()]
            if not found or time.monotonic() >= deadline:
                return found
            time.sleep(_POLL_SECONDS)


@contextmanager
def exclusive_drill(lab: DrillLab) -> Iterator[None]:
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


def _read_inventory(path: Path) -> dict[str, Mapping[str, object]]:
    """The variables of all services, merged by Ansible itself."""
    from ansible.inventory.manager import InventoryManager
    from ansible.parsing.dataloader import DataLoader
    from ansible.vars.manager import VariableManager

    loader = DataLoader()
    inventory = InventoryManager(loader=loader, sources=[str(path)])
    variables = VariableManager(loader=loader, inventory=inventory)
    hosts = inventory.get_hosts(_SERVICES_GROUP) if _SERVICES_GROUP in inventory.groups else []
    if not hosts:
        raise CodeblueError(f"{path}: no host is in {_SERVICES_GROUP}", "begin anew: codeblue lab down")
    return {str(host.name): variables.get_vars(host=host) for host in hosts}


def _machine_names(variables: Mapping[str, Mapping[str, object]]) -> list[str]:
    found = next(iter(variables.values())).get("groups")
    return [str(name) for name in found["all"]] if isinstance(found, dict) else []
