# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Closes what exposes patients' data on Kubernetes: traffic to open pages, and ways in that nobody meant."""

from __future__ import annotations

import dataclasses
import functools
import json
import time
import typing as t
from collections.abc import Callable, Mapping, Sequence

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_step import MISSING, KubernetesStepAction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_exposure import ways_nobody_meant
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._evidence_store import (
        EvidenceStore,
        Piece,
        evidence_directory,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._exposure import policy_of
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
        ENDPOINT_SLICES,
        INGRESSES,
        SERVICES,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_exposure import ClusterExposure
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_exposure_closing import (
        ClosingWays,
        way_back,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_look import (
        ready_endpoints,
        selecting_service,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_reconcilers import (
        REFUSE,
        TELL,
        Reconciler,
        find_reconcilers,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_routes import selector_text
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_ways_in import (
        leading_services,
        without_backends,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._recipients import Recipients

    _MISSING: ImportError | None = MISSING
except ImportError as error:
    _MISSING = error

_CALL_SECONDS = 60.0
_PAUSE = 0.1
_EVIDENCE = "ways_in"

Object = Mapping[str, t.Any]


class ActionModule(KubernetesStepAction):
    """See plugins/modules/kubernetes_exposure_close.py."""

    STAGE = "contain"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "diagnosis": {"type": "dict", "required": True},
        "recipients": {"type": "list", "elements": "str", "default": []},
        "directory": {"type": "path"},
        "closed_within": {"type": "float", "default": 15.0},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        policy_of(service)
        exposure = ClusterExposure.of(arguments["diagnosis"])
        self.connect(service, _CALL_SECONDS + arguments["closed_within"])
        self._closing = ClosingWays(self._client, self._place)
        services, ingresses = (self._listed(kind) for kind in (SERVICES, INGRESSES))
        chosen = self._chosen(exposure, services, ingresses, bool(arguments["recipients"]))
        objects = self._objects(chosen, services, ingresses)
        suspended = self._keepers(objects)
        if self.check_mode:
            self._planned += [f"lead_nowhere_{name}" for name in chosen["selectors"]]
            self.plan(suspended, f"close {', '.join(chosen['ways'])}" if chosen["ways"] else "prove")
            return self._ended(exposure, chosen)
        if objects:
            self._keep(objects, arguments)
            for each in suspended:
                self.suspend(self.open_run(), each, f"a way to {self._place}")
        self._lead_nowhere(chosen["selectors"])
        self._close_ways(chosen, services)
        self._prove(chosen, arguments["closed_within"])
        return self._ended(exposure, chosen)

    # -- deciding ----------------------------------------------------------------------------------------------

    def _chosen(
        self, exposure: ClusterExposure, services: Sequence[Object], ingresses: Sequence[Object], kept: bool
    ) -> dict[str, t.Any]:
        """What is closed, written down before the first change, so that a resumed run closes and opens the same.

        :param kept: manifests are kept as evidence: what is deleted can be made again.
        """

        def decide(_run: OpenRun | None = None) -> dict[str, t.Any]:
            template = self._workload.read().manifest["spec"]["template"]
            leading = leading_services(services, (template.get("metadata") or {}).get("labels") or {})
            names = [str(each["metadata"]["name"]) for each in leading]
            ways = list(exposure.ways)
            cut = bool(exposure.pages)
            for each in ingresses:
                key = f"Ingress/{each['metadata']['name']}"
                if key in ways and not kept and without_backends(each, names) is None:
                    # Nobody could make it again: the Services behind it lead nowhere instead.
                    ways.remove(key)
                    cut = True
            selectors = {str(each["metadata"]["name"]): selector_text(each["spec"]["selector"]) for each in leading}
            if exposure.pages and not selectors:
                raise CodeblueError(
                    f"{self._place}: no Service leads to its pods, so there is none that could be led away from them",
                    "scale it to 0 now: kubectl scale, then look who asks the pods directly",
                )
            return {"changed": False, "selectors": selectors if cut else {}, "ways": ways, "services": names}

        if self.check_mode:
            return decide()
        return self.local_change("choose", {"reason": "patients' data is exposed"}, decide)

    @staticmethod
    def _objects(
        chosen: Mapping[str, t.Any], services: Sequence[Object], ingresses: Sequence[Object]
    ) -> list[dict[str, t.Any]]:
        """What is going to be changed, as it is."""
        wanted = {*chosen["ways"], *(f"Service/{name}" for name in chosen["selectors"])}
        every = [{**each, "kind": "Service"} for each in services] + [{**each, "kind": "Ingress"} for each in ingresses]
        return [each for each in every if f"{each['kind']}/{each['metadata']['name']}" in wanted]

    def _keepers(self, objects: Sequence[Object]) -> list[Reconciler]:
        """Those who keep one of them and are to be suspended; one that cannot be is told: it may open it again."""
        found = [
            dataclasses.replace(each, treatment=TELL, advice=f"it may open it again: {each.advice}")
            if each.treatment == REFUSE
            else each
            for one in objects
            for each in find_reconcilers(self._client, one, [])
        ]
        return self.meet(list(dict.fromkeys(found)), f"a way to {self._place}")

    # -- acting ------------------------------------------------------------------------------------------------

    def _keep(self, objects: Sequence[Object], arguments: Mapping[str, t.Any]) -> None:
        """The objects with who wrote which field when, before anything is changed. What was kept before stands."""
        gate, given = self.open_run(), arguments["recipients"]
        recipients = Recipients.parse(given, "codeblue_evidence_recipients") if given else None
        store = EvidenceStore(evidence_directory(arguments["directory"]), gate.run_id, gate.store, recipients)
        pieces = [
            Piece(f"{each['kind']}_{each['metadata']['name']}", json.dumps(each, sort_keys=True, indent=1).encode())
            for each in objects
        ]
        origin = f"the API server, namespace {self._place.namespace}"
        store.keep(self.target, _EVIDENCE, pieces, origin, f"{len(pieces)} objects before they were closed")

    def _lead_nowhere(self, selectors: Mapping[str, str]) -> None:
        for name, before in selectors.items():
            undo = way_back(self._place, name, before)
            decision = {"reason": "it leads to pages with patients", "from": before, "undo": undo}
            self._step(f"lead_nowhere_{name}", decision, functools.partial(self._closing.lead_nowhere, name, before))

    def _close_ways(self, chosen: Mapping[str, t.Any], services: Sequence[Object]) -> None:
        types = {str(each["metadata"]["name"]): str(each["spec"].get("type") or "ClusterIP") for each in services}
        for way in chosen["ways"]:
            kind, _slash, name = way.partition("/")
            if kind == "Service":
                change = json.dumps({"spec": {"type": types.get(name, "LoadBalancer")}})
                undo = f"kubectl -n {self._place.namespace} patch service {name} -p '{change}'"
                work = functools.partial(self._closing.keep_inside, name)
            else:
                undo = f"kubectl apply -f, with the piece Ingress_{name} of the evidence {_EVIDENCE}"
                work = functools.partial(self._closing.leave_out, name, chosen["services"])
            decision = {"reason": f"{way} leads to it from outside, and nobody meant that", "undo": undo}
            if self._step(f"close_{kind}_{name}", decision, work):
                self.give_back(self.open_run(), f"if {way} was meant, name it in ways_in, then: {undo}")

    def _step(self, action: str, decision: Mapping[str, t.Any], work: Callable[[], float | None]) -> bool:
        """A journalled step; whether anything was changed."""
        in_doubt = self.begun(action)

        def close(_run: OpenRun) -> dict[str, t.Any]:
            accepted_at = work()
            accepted = {"accepted_at": accepted_at} if accepted_at is not None else {}
            # In doubt and done is this run's own change, of which the answer was lost.
            return {"changed": accepted_at is not None or in_doubt, **accepted}

        changed = bool(self.local_change(action, decision, close).get("changed"))
        self._changed |= changed
        return changed

    def _prove(self, chosen: Mapping[str, t.Any], seconds: float) -> None:
        """:raises CodeblueError: something is open still."""
        ends = time.monotonic() + seconds
        while still := self._open(chosen):
            if time.monotonic() >= ends:
                raise CodeblueError(
                    f"{self.target}: is not closed: {'; '.join(still[:3])}", "scale it to 0 now: kubectl scale"
                )
            self.renew()
            time.sleep(_PAUSE)

    def _open(self, chosen: Mapping[str, t.Any]) -> list[str]:
        found = []
        for name in chosen["selectors"]:
            slices = self._client.list_all(ENDPOINT_SLICES, self._place.namespace, labels=selecting_service(name))
            if ready_endpoints(slices):
                found.append(f"Service {name} leads to pods still")
        ways = ways_nobody_meant(self._client, self._place) if chosen["ways"] else []
        return found + [f"{each.key} is there again" for each in ways if each.key in chosen["ways"]]

    def _listed(self, resource: t.Any) -> list[dict[str, t.Any]]:
        return self._client.list_all(resource, self._place.namespace)

    # -- telling -----------------------------------------------------------------------------------------------

    def _ended(self, exposure: ClusterExposure, chosen: Mapping[str, t.Any]) -> dict[str, t.Any]:
        said = [f"Service {name} leads nowhere" for name in chosen["selectors"]]
        said += [f"{way} leads to it no more" for way in chosen["ways"]]
        if exposure.pods and not said:
            said = [f"logs of {len(exposure.pods)} pods are open until these are gone; nothing else is"]
        verb = "would close" if self.check_mode else "closed"
        summary = f"{verb}: {'; '.join(said)}" if chosen["selectors"] or chosen["ways"] else "; ".join(said)
        return {
            "changed": self._changed or (self.check_mode and bool(chosen["selectors"] or chosen["ways"])),
            "pages": list(exposure.pages),
            "services": sorted(chosen["selectors"]),
            "ways": list(chosen["ways"]),
            "due": self._due,
            "calls": self._client.calls,
            "codeblue": {"summary": (summary or "nothing is open that could be closed") + self.afterwards()},
        }
