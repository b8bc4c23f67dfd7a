# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Gives Secrets of a service on Kubernetes new values, and has everybody who uses them start with these."""

from __future__ import annotations

import base64
import dataclasses
import stat
import time
import typing as t
from collections.abc import Sequence
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_consumers import (
    KINDS,
    WORKLOADS,
    Consumer,
    consumers_of,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_routes import cut_off
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_step import MISSING, KubernetesStepAction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_kubernetes import Workload
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_kubernetes_secrets import (
    GENERATED,
    RotatedSecret,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._api_keys import new_key
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import PODS, SECRETS, Budget
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import Conflict, KubernetesError
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_objects import (
        kept_by_controller,
        kind_of,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_reconcilers import (
        Reconciler,
        find_reconcilers,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_rollouts import Revision
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_waiter import RolloutWaiter
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_objects import resource_of

    _MISSING: ImportError | None = MISSING
except ImportError as error:
    _MISSING = error

_CALL_SECONDS = 120.0
# By whose value a run knows what it has done itself. A restart does not make another version of a workload.
_ROTATED = "codeblue.recovery/rotated-by"
_RESTARTED = "codeblue.recovery/restarted-at"
_MOST_CONFLICTS = 8
# A Secret holds 1 MiB at most, all keys together.
_LARGEST = 1024 * 1024
_ANY_REVISION = ""


class ActionModule(KubernetesStepAction):
    """See plugins/modules/kubernetes_secret_rotate.py."""

    STAGE = "rotate_secrets"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "names": {"type": "list", "elements": "str", "default": []},
        "reason": {"type": "str", "default": ""},
        "rollout_within": {"type": "float", "default": 300.0},
        "healthy_within": {"type": "float"},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        wanted = self._wanted(service, arguments["names"])
        self.connect(service, _CALL_SECONDS + 10 * arguments["rollout_within"])
        if not wanted:
            summary = f"{self.target}: codeblue_kubernetes.secrets names none, nothing was rotated"
            return {"rotated": [], "consumers": [], "codeblue": {"summary": summary}}
        new = {each.name: self._files(each) for each in wanted}
        suspended = [each for secret in wanted for each in self._look(secret)]
        consumers = self._consumers(wanted)
        rolled = [each for each in consumers if each.rolled]
        self._told += [f"{each.said}: {each.advice}" for each in consumers if not each.rolled]
        if self.check_mode:
            for each in wanted:
                self.plan(suspended, f"rotate_{each.name}")
                suspended = []
            self._planned += [f"restart_{each.kind}_{each.name}" for each in rolled]
        else:
            run = self.open_run()
            for reconciler in suspended:
                self.suspend(run, reconciler, "a Secret")
            for each in wanted:
                self._rotate(each, new[each.name], arguments["reason"])
            for consumer in rolled:
                self._restart(consumer, arguments["rollout_within"])
            self._prove(service, arguments["healthy_within"])
        return {
            "changed": self._changed or self.check_mode,
            "rotated": [{"secret": each.name, "keys": sorted(each.keys)} for each in wanted],
            "consumers": [each.said for each in consumers],
            "due": self._due,
            "calls": self._client.calls,
            "codeblue": {"summary": self._summary(wanted, rolled)},
        }

    # -- what --------------------------------------------------------------------------------------------------

    @staticmethod
    def _wanted(service: Service, names: Sequence[str]) -> list[RotatedSecret]:
        known = {each.name: each for each in service.require_kubernetes().secrets}
        unknown = [name for name in names if name not in known]
        if unknown:
            raise BadInput(
                f"{service.name}: codeblue_kubernetes.secrets does not name {unknown[0]}",
                f"known: {', '.join(known) or 'none'}",
            )
        return [known[name] for name in names] if names else list(known.values())

    def _files(self, secret: RotatedSecret) -> dict[str, bytes]:
        """The values that files give, read before anything changes."""
        found = {}
        for key, origin in secret.keys.items():
            if origin == GENERATED:
                continue
            path = Path(origin)
            try:
                mode, content = path.stat().st_mode, path.read_bytes()[: _LARGEST + 1]
            except OSError as error:
                raise BadInput(
                    f"{self.target}: {path}, for key {key} of Secret {secret.name}: {error.strerror}",
                    "put the new value there, run again",
                ) from None
            if stat.S_IMODE(mode) & 0o077:
                raise BadInput(f"{path}: can be read by others", f"chmod 600 {path}")
            value = content.rstrip(b"\r\n")
            if not value or len(content) > _LARGEST:
                raise BadInput(f"{path}: is {'empty' if not value else 'larger than a Secret may be'}")
            found[key] = value
            self._secrets.add(value.decode("utf-8", "replace"))
        return found

    def _look(self, secret: RotatedSecret) -> list[Reconciler]:
        """Who keeps the Secret and is to be suspended.

        :raises Refused: a controller makes it, or it cannot be changed in place.
        """
        live = self._client.get(SECRETS, secret.name, self._place.namespace)
        where = f"Secret {secret.name} in namespace {self._place.namespace}"
        owner = kept_by_controller(live)
        if owner:
            raise Refused(f"{where} is made by {owner}, nothing was changed", "change the value where it is from")
        if live.get("immutable"):
            raise Refused(f"{where} is immutable, nothing was changed", "make one of another name, and roll it out")
        return self.meet(find_reconcilers(self._client, {**live, "kind": "Secret"}, []), where)

    def _consumers(self, wanted: Sequence[RotatedSecret]) -> list[Consumer]:
        namespace = self._place.namespace
        objects = {kind: self._client.list_all(resource_of(kind_of(kind)), namespace) for kind in KINDS}
        # Jobs that are over use nothing any more.
        objects["Job"] = [each for each in objects["Job"] if (each.get("status") or {}).get("active")]
        pods = self._client.list_all(PODS, namespace)
        objects["Pod"] = [each for each in pods if not kept_by_controller(each)]
        found = consumers_of([each.name for each in wanted], objects)
        own = self._place.workload
        # Its own first: what the new values break is seen on the service that is being recovered.
        return sorted(found, key=lambda each: ((each.kind, each.name) != (own.kind, own.name), each))

    # -- doing -------------------------------------------------------------------------------------------------

    def _rotate(self, secret: RotatedSecret, given: dict[str, bytes], reason: str) -> None:
        namespace = self._place.namespace
        action = f"rotate_{secret.name}"
        in_doubt = self.begun(action)

        def rotate(run: OpenRun) -> dict[str, t.Any]:
            sent = in_doubt
            for _conflict in range(_MOST_CONFLICTS):
                live = self._client.get(SECRETS, secret.name, namespace)
                if (live["metadata"].get("annotations") or {}).get(_ROTATED) == run.run_id:
                    # It was this run, and the answer was lost.
                    return {"changed": sent, "keys": sorted(secret.keys)}
                values = {key: given.get(key) or new_key().encode() for key in secret.keys}
                change = {
                    "metadata": {
                        "resourceVersion": live["metadata"]["resourceVersion"],
                        "annotations": {_ROTATED: run.run_id},
                    },
                    "data": {key: base64.b64encode(value).decode() for key, value in values.items()},
                }
                try:
                    self._client.merge(SECRETS, secret.name, namespace, change)
                except Conflict:
                    sent = True
                    continue
                return {"changed": True, "keys": sorted(secret.keys), "accepted_at": time.time()}
            raise KubernetesError(f"Secret {secret.name}: is changed over and over by others", "find out who keeps it")

        decision = {
            "machine": f"the cluster of {self.target}",
            "reason": reason or "asked for by a person",
            "keys": sorted(secret.keys),
            "undo": f"codeblue.recovery.kubernetes_restore with replace: [Secret/{secret.name}], from a snapshot",
        }
        self._changed |= bool(self.local_change(action, decision, rotate).get("changed"))

    def _restart(self, consumer: Consumer, seconds: float) -> None:
        """Have the pods of a workload made anew, and wait for them before the next one's turn."""
        place = dataclasses.replace(self._place, workload=Workload(consumer.kind, consumer.name))
        resource = resource_of(kind_of(consumer.kind))

        def restart(run: OpenRun) -> dict[str, t.Any]:
            live = self._client.get(resource, consumer.name, place.namespace)
            notes = (live["spec"]["template"].get("metadata") or {}).get("annotations") or {}
            accepted: dict[str, float] = {}
            if notes.get(_RESTARTED) != run.run_id:
                change = {"spec": {"template": {"metadata": {"annotations": {_RESTARTED: run.run_id}}}}}
                live = self._client.merge(resource, consumer.name, place.namespace, change)
                accepted["accepted_at"] = time.time()
            by_hand = _by_hand({**live, "kind": consumer.kind})
            if not by_hand and not cut_off(live):
                waiter = RolloutWaiter(self._client, place, self.renew, lambda _pods: ())
                waited = waiter.wait(Revision("", 0, _ANY_REVISION, {}), Budget(seconds))
                if waited.problem:
                    raise CodeblueError(
                        f"{place} does not work with the new values: {waited.problem}",
                        "see the logs of its pods; the old values are in a snapshot",
                    )
            return {"changed": True, "by_hand": by_hand, **accepted}

        decision = {"machine": str(place), "reason": f"it uses what was rotated: {', '.join(consumer.by)}"}
        done = self.local_change(f"restart_{consumer.kind}_{consumer.name}"[:120], decision, restart)
        self._changed |= bool(done.get("changed"))
        if done.get("by_hand"):
            self.give_back(self.open_run(), f"{done['by_hand']} of {place}, its pods still have the old values")

    def _prove(self, service: Service, given: float | None) -> None:
        def prove(_run: OpenRun) -> dict[str, t.Any]:
            manifest = self._client.get(
                resource_of(kind_of(self._place.workload.kind)), self._place.workload.name, self._place.namespace
            )
            if cut_off(manifest):
                return {"changed": False, "put_off": True}
            problem = self.until_healthy(service, given)
            if problem:
                raise CodeblueError(
                    f"{self.target} does not work with the new values: {problem}",
                    "see the logs of its pods; the old values are in a snapshot",
                )
            return {"changed": False, "put_off": False}

        if self.local_change("prove_rotation", {"reason": "whether it works with the new values"}, prove)["put_off"]:
            self._told.append("it is in quarantine: whether it works is seen when it is given back")

    def _summary(self, wanted: Sequence[RotatedSecret], rolled: Sequence[Consumer]) -> str:
        said = ", ".join(f"{', '.join(sorted(each.keys))} of Secret {each.name}" for each in wanted)
        who = ", ".join(f"{each.kind} {each.name}" for each in rolled)
        verb = "would give" if self.check_mode else "gave"
        roll = f", and restart{'' if self.check_mode else 'ed'} {who}" if who else ""
        return f"{verb} {said} new values{roll}{self.afterwards()}"


def _by_hand(workload: dict[str, t.Any]) -> str:
    """What a person has to do for its pods to be made anew; empty when their controller does it."""
    spec = workload["spec"]
    if workload["kind"] == WORKLOADS[0] and spec.get("paused"):
        return "resume the rollout"
    if (spec.get("updateStrategy") or {}).get("type") == "OnDelete":
        return "delete the pods"
    return ""
