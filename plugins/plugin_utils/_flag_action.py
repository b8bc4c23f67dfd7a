# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Switches flags where they are: on machines by a module, in ConfigMaps and parameters by their APIs."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Sequence

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._config_map_flags import (
    consumer_of,
    is_so,
    read_flags,
    restart_consumer,
    write_flags,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._criteria import profile_for
from ansible_collections.codeblue.recovery.plugins.plugin_utils._feature_changes import BEHIND_API
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_reconcilers import find_reconcilers
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_waiter import progress
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer, MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_features import (
    ConfigMapPlace,
    Feature,
    ParameterPlace,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._parameter_flags import read_parameter, write_parameter
from ansible_collections.codeblue.recovery.plugins.plugin_utils._reconciler_steps import ReconcilerSteps
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change, Changed, OpenRun

_LOOK_SECONDS = 15.0
_CALL_SECONDS = 120.0
_RESTARTED_SECONDS = 120.0
_RENEW_SECONDS = 10.0
_PAUSE = 0.5


class FlagAction(ReconcilerSteps):
    """Base of the actions that switch features. The clients of Kubernetes and AWS are imported only where one of the
    places is theirs: half a second that a feature on hosts does not wait for.
    """

    def ready_for(self, service: Service) -> None:
        """Remember whose places these are. `act` calls it first."""
        self._service = service
        self._client_kept: t.Any = None
        self._account_kept: t.Any = None
        self._renewed = time.monotonic()
        self.begin_telling()

    def switch_flags(self, changes: Sequence[Change], seen_by_all: bool = False) -> list[Changed]:
        """Set the flags in every place.

        :param seen_by_all: wait until pods that are restarted for it serve again.
        """
        answered: dict[int, Changed] = {}
        on_machines = [(number, each) for number, each in enumerate(changes) if each.module != BEHIND_API]
        for number, change in enumerate(changes):
            if change.module == BEHIND_API:
                answered[number] = self._behind_api(change, seen_by_all)
        if on_machines:
            ended = self.changes([each for _number, each in on_machines])
            answered |= {number: each for (number, _change), each in zip(on_machines, ended, strict=True)}
        return [answered[number] for number in range(len(changes))]

    def flags_now(self, feature: Feature) -> list[dict[str, t.Any]]:
        """The flags of every place.

        :raises CodeblueError: one cannot be asked.
        """
        asked = [each for each in feature.places if each.behind_api is None]
        calls = [
            MachineCall(
                each.machine, "codeblue.recovery.feature_flag", each.as_arguments(), _LOOK_SECONDS, check_mode=True
            )
            for each in asked
        ]
        found = [each.result_or_raise()["before"] for each in self.look(calls)] if calls else []
        return found + [self._read(each.behind_api) for each in feature.places if each.behind_api is not None]

    def until_refreshed(self, feature: Feature) -> None:
        """Wait until pods that are not restarted see a change, on the time scale of the environment."""
        places = [each.behind_api for each in feature.places if each.behind_api is not None]
        seen_late = [each for each in places if isinstance(each, ParameterPlace) or each.restarts is None]
        within = max((each.refreshed_within for each in seen_late), default=0.0)
        self._pass(within * profile_for(self._service.environment).time_scale)

    # -- one place behind an API -------------------------------------------------------------------------------

    def _behind_api(self, change: Change, seen_by_all: bool) -> Changed:
        try:
            return Changed(change, MachineAnswer(change.machine, result=self._switched(change, seen_by_all)))
        except CodeblueError as error:
            answer = MachineAnswer(change.machine, failure=error.message, hint=error.hint, exit_code=error.exit_code)
            return Changed(change, answer)

    def _switched(self, change: Change, seen_by_all: bool) -> dict[str, t.Any]:
        place: ConfigMapPlace | ParameterPlace = change.arguments["place"]
        wanted = dict(change.arguments["flags"])
        if self.check_mode:
            now = self._read(place)
            self._planned.append(f"{change.action} in {place}")
            return {"changed": not is_so(now, wanted), "before": _of(now, wanted)}

        def look(_run: OpenRun) -> dict[str, t.Any]:
            # Before the first change and once: a resumed run must not take its own flags for those from before.
            return {"changed": False, "before": _of(self._read(place), wanted)}

        before = dict(self.local_change(f"look_{change.action}", {}, look, change.target)["before"])
        run = self.open_run(change.target)
        if isinstance(place, ConfigMapPlace) and not is_so(before, wanted):
            seen = read_flags(self._cluster, place)
            for each in self.meet(find_reconcilers(self._cluster, seen.manifest, []), str(place)):
                self.suspend(run, each, str(place))

        def write(_run: OpenRun) -> dict[str, t.Any]:
            expected = dict(change.arguments.get("expect") or {})
            accepted_at = self._write(place, wanted, expected)
            changed = accepted_at is not None or not is_so(before, wanted)
            said = {"changed": changed, "before": before, "after": wanted, "already_done": accepted_at is None}
            return {**said, **({"accepted_at": accepted_at} if accepted_at else {})}

        result = self.local_change(change.action, change.decision, write, change.target)
        if result["changed"] and isinstance(place, ConfigMapPlace) and place.restarts is not None:
            self._restart(change, place, run, seen_by_all)
        return {**result, "before": before}

    def _restart(self, change: Change, place: ConfigMapPlace, run: OpenRun, seen_by_all: bool) -> None:
        mark = f"{run.run_id}/{change.action}"

        def restart(_run: OpenRun) -> dict[str, t.Any]:
            accepted_at = restart_consumer(self._cluster, place, mark)
            return {"changed": True, **({"accepted_at": accepted_at} if accepted_at else {})}

        decision = {"reason": f"{place.restarts} reads {place} only when it starts", "undo": "none is needed"}
        self.local_change(f"restart_{change.action}", decision, restart, change.target)
        ends = time.monotonic() + _RESTARTED_SECONDS
        while seen_by_all and (problem := progress(consumer_of(self._cluster, place))):
            if time.monotonic() >= ends:
                raise CodeblueError(f"{place.restarts} was restarted for its flags: {problem}", "see its pods")
            self._pass(_PAUSE)

    def _read(self, place: ConfigMapPlace | ParameterPlace) -> dict[str, t.Any]:
        if isinstance(place, ParameterPlace):
            return read_parameter(self._account, place).flags
        return read_flags(self._cluster, place).flags

    def _write(
        self, place: ConfigMapPlace | ParameterPlace, wanted: dict[str, t.Any], expected: dict[str, t.Any]
    ) -> float | None:
        if isinstance(place, ParameterPlace):
            return write_parameter(self._account, place, wanted, expected)
        return write_flags(self._cluster, place, wanted, expected)

    def _pass(self, seconds: float) -> None:
        """Let time pass; others see that somebody is at work."""
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            if time.monotonic() - self._renewed >= _RENEW_SECONDS:
                self._renewed = time.monotonic()
                self.renew_lease()
            time.sleep(min(left, _PAUSE))

    @property
    def _account(self) -> t.Any:
        if self._account_kept is None:
            from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_access import AwsAccess
            from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount, Budget

            place = self._service.require_aws()
            access = AwsAccess(place.profile, place.endpoints)
            budget = Budget(_CALL_SECONDS * 60)
            self._account_kept = AwsAccount(access, place.region, budget, read_only=self.check_mode)
        return self._account_kept

    @property
    def _cluster(self) -> t.Any:
        if self._client_kept is None:
            from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_access import ClusterAccess
            from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
                Budget,
                KubernetesClient,
            )

            place = self._service.require_kubernetes()
            access = ClusterAccess(place.kubeconfig, place.context)
            self._client_kept = self._client = KubernetesClient(access, Budget(_CALL_SECONDS * 60))
        return self._client_kept


def _of(flags: dict[str, t.Any], wanted: dict[str, t.Any]) -> dict[str, t.Any]:
    """Only those that are switched: what else is there is nobody's affair."""
    return {name: flags[name] for name in wanted if name in flags}
