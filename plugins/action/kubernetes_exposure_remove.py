# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Takes the version back that exposes patients' data on Kubernetes, and the pods away whose logs hold them."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Mapping

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_step import MISSING, KubernetesStepAction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import PODS, Budget
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_exposure import ClusterExposure
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_objects import kept_by_controller
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_waiter import RolloutWaiter

    _MISSING: ImportError | None = MISSING
except ImportError as error:
    _MISSING = error

_CALL_SECONDS = 120.0
_PAUSE = 0.2
_WHY = "it exposes patients' data"


class ActionModule(KubernetesStepAction):
    """See plugins/modules/kubernetes_exposure_remove.py."""

    STAGE = "remove"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "diagnosis": {"type": "dict", "required": True},
        "rollout_within": {"type": "float", "default": 300.0},
        "gone_within": {"type": "float", "default": 60.0},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        exposure = ClusterExposure.of(arguments["diagnosis"])
        service = self.service()
        self.connect(service, _CALL_SECONDS + arguments["rollout_within"] + arguments["gone_within"])
        taken_back, said = [], []
        if exposure.version:
            given = {
                "reason": _WHY,
                "leave": exposure.version,
                "rollout_within": arguments["rollout_within"],
                # While patients are exposed the service is closed, and no check of it can pass.
                "prove_by": "pods",
            }
            done = self.carry_out("kubernetes_rollback", given)
            taken_back = list(done["rolled_back"])
            said.append(str(done["codeblue"]["summary"]).partition("; steps: ")[0])
            self._due += [each for each in done.get("due") or [] if each not in self._due]
        removed = self._remove_pods(exposure.pods, arguments) if exposure.pods else []
        if exposure.pods:
            verb = "would be deleted" if self.check_mode else "are gone"
            said.append(f"{len(exposure.pods)} pods whose logs held patients {verb}, and their logs with them")
        return {
            "changed": self._changed or (self.check_mode and bool(exposure.version or exposure.pods)),
            "taken_back": taken_back,
            "removed": removed,
            "due": self._due,
            "calls": self._client.calls,
            "codeblue": {"summary": "; ".join(said) or "no version is behind it, and no log holds anything"},
        }

    def _remove_pods(self, pods: Mapping[str, str], arguments: Mapping[str, t.Any]) -> list[str]:
        """Delete what is left of these very pods, and wait until they are gone: their logs go with them."""
        if self.check_mode:
            self._planned.append("remove_pods")
            return []
        left = self._left(pods)
        alone = [str(each["metadata"]["name"]) for each in left if not kept_by_controller(each)]
        if alone:
            raise CodeblueError(
                f"{self._place}: nobody would make pod {alone[0]} again, whose log holds patients: it was left",
                "delete it by hand, when it is not the only one",
            )

        def remove(_run: OpenRun) -> dict[str, t.Any]:
            deleted = self._workload.delete_pods(left)
            return {"changed": bool(deleted), "machines": deleted, **({"accepted_at": time.time()} if deleted else {})}

        decision = {"machines": sorted(pods), "reason": "their logs hold patients; they were kept as evidence"}
        done = self.local_change("remove_pods", decision, remove)
        self._changed |= bool(done.get("changed"))
        ends = time.monotonic() + arguments["gone_within"]
        while still := self._left(pods):
            if time.monotonic() >= ends:
                raise CodeblueError(
                    f"{self._place}: pod {still[0]['metadata']['name']}, whose log holds patients, does not end",
                    "look at its node; end it there, and resume",
                )
            self.renew()
            time.sleep(_PAUSE)
        waiter = RolloutWaiter(self._client, self._place, self.renew, lambda _pods: ())
        waited = waiter.wait(self._workload.read().rollout.current, Budget(arguments["rollout_within"]))
        if waited.problem:
            raise CodeblueError(f"{self._place}: {waited.problem}", "see the logs of its pods")
        return list(done.get("machines") or [])

    def _left(self, pods: Mapping[str, str]) -> list[dict[str, t.Any]]:
        found = self._client.list_all(PODS, self._place.namespace)
        return [each for each in found if each["metadata"]["uid"] in pods.values()]
