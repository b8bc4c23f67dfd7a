# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Takes a snapshot of the objects of a service's namespace, and reads it back."""

from __future__ import annotations

import typing as t

from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_action import SnapshotAction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

# Half a second for the official client, once per ansible-playbook: its workers are forks and find it imported. A
# failing import here would abort the whole play, past rescue; `run` says it.
try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_access import ClusterAccess
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import Budget, KubernetesClient
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_action import kept_of, size_of
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_objects import OBJECTS, gather_into
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_places import (
        open_for_writing,
        snapshot_id_of,
        store_directory,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_verify import verify_snapshot

    _MISSING: ImportError | None = None
except ImportError as error:
    _MISSING = error

_LONGEST = 600


class ActionModule(SnapshotAction):
    """See plugins/modules/kubernetes_snapshot.py."""

    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "kind": {
            "type": "str",
            "choices": ["scheduled", "on_demand", "pre_deployment", "emergency"],
            "default": "on_demand",
        },
        "recipients": {"type": "list", "elements": "str", "default": []},
        "store": {"type": "path"},
        "copies": {"type": "list", "elements": "path", "default": []},
        "timeout": {"type": "float", "default": 300.0},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        place = self.service().require_kubernetes()
        self.require_recipients(arguments)
        path = store_directory(arguments["store"])
        if self.check_mode:
            summary = f"would keep the objects of namespace {place.namespace} in {path}"
            return {"changed": True, "codeblue": {"summary": summary}}
        client = KubernetesClient(ClusterAccess(place.kubeconfig, place.context), Budget(arguments["timeout"]))
        run = self.open_run()
        snapshot_id = snapshot_id_of(run.run_id, self.target, arguments["kind"])

        def work(_run: OpenRun) -> dict[str, t.Any]:
            store = open_for_writing(path, arguments["recipients"])
            made = not (path / "snapshots" / f"{snapshot_id}.json").is_file()
            if made:
                with store.begin(self.target, arguments["kind"], snapshot_id=snapshot_id) as writer:
                    gather_into(writer, client, place.namespace, self.renew_lease)
                    writer.commit()
            # The writer is not given an identity: this compares every byte with the digests of the encrypted form.
            report = verify_snapshot(store, snapshot_id)
            report.raise_if_damaged()
            said = f"{report.objects} objects in the store compared as stored, without an identity"
            return {**kept_of(store.manifest(snapshot_id), str(path), changed=made), "read_back": said}

        decision = {"snapshot_id": snapshot_id, "store": str(path), "namespace": place.namespace}
        kept = self.local_change("keep_objects", decision, work)
        snapshot = self.into_catalog(run, snapshot_id, arguments["kind"], kept)
        if any(each.snapshot_id == snapshot_id and each.state == "taken" for each in run.store.snapshots(self.target)):
            run.store.set_snapshot_state(snapshot_id, "verified", kept["read_back"], run.run_id)
        facts = kept["levels"][OBJECTS]
        said = f"snapshot {snapshot_id}: {sum(facts['kinds'].values())} objects of namespace {place.namespace}"
        said += f", {size_of(kept['size_bytes'])}, read back{self.copy(snapshot, arguments)}"
        if facts["unknown"]:
            said += f"; not in it: {'; '.join(facts['unknown'])}"[:_LONGEST]
        return {
            **self.result_of(snapshot, bool(kept["changed"]), said),
            "kinds": facts["kinds"],
            "unknown": facts["unknown"],
            "calls": client.calls,
        }
