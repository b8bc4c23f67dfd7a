# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Judges services that are reached through an API: by the runbook's own diagnosis where it has one, else as usual."""

from __future__ import annotations

import functools
import time
import typing as t
from collections.abc import Callable, Collection, Sequence

from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_inquiry import AwsSeen
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._detection import Detection
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_aws import AwsDiagnosis, judge_on_aws
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_kubernetes import (
    RESTORE_OBJECTS,
    VERSION_KIND,
    ServiceFindings,
    judge,
    without_snapshot,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_inquiry import WorkloadSeen
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._runbook_diagnosis import (
    ClusterDiagnosis,
    RunbookDiagnosis,
    Seen,
)


class PlatformJudge:
    """Judges them with what the store knows.

    :param own: the runbook's diagnosis; None when it has none.
    :param bad: service and kind to the versions that are marked bad.
    :param proven: service and kind to what earlier runs have seen working, the latest first.
    :param keeps_objects: whether a snapshot holds the objects of a service.
    """

    def __init__(
        self,
        own: RunbookDiagnosis | None,
        bad: Callable[[str, str], Collection[str]],
        proven: Callable[[str, str], Sequence[str]],
        keeps_objects: Callable[[str], bool],
    ) -> None:
        self._own = own
        self._bad = bad
        self._proven = proven
        self._keeps_objects = keeps_objects

    def workload(self, seen: Seen, looked: WorkloadSeen) -> dict[str, t.Any]:
        """The judgement about a service on Kubernetes."""
        name = seen.service.name

        def findings() -> ServiceFindings:
            failing = _failing(seen.service, seen.detection)
            bad = self._bad(name, VERSION_KIND)
            return looked.findings(seen.service, failing, bad, functools.partial(self._proven, name))

        if isinstance(self._own, ClusterDiagnosis):
            found = self._own.decide_workload(seen, looked, findings)
        else:
            found = judge(findings(), time.time())
        if found["treatment"] != RESTORE_OBJECTS or self._keeps_objects(name):
            return found
        return without_snapshot(found)

    def on_aws(self, seen: Seen, looked: AwsSeen) -> dict[str, t.Any]:
        """The judgement about a service on AWS."""
        name = seen.service.name

        def judged() -> dict[str, t.Any]:
            failing = _failing(seen.service, seen.detection)
            bad, proven = functools.partial(self._bad, name), functools.partial(self._proven, name)
            return judge_on_aws(seen.service, looked, failing, bad, proven, time.time())

        if isinstance(self._own, AwsDiagnosis):
            return self._own.decide_aws(seen, looked, judged)
        return judged()


def _failing(service: Service, detection: Detection) -> list[CheckResult]:
    """What fails of the service and of what it depends on; a dependency is a target too, or was asked just now."""
    failing = [result for result in detection.results if not result.ok]
    return [result for result in failing if result.target in (service.name, *service.depends_on)]
