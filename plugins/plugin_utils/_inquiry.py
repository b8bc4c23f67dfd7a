# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""All that is asked before a runbook decides, under way at once: checks, machines, clusters, AWS."""

from __future__ import annotations

import contextlib
import typing as t
from collections.abc import Callable, Mapping

from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_inquiry import AwsInquiry, AwsSeen
from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import Card
from ansible_collections.codeblue.recovery.plugins.plugin_utils._detection import Detection, detect, with_metrics
from ansible_collections.codeblue.recovery.plugins.plugin_utils._forked_work import ForkedWork
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_inquiry import (
    KubernetesInquiry,
    WorkloadSeen,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._looks import Looks, ServiceLook
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer
from ansible_collections.codeblue.recovery.plugins.plugin_utils._metric_reading import Start
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._runbook_diagnosis import Questions

# The detection bounds itself by less. This is for a controller that has no time for it.
_DETECTION_SECONDS = 60.0


class Inquiry(contextlib.AbstractContextManager["Inquiry"]):
    """Machines are asked and checks carried out from the moment it is made, and no longer than its `with`.

    :param ask: begins to ask the machines.
    """

    def __init__(
        self,
        ask: Callable[[], Looks | Questions],
        clusters: KubernetesInquiry | None,
        accounts: AwsInquiry | None,
        card: Card,
        targets: Mapping[str, Service],
        dependents: Mapping[str, Service],
        level: str,
        start: Start | None,
    ) -> None:
        self._elsewhere = [each for each in (clusters, accounts) if each is not None]
        self._clusters, self._accounts = clusters, accounts
        self._card = card
        self._start = start
        self._targets = targets
        self._dependents = dependents
        self._detection = ForkedWork(
            "detection", lambda: detect(card, {**targets, **dependents}, level), _DETECTION_SECONDS
        )
        self._detected: Detection | None = None
        # After the checks have begun: they take longest.
        try:
            self._asked = ask()
        except BaseException:
            self._detection.end()
            for each in self._elsewhere:
                each.end()
            raise

    def detection(self) -> Detection:
        """Wait for the checks, and for metrics when no criterion fires by them alone."""
        if self._detected is None:
            self._detected = self._detection.result()
            if self._start is not None:
                everybody = {**self._targets, **self._dependents}
                self._detected = with_metrics(self._card, everybody, self._detected, self._start)
        return self._detected

    def looks(self) -> Mapping[str, ServiceLook]:
        """Wait for the machines, where the targets are diagnosed by what they are."""
        troubled = {result.target for result in self.detection().results if not result.ok}
        failing = {
            name
            for name in self._targets
            if name in troubled
            or any(name in service.depends_on for n, service in self._dependents.items() if n in troubled)
        }
        return t.cast(Looks, self._asked).answers(failing)

    def answers(self) -> Mapping[str, Mapping[str, MachineAnswer]]:
        """Wait for the machines, where the runbook has questions of its own."""
        return t.cast(Questions, self._asked).answers()

    def workloads(self) -> Mapping[str, WorkloadSeen]:
        """Wait for the clusters; nothing when no target runs in one."""
        return {} if self._clusters is None else self._clusters.answers()

    def accounts(self) -> Mapping[str, AwsSeen]:
        """Wait for AWS; nothing when no target runs there."""
        return {} if self._accounts is None else self._accounts.answers()

    def __exit__(self, *exc: object) -> None:
        for each in self._elsewhere:
            each.end()
        self._detection.end()
        self._asked.end()
