# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Leads a Service on Kubernetes to the pods of its workload again, and proves it."""

from __future__ import annotations

import functools
import json
import time
import typing as t
from collections.abc import Mapping

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_look import (
    ready_endpoints,
    selecting_service,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_routes import (
    ROUTE_KIND,
    Route,
    cut_off,
    fits,
    last_good_route,
    selector_of_text,
    selector_text,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_step import (
    MISSING,
    KubernetesStepAction,
    NotProven,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_templates import cleaned
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_change import Field, change_field
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
        ENDPOINT_SLICES,
        SERVICES,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import NotFound
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_reconcilers import find_reconcilers
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_journal import PROOF

    _MISSING: ImportError | None = MISSING
except ImportError as error:
    _MISSING = error

# For everything but waiting for addresses.
_CALL_SECONDS = 120.0
_PAUSE = 0.2
_SWITCH = "select"

Object = Mapping[str, t.Any]


class ActionModule(KubernetesStepAction):
    """See plugins/modules/kubernetes_route.py."""

    STAGE = "route"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "reason": {"type": "str", "default": ""},
        "routed_within": {"type": "float", "default": 60.0},
        "healthy_within": {"type": "float"},
        "when_unhealthy": {"type": "str", "choices": ["fail", "report"], "default": "fail"},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        self.connect(service, _CALL_SECONDS + arguments["routed_within"])
        if self._place.service is None:
            raise BadInput(f"{self.target}: codeblue_kubernetes names no service that could lead anywhere")
        self._what = f"Service {self._place.service} in namespace {self._place.namespace}"
        workload = self._workload.read().manifest
        leading = self._leading()
        chosen = self._choice(leading, workload, arguments["reason"])
        problem = ""
        if chosen["from"] != chosen["to"]:
            self._switch(leading, chosen, arguments["reason"])
            problem = "" if self.check_mode else self._prove(chosen["to"], arguments)
        diff = {"diff": self._diff(chosen)} if self._task.diff and chosen["from"] != chosen["to"] else {}
        return {
            "changed": self._changed or (self.check_mode and chosen["from"] != chosen["to"]),
            "before": selector_of_text(chosen["from"]),
            "after": selector_of_text(chosen["to"]),
            "why": chosen["why"],
            "problem": problem,
            "due": self._due,
            "reconcilers": self._told,
            "calls": self._client.calls,
            **diff,
            "codeblue": {"summary": self._summary(chosen, problem)},
        }

    # -- deciding ----------------------------------------------------------------------------------------------

    def _leading(self) -> dict[str, t.Any]:
        """The Service.

        :raises NotFound: it is not there; a selector alone makes none.
        """
        try:
            return self._client.get(SERVICES, str(self._place.service), self._place.namespace)
        except NotFound:
            raise NotFound(f"there is no {self._what}", "make it again from its manifest or a snapshot") from None

    def _choice(self, leading: Object, workload: Object, reason: str) -> dict[str, str]:
        """From which selector to which, written down before the change, so that a resumed run does the same."""

        def decide(_run: OpenRun | None = None) -> dict[str, t.Any]:
            before = selector_text(leading["spec"].get("selector"))
            route = self._route(leading, workload, before)
            return {"changed": False, "from": before, "to": route.text, "reason": route.why}

        kept = decide() if self.check_mode else self.local_change("choose", _decision(reason), decide)
        return {"from": str(kept["from"]), "to": str(kept["to"]), "why": str(kept["reason"])}

    def _route(self, leading: Object, workload: Object, before: str) -> Route:
        held = cut_off(leading, workload)
        if held:
            raise Refused(f"{self._what} is cut off on purpose ({held})", "codeblue run release_service first")
        if not before:
            # Its addresses are written by somebody else, or it is another name only.
            raise Refused(
                f"{self._what} selects no pods by itself, nothing was changed", "find out who writes its addresses"
            )
        labels = cleaned(workload["spec"]["template"])["metadata"].get("labels") or {}
        if fits(selector_of_text(before), labels):
            return Route(before, f"it fits the pods of {self._place.workload} already")
        route = last_good_route(workload, self.proven(ROUTE_KIND))
        if route is None:
            raise CodeblueError(f"{self._place}: its pods have no labels to select them by", "mend its template first")
        return route

    # -- acting ------------------------------------------------------------------------------------------------

    def _switch(self, leading: Object, chosen: Mapping[str, str], reason: str) -> None:
        suspended = self.meet(find_reconcilers(self._client, leading, []), self._what)
        if self.check_mode:
            self.plan(suspended, f"{_SWITCH} {chosen['to']} instead of {chosen['from']}")
            return
        run = self.open_run()
        for each in suspended:
            self.suspend(run, each, self._what)
        in_doubt = self.begun(_SWITCH)
        name, namespace = str(self._place.service), self._place.namespace
        field = Field(SERVICES, namespace, name, "/spec/selector", _selector)

        def switch(_run: OpenRun) -> dict[str, t.Any]:
            wanted = selector_of_text(chosen["to"])
            accepted_at = change_field(self._client, field, chosen["from"], chosen["to"], wanted)
            said = {"from": chosen["from"], "to": chosen["to"], "already_done": accepted_at is None}
            # In doubt and done is this run's own change, of which the answer was lost.
            changed = accepted_at is not None or in_doubt
            return {"changed": changed, **said, **({"accepted_at": accepted_at} if accepted_at else {})}

        decision = {**_decision(reason), "from": chosen["from"], "to": chosen["to"], "undo": self._way_back(chosen)}
        self._changed |= bool(self.local_change(_SWITCH, decision, switch).get("changed"))

    def _way_back(self, chosen: Mapping[str, str]) -> str:
        """The command that gives the Service the selector from before, whole."""
        selector = selector_of_text(chosen["from"])
        patch = json.dumps([{"op": "replace", "path": "/spec/selector", "value": selector}], sort_keys=True)
        return f"kubectl -n {self._place.namespace} patch service {self._place.service} --type json -p '{patch}'"

    def _prove(self, selector: str, arguments: Mapping[str, t.Any]) -> str:
        """Wait until addresses get traffic and the checks pass; then the selector is one that works.

        :returns: what does not work, empty when everything does.
        :raises NotProven: it does not work, and that is to fail.
        """

        def prove(_run: OpenRun) -> dict[str, t.Any]:
            started = time.monotonic()
            while not self._addresses():
                if time.monotonic() - started >= arguments["routed_within"]:
                    what = f"{self._what}: no pod gets its traffic still"
                    raise NotProven(what, "look whether its pods are ready")
                self.renew()
                time.sleep(_PAUSE)
            problem = self.until_healthy(self.service(), arguments["healthy_within"])
            if problem:
                raise NotProven(
                    f"{self._what} leads to its pods and does not work: {problem}",
                    "run the runbook again: it looks at what is wrong now",
                )
            seconds = round(time.monotonic() - started, 3)
            return {"changed": False, "kind": ROUTE_KIND, "version": selector, "seconds": seconds}

        work = functools.partial(self.local_change, f"{PROOF}{_SWITCH}", {"version": selector}, prove)
        return self.proved(work, arguments["when_unhealthy"])

    def _addresses(self) -> int:
        labels = selecting_service(str(self._place.service))
        return ready_endpoints(self._client.list_all(ENDPOINT_SLICES, self._place.namespace, labels=labels))

    # -- telling -----------------------------------------------------------------------------------------------

    def _diff(self, chosen: Mapping[str, str]) -> dict[str, str]:
        return {
            "before": "".join(f"{each}\n" for each in chosen["from"].split(",")),
            "after": "".join(f"{each}\n" for each in chosen["to"].split(",")),
            "before_header": f"{self._what}: selector",
            "after_header": f"{self._what}: selector",
        }

    def _summary(self, chosen: Mapping[str, str], problem: str) -> str:
        if chosen["from"] == chosen["to"]:
            return f"{self._what} is left as it is: {chosen['why']}{self.afterwards()}"
        verb = "would give" if self.check_mode else "gave"
        said = f"{verb} {self._what} the selector {chosen['to']} instead of {chosen['from']} ({chosen['why']})"
        return f"{said}{problem and '; ' + problem}{self.afterwards()}"


def _selector(manifest: Object) -> str:
    return selector_text(manifest["spec"].get("selector"))


def _decision(reason: str) -> dict[str, str]:
    return {"reason": reason[:200] or "it leads to none of the pods"}
