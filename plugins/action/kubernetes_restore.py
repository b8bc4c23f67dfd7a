# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Makes objects of a namespace again from a snapshot, and proves that the service works with them."""

from __future__ import annotations

import secrets
import typing as t
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_step import KubernetesStepAction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store import ContentStore
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import PODS, Budget
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_objects import ObjectName
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_reconcilers import find_reconcilers
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_restore import (
        REPLACE,
        NamespaceRestore,
        Restored,
        accepted_now,
        choose_snapshot_for,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_rollouts import is_ready
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_templates import shown_object
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_waiter import (
        RolloutWaiter,
        progress,
        selector_of,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_objects import OBJECTS, KeptObjects
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Snapshot, open_store
except ImportError:
    # KubernetesStepAction says which package is missing.
    pass

_CALL_SECONDS = 120.0
# So many snapshots are looked into for what is missing, the newest first: the last may have been taken without it.
_MOST_SNAPSHOTS = 10


class ActionModule(KubernetesStepAction):
    """See plugins/modules/kubernetes_restore.py."""

    STAGE = "restore"
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "objects": {"type": "list", "elements": "str", "default": []},
        "replace": {"type": "list", "elements": "str", "default": []},
        "snapshot_id": {"type": "str"},
        "identity": {"type": "path"},
        "rollout_within": {"type": "float", "default": 300.0},
        "healthy_within": {"type": "float"},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        self.connect(service, _CALL_SECONDS + arguments["rollout_within"])
        self._restore = NamespaceRestore(self._client, self._place)
        self._snapshots: dict[str, KeptObjects] = {}
        by_name = bool(arguments["objects"] or arguments["replace"])
        decided = self._decide(arguments, by_name)
        wanted = [Restored.of(each) for each in decided["objects"]]
        diffs: list[dict[str, str]] = []
        if wanted:
            snapshot = self._snapshot(str(decided["snapshot_id"]), arguments)
            diffs = [self._diff(each, snapshot) for each in wanted] if self._task.diff else []
            for each in wanted:
                self._give_back(each, snapshot)
            if not self.check_mode:
                self._prove(service, wanted, arguments)
        return {
            "changed": self._changed or (self.check_mode and bool(wanted)),
            "restored": [each.as_dict() for each in wanted],
            "snapshot_id": decided["snapshot_id"],
            "due": self._due,
            "reconcilers": self._told,
            "calls": self._client.calls,
            **({"diff": diffs} if diffs else {}),
            "codeblue": {"summary": self._summary(wanted, decided)},
        }

    # -- deciding ----------------------------------------------------------------------------------------------

    def _decide(self, arguments: dict[str, t.Any], by_name: bool) -> dict[str, t.Any]:
        """What is given back from which snapshot, written down before the first change."""

        def decide(_run: OpenRun | None = None) -> dict[str, t.Any]:
            if by_name:
                wanted = self._restore.named(arguments["objects"], arguments["replace"])
            else:
                wanted = self._restore.lacking(lambda name: self._newest_with(name, arguments).read(name))
            if not wanted:
                return {"changed": False, "objects": [], "snapshot_id": "", "created_at": ""}
            snapshot, chosen = choose_snapshot_for(wanted, self._candidates(arguments), self.target)
            for each in chosen:
                self._restore.refuse_controlled(each, snapshot)
            return {
                "changed": False,
                "objects": [each.as_dict() for each in chosen],
                "snapshot_id": snapshot.snapshot_id,
                "created_at": snapshot.created_at,
            }

        if self.check_mode:
            return decide()
        asked = {name: arguments[name] for name in ("objects", "replace")}
        return self.local_change("choose_objects", {"reason": "what is missing or was asked for", **asked}, decide)

    def _candidates(self, arguments: dict[str, t.Any]) -> Iterator[KeptObjects]:
        """The newest first, each opened when it is looked into: an older one may be for another identity, or gone."""
        for each in self._catalog(arguments):
            yield self._snapshot(each.snapshot_id, arguments)

    def _newest_with(self, name: ObjectName, arguments: dict[str, t.Any]) -> KeptObjects:
        found = next((each for each in self._candidates(arguments) if each.has(name)), None)
        if found is None:
            raise BadInput(f"{self.target}: {name} is in no snapshot", "make it by hand from its manifest")
        return found

    def _catalog(self, arguments: dict[str, t.Any]) -> list[Snapshot]:
        store = open_store() if self.check_mode else self.store
        known = [each for each in store.snapshots(self.target) if OBJECTS in each.level.split("+")]
        good = [each for each in known if each.state != "corrupt"]
        wanted = arguments["snapshot_id"]
        found = [each for each in good if wanted in (None, each.snapshot_id)][:_MOST_SNAPSHOTS]
        if not found:
            which = f"no snapshot {wanted}" if wanted else "no snapshot of its objects"
            raise BadInput(f"{self.target}: there is {which} that is whole", "see codeblue snapshot list")
        return found

    def _snapshot(self, snapshot_id: str, arguments: dict[str, t.Any]) -> KeptObjects:
        if not arguments["identity"]:
            raise BadInput(
                f"{self.target}: what is missing is in a snapshot, and reading that needs an identity",
                "set codeblue_snapshot_identity to the path of an age identity file, run again",
            )
        if snapshot_id not in self._snapshots:
            named = {**arguments, "snapshot_id": snapshot_id}
            (entry,) = self._catalog(named)
            store = ContentStore.open(Path(entry.meta["store"]), identity=Path(arguments["identity"]))
            found = KeptObjects(store, snapshot_id, entry.manifest_sha256)
            if found.namespace != self._place.namespace:
                raise BadInput(
                    f"{self.target}: snapshot {snapshot_id} is of namespace {found.namespace}", "name another one"
                )
            self._snapshots[snapshot_id] = found
        return self._snapshots[snapshot_id]

    # -- acting ------------------------------------------------------------------------------------------------

    def _give_back(self, each: Restored, snapshot: KeptObjects) -> None:
        suspended = []
        if each.treatment == REPLACE:
            live = self._restore.live(each.name)
            # The API server leaves the kind out of what it returns in lists only.
            found = find_reconcilers(self._client, live, []) if live is not None else []
            suspended = self.meet(found, f"{each.name} in namespace {self._place.namespace}")
        if self.check_mode:
            self.plan(suspended, f"{each.action} from {snapshot.snapshot_id}")
            return
        run = self.open_run()
        for reconciler in suspended:
            self.suspend(run, reconciler, str(each.name))
        in_doubt = self.begun(each.action)

        def give_back(_run: OpenRun) -> dict[str, t.Any]:
            done = self._restore.give_back(each, snapshot.read(each.name))
            # In doubt and done is this run's own change, of which the answer was lost.
            return {"changed": done or in_doubt, "keys": list(each.keys), **accepted_now(done)}

        decision = {
            "reason": f"{each.said} from snapshot {snapshot.snapshot_id}",
            "undo": f"kubectl -n {self._place.namespace} edit {each.name.kind.lower()} {each.name.name}",
        }
        self._changed |= bool(self.local_change(each.action, decision, give_back).get("changed"))

    # -- proving -----------------------------------------------------------------------------------------------

    def _prove(self, service: Service, wanted: Sequence[Restored], arguments: dict[str, t.Any]) -> None:
        """Wait for the workload's pods, and for the checks of the service.

        :raises CodeblueError: it does not work with what was given back.
        """

        def prove(_run: OpenRun) -> dict[str, t.Any]:
            seen = self._workload.read()
            # A kubelet waits minutes before it looks again whether a Secret is there.
            self._start_anew([each for each in wanted if each.name.kind != self._place.workload.kind])
            waiter = RolloutWaiter(self._client, self._place, self.renew, lambda _pods: ())
            waited = waiter.wait(seen.rollout.current, Budget(arguments["rollout_within"]))
            problem = waited.problem or self.until_healthy(service, arguments["healthy_within"])
            if problem:
                raise CodeblueError(
                    f"{self.target} does not work with what was given back either: {problem}",
                    "see the logs of its pods; another snapshot: codeblue snapshot list",
                )
            return {"changed": False, "seconds": round(waited.seconds, 3)}

        self.local_change("prove_objects", {"objects": [each.said for each in wanted]}, prove)

    def _start_anew(self, wanted: Sequence[Restored]) -> None:
        """Delete pods that are not ready, so that new ones find what was given back."""
        manifest = self._workload.read().manifest
        if not wanted or not progress(manifest):
            return
        found = self._client.list_all(PODS, self._place.namespace, labels=selector_of(manifest))
        pods = [each for each in found if not is_ready(each) and not each["metadata"].get("deletionTimestamp")]
        if not pods:
            return

        def start_anew(_run: OpenRun) -> dict[str, t.Any]:
            deleted = self._workload.delete_pods(pods)
            return {"changed": bool(deleted), "machines": deleted}

        names = sorted(str(each["metadata"]["name"]) for each in pods)
        self.local_change("start_anew", {"machines": names, "reason": "they wait for what was missing"}, start_anew)
        self._changed = True

    # -- telling -----------------------------------------------------------------------------------------------

    def _diff(self, each: Restored, snapshot: KeptObjects) -> dict[str, str]:
        salt = secrets.token_bytes(16)
        before, after = self._restore.before_and_after(each, snapshot.read(each.name))
        return {
            "before": yaml.safe_dump(shown_object(before, salt)) if before else "",
            "after": yaml.safe_dump(shown_object(after, salt)),
            "before_header": f"{each.name} in namespace {self._place.namespace}",
            "after_header": f"{each.name} of snapshot {snapshot.snapshot_id}",
        }

    def _summary(self, wanted: Sequence[Restored], decided: dict[str, t.Any]) -> str:
        if not wanted:
            return f"nothing of {self._place} is missing, nothing was changed"
        verb = "would make again" if self.check_mode else "made again"
        said = f"{verb} {', '.join(each.said for each in wanted)}"[:400]
        said += f", from snapshot {decided['snapshot_id']} of {str(decided['created_at'])[:19]}Z"
        return said + ("" if self.check_mode else "; its pods and checks work") + self.afterwards()
