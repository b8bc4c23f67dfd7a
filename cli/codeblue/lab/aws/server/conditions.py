"""What stands beside the account's own state: what moto has no word for, and faults set by way of the control port."""

from __future__ import annotations

import threading
import typing as t
from dataclasses import dataclass, field

from codeblue.lab.aws.server.operations import Operation

_MOST_INTERFERENCES = 100


@dataclass
class Interference:
    """How some calls go wrong.

    :param service: as it signs; empty for any.
    :param action: empty for any.
    :param region: empty for any.
    :param error: code of the refusal, as `ThrottlingException`; empty for none.
    :param status: of HTTP, for the refusal.
    :param lost: the call is done, and its answer does not arrive.
    :param delay: seconds before anything is done.
    :param times: so many calls still; None for all.
    :param skip: so many calls go well first.
    """

    service: str = ""
    action: str = ""
    region: str = ""
    error: str = ""
    status: int = 400
    lost: bool = False
    delay: float = 0.0
    times: int | None = None
    skip: int = 0

    def meets(self, operation: Operation) -> bool:
        """Whether it is about a call."""
        wanted = (self.service, self.action, self.region)
        return all(
            not one or one == two
            for one, two in zip(wanted, (operation.service, operation.action, operation.region), strict=True)
        )


@dataclass
class Database:
    """What the lab says of a database instance beyond moto.

    :param lag: seconds that a replica is behind.
    """

    lag: float = 0.2


@dataclass
class Conditions:
    """All of it. `lock` is held while it is looked at or changed, `world` while moto's account is."""

    closed_regions: set[str] = field(default_factory=set)
    databases: dict[tuple[str, str], Database] = field(default_factory=dict)
    latencies: dict[tuple[str, str], float] = field(default_factory=dict)
    error_rates: dict[tuple[str, str], float] = field(default_factory=dict)
    interferences: list[Interference] = field(default_factory=list)
    intruder_key: str = ""
    lock: threading.RLock = field(default_factory=threading.RLock)
    world: threading.RLock = field(default_factory=threading.RLock)

    def database(self, region: str, name: str) -> Database:
        """Made when it is first asked for."""
        with self.lock:
            return self.databases.setdefault((region, name), Database())

    def interference(self, operation: Operation) -> Interference | None:
        """The first that meets a call; it is used up by so much."""
        with self.lock:
            for each in self.interferences:
                if not each.meets(operation) or each.times == 0:
                    continue
                if each.skip > 0:
                    each.skip -= 1
                    continue
                if each.times is not None:
                    each.times -= 1
                return each
        return None

    def interfere(self, values: t.Mapping[str, t.Any]) -> None:
        """Add one.

        :raises ValueError: it has a field that there is not, or there are too many.
        """
        with self.lock:
            if len(self.interferences) >= _MOST_INTERFERENCES:
                raise ValueError("there are too many interferences")
            try:
                self.interferences.append(Interference(**values))
            except TypeError as error:
                raise ValueError(str(error)) from error
