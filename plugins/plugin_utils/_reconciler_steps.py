# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Steps that suspend who else keeps an object in a cluster, before somebody changes it."""

from __future__ import annotations

import typing as t
from collections.abc import Sequence

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_reconcilers import (
    REFUSE,
    SUSPEND,
    Reconciler,
    suspend_reconciler,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._reconciler_gate import PREFIX
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun, StepAction

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import KubernetesClient


class ReconcilerSteps(StepAction):
    """Base of actions that change objects which others may keep. Needs no package of Kubernetes to be imported."""

    _client: KubernetesClient

    def begin_telling(self) -> None:
        """Forget what was done and told before."""
        self._changed, self._due, self._told = False, list[str](), list[str]()

    def meet(self, found: Sequence[Reconciler], what: str) -> list[Reconciler]:
        """Those that have to be suspended before a change; the others are told.

        :param what: is kept by them, for people.
        :raises Refused: one of them cannot be suspended.
        """
        refused = next((each for each in found if each.treatment == REFUSE), None)
        if refused is not None:
            raise Refused(f"{what}: {refused.name} keeps it ({refused.evidence}), nothing was changed", refused.advice)
        suspended = [each for each in found if each.treatment == SUSPEND]
        self._told += [each.told for each in found if each not in suspended and each.told not in self._told]
        return suspended

    def plan(self, suspended: Sequence[Reconciler], step: str) -> None:
        """Say in check mode which steps there would be."""
        self._planned += [f"{PREFIX}{each.action}" for each in suspended] + [step]

    def suspend(self, run: OpenRun, reconciler: Reconciler, what: str) -> None:
        """Suspend one, by a step of its own, and write down that somebody has to give it back."""
        decision = {
            "machine": f"the cluster of {self.target}",
            "reason": f"{reconciler.name} keeps {what}: {reconciler.evidence}",
            "undo": reconciler.undo,
        }

        def work(_run: OpenRun) -> dict[str, t.Any]:
            return {"changed": True, "accepted_at": suspend_reconciler(self._client, reconciler)}

        self.local_change(f"{PREFIX}{reconciler.action}", decision, work)
        self._changed = True
        self.give_back(run, f"{reconciler.undo} ({reconciler.name} was suspended, it keeps {what})")

    def give_back(self, run: OpenRun, line: str) -> None:
        """Write down what somebody has to do in the end."""
        self._due.append(line)
        run.store.record(run.run_id, "note", {"target": run.target, "text": f"due afterwards {line}"[:1000]})

    def afterwards(self) -> str:
        """The end of a summary: what is due, and who was told of."""
        due = f"; due afterwards {'; '.join(self._due)}" if self._due else ""
        return due + (f"; {'; '.join(self._told)}" if self._told else "")
