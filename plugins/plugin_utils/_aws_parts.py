# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The parts that a service on AWS can have, and which module looks at each, checks it and judges it.

A part is named as the field of `AwsPlatform` that describes it. Its module holds `PART`, and is imported only where a
service has that part: imports cost the first action.
"""

from __future__ import annotations

import importlib
import typing as t
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_http import Finding
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws import AwsPlatform

_PACKAGE = "ansible_collections.codeblue.recovery.plugins.plugin_utils"


@dataclass(frozen=True)
class PartEntry:
    """Where a part is known.

    :param module: that holds its `PART`.
    :param runbooks: whose causes it can judge and treat.
    :param checked: it has a check of its own among those of the service.
    """

    module: str
    runbooks: tuple[str, ...]
    checked: bool = False


#: In the order in which they are judged: of two that are both not well, the first is named as the cause.
PARTS: Mapping[str, PartEntry] = {
    "database": PartEntry(
        "_diagnosis_aws_database",
        (
            "database_connection_failure",
            "complete_system_outage",
            "data_corruption_detected",
            "performance_degradation",
        ),
        checked=True,
    ),
    "ecs": PartEntry(
        "_diagnosis_aws_ecs",
        (
            "ai_service_unavailable",
            "authentication_system_down",
            "complete_system_outage",
            "performance_degradation",
        ),
        checked=True,
    ),
    "dns": PartEntry("_diagnosis_aws_dns", ("complete_system_outage",)),
    "distribution": PartEntry("_diagnosis_aws_distribution", ("complete_system_outage",)),
}


@dataclass(frozen=True)
class AwsFindings:
    """What is known of one part of one service when its cause is judged.

    :param look: what the part itself has seen; None when it could not look.
    :param silent: why it could not; empty when it could.
    :param failing: checks of the service and of what it depends on, that failed last.
    :param bad: by kind, the versions that are marked bad.
    :param proven: by kind, what earlier runs have seen working, the latest first.
    :param others: what was seen of the other parts of the service, by part.
    """

    service: Service
    look: t.Any
    silent: str = ""
    failing: tuple[CheckResult, ...] = ()
    bad: Callable[[str], Collection[str]] = lambda _kind: ()
    proven: Callable[[str], Sequence[str]] = lambda _kind: ()
    others: Mapping[str, t.Any] = field(default_factory=dict)

    @property
    def platform(self) -> AwsPlatform:
        """What the inventory says."""
        return self.service.require_aws()

    @property
    def own_failures(self) -> list[CheckResult]:
        """The checks of the service itself that fail."""
        return [each for each in self.failing if each.target == self.service.name]

    @property
    def broken_dependencies(self) -> list[str]:
        """What it depends on and does not work."""
        return sorted({each.target for each in self.failing} & set(self.service.depends_on))


class AwsPart(t.Protocol):
    """What the module of a part brings along."""

    def look(self, account: AwsAccount, services: Mapping[str, AwsPlatform]) -> Mapping[str, t.Any]:
        """What is seen of this part of some services, by service; all in one account and region.

        Many are asked in batches, side by side. What is returned can be pickled and holds no secret.

        :raises AwsUnavailable: no answer came in time; the part is then judged without a look.
        :raises AwsError: it was refused.
        """

    def judge(self, found: AwsFindings, now: float) -> dict[str, t.Any]:
        """The judgement; see `RunbookDiagnosis.decide`, with `treatment` and `next_step` always.

        :param now: Unix seconds.
        """

    def check(self, account: AwsAccount, services: Mapping[str, AwsPlatform]) -> Mapping[str, Finding]:
        """Whether the part of some services works, by service; only asked of a part that is `checked`.

        :raises AwsError: they cannot be asked.
        """


def parts_of(platform: AwsPlatform) -> list[str]:
    """The parts that a service has and that are known here, in their order."""
    return [name for name in PARTS if getattr(platform, name, None) is not None]


def part(name: str) -> AwsPart:
    """The module's part."""
    return t.cast(AwsPart, importlib.import_module(f"{_PACKAGE}.{PARTS[name].module}").PART)
