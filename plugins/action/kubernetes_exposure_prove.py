# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Proves that a service on Kubernetes exposes no patients' data any more, and gives its traffic back; or fails."""

from __future__ import annotations

import functools
import secrets
import time
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_step import MISSING, KubernetesStepAction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_exposure import ways_nobody_meant
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._exposure import (
        breach_id_of,
        front_of,
        policy_of,
        statuses_from_outside,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import ENDPOINT_SLICES
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_exposure import (
        ClusterExposure,
        ask_pods,
        has_front,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_exposure_closing import (
        ClosingWays,
        way_back,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_look import (
        ready_endpoints,
        selecting_service,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_pod_logs import LogScan, PodLogs
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import utc_now

    _MISSING: ImportError | None = MISSING
except ImportError as error:
    _MISSING = error

_CALL_SECONDS = 120.0
_ASK_SECONDS = 3.0
_PAUSE = 0.3
_ROUTED_SECONDS = 20.0
_CLOSING_STAGE = "contain"
_REFUSED = range(400, 500)
_NO_ANSWER_FROM = 500


class NotProven(CodeblueError):
    """Something is still exposed, or nobody could look."""

    exit_code = 5


class ActionModule(KubernetesStepAction):
    """See plugins/modules/kubernetes_exposure_prove.py."""

    STAGE = "prove"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "diagnosis": {"type": "dict", "required": True},
        "within": {"type": "float", "default": 20.0},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        policy = policy_of(service)
        exposure = ClusterExposure.of(arguments["diagnosis"])
        pages = sorted({*exposure.pages, *policy.refused_requests})
        if self.check_mode:
            return {"codeblue": {"summary": f"would read every log again, look for ways in, and ask for {pages}"}}
        self.connect(service, _CALL_SECONDS + arguments["within"])
        self._unasked: list[str] = []
        self._logs = 0
        ends = time.monotonic() + arguments["within"]
        while problems := self._problems(service, pages):
            if time.monotonic() >= ends:
                raise NotProven(
                    f"{self.target}: patients' data is still exposed: {'; '.join(problems[:5])}",
                    "what was closed stays closed; scale it to 0 by hand, then look",
                )
            self.renew()
            time.sleep(_PAUSE)
        given_back = self._give_back(service, pages)
        gate = self.open_run()
        gate.store.exposure_ended(gate.run_id, breach_id_of(gate.run_id, self.target), utc_now())
        return {
            "changed": self._changed,
            "pages_refused": pages,
            "logs_scanned": self._logs,
            "given_back": given_back,
            "calls": self._client.calls,
            "codeblue": {"summary": self._summary(service, pages, given_back)},
        }

    # -- looking -----------------------------------------------------------------------------------------------

    def _problems(self, service: Service, pages: Sequence[str]) -> list[str]:
        """What is exposed still, in logs, on pods and by ways in; what could not be read counts as exposed."""
        logs = PodLogs(self._client, self._place)
        pods = logs.pods()
        # No digest of this look is kept or compared.
        scan = LogScan(policy_of(service), secrets.token_bytes(32))
        for log in logs.read(pods):
            scan.add(log)
        self._logs = scan.logs
        problems = scan.evidence() + logs.left_out
        problems += [each.text for each in ways_nobody_meant(self._client, self._place)]
        answers, self._unasked = ask_pods(self._client, self._place, pods, pages)
        problems += [
            f"{page} is not refused by pod {pod} ({status})"
            for page, of in answers.items()
            for pod, status in of.items()
            if status not in _REFUSED
        ]
        if self._unasked and not has_front(service):
            # From outside nobody can ask either.
            problems += self._unasked
        return problems

    def _open_from_outside(self, service: Service, pages: Sequence[str]) -> dict[str, int | None]:
        """Pages that are not refused from outside, with what was answered; None for no answer."""
        if not pages or not has_front(service):
            return {}
        statuses = statuses_from_outside(front_of(service), pages, _ASK_SECONDS)
        return {page: status for page, status in statuses.items() if status not in _REFUSED}

    # -- giving back -------------------------------------------------------------------------------------------

    def _give_back(self, service: Service, pages: Sequence[str]) -> list[str]:
        """Lead the Services to their pods again, and ask from outside; what is open then is closed at once."""
        selectors = self._closed()
        closing = ClosingWays(self._client, self._place)
        for name, before in selectors.items():
            self._step(f"lead_back_{name}", name, before, functools.partial(closing.lead_back, name, before))
        if selectors:
            self._until_routed(selectors)
        ends = time.monotonic() + _ROUTED_SECONDS
        while still := self._open_from_outside(service, pages):
            # What comes before the pods needs a moment to know them again, and says 5xx or nothing until then.
            answered = any(status is not None and status < _NO_ANSWER_FROM for status in still.values())
            if answered or time.monotonic() >= ends:
                for name, before in selectors.items():
                    work = functools.partial(closing.lead_nowhere, name, before)
                    self._step(f"lead_nowhere_again_{name}", name, before, work)
                commands = "; ".join(way_back(self._place, name, before) for name, before in selectors.items())
                said = ", ".join(f"{page} ({status or 'no answer'})" for page, status in still.items())
                raise NotProven(
                    f"{self.target}: not refused from outside: {said}", f"it is closed; once it is mended: {commands}"
                )
            time.sleep(_PAUSE)
        return sorted(selectors)

    def _closed(self) -> dict[str, str]:
        """The Services that this run leads nowhere, with the selectors that they had."""
        run = self.open_run()
        for each in run.store.steps(run.run_id):
            if (each.target, each.stage, each.action, each.state) == (self.target, _CLOSING_STAGE, "choose", "done"):
                return dict((each.result or {}).get("selectors") or {})
        return {}

    def _step(self, action: str, name: str, before: str, work: t.Callable[[], float | None]) -> None:
        in_doubt = self.begun(action)

        def change(_run: OpenRun) -> dict[str, t.Any]:
            accepted_at = work()
            accepted = {"accepted_at": accepted_at} if accepted_at is not None else {}
            return {"changed": accepted_at is not None or in_doubt, **accepted}

        decision = {"reason": f"Service {name} selected {before}", "undo": way_back(self._place, name, before)}
        self._changed |= bool(self.local_change(action, decision, change).get("changed"))

    def _until_routed(self, selectors: Mapping[str, str]) -> None:
        """:raises CodeblueError: a Service that was given back leads to no pod."""
        ends = time.monotonic() + _ROUTED_SECONDS
        for name in selectors:
            labels = selecting_service(name)
            while not ready_endpoints(self._client.list_all(ENDPOINT_SLICES, self._place.namespace, labels=labels)):
                if time.monotonic() >= ends:
                    raise CodeblueError(f"Service {name} was given back and leads to no pod", "look at its pods")
                self.renew()
                time.sleep(_PAUSE)

    # -- telling -----------------------------------------------------------------------------------------------

    def _summary(self, service: Service, pages: Sequence[str], given_back: Sequence[str]) -> str:
        outside = " and from outside" if has_front(service) else ""
        said = f"{self._logs} logs hold nobody's data"
        if self._place.ways_in is not None:
            said += "; nothing leads to it from outside that was not meant"
        if pages:
            by = "from outside" if self._unasked else f"on each pod{outside}"
            said += f"; {', '.join(pages)} refused without a credential {by}"
        if self._unasked:
            said += f"; the pods themselves could not be asked ({self._unasked[0]})"
        return said + (f"; Service {', '.join(given_back)} leads to its pods again" if given_back else "")
