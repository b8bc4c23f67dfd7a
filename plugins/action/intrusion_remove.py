# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Takes what an intruder left out of a service: its processes, and the release that brought them."""

from __future__ import annotations

import typing as t
from collections.abc import Sequence

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import Instance
from ansible_collections.codeblue.recovery.plugins.plugin_utils._quarantine_changes import (
    end_strays_change,
    stop_changes,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._release_changes import (
    KIND,
    candidate_of,
    list_call,
    restart_change,
    switch_change,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Changed, StepAction


class ActionModule(StepAction):
    """See plugins/modules/intrusion_remove.py."""

    STAGE = "remove"
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "machines": {"type": "list", "elements": "str", "default": []},
        "reason": {"type": "str", "default": ""},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        instances = service.require_host().instances
        machines = arguments["machines"] or list(instances)
        reason = arguments["reason"] or "its processes sent data outside"
        self._changed = False
        # Chosen before the first process is ended: without a release to go to, nothing is stopped.
        chosen = self._chosen(service, [instances[name] for name in machines], reason)
        for each in self.changes(stop_changes(service, machines)):
            self._note(each)
        strays = [
            self._note(each) for each in self.changes([end_strays_change(service, instances[m]) for m in machines])
        ]
        ended = sum(len(each.result["before"]["strays"]) for each in strays)
        if not self.check_mode:
            # Marked before the switch: a crash in between must not make the bad version look good.
            run = self.open_run()
            for bad in sorted({each["from"] for each in chosen.values()}):
                run.store.mark_bad(service.name, KIND, bad, run.run_id, reason[:200])
        switches = [
            switch_change(service, instances[name], each["from"], each["to"], reason[:200])
            for name, each in chosen.items()
        ]
        for each in self.changes(switches):
            self._note(each)
        starts = [restart_change(service, instances[name], f"start_{name}", "started") for name in machines]
        for each in self.changes(starts):
            self._note(each)
        ways = sorted({f"{each['from']} to {each['to']}" for each in chosen.values()})
        verb = "would end" if self.check_mode else "ended"
        return {
            "changed": self._changed,
            "releases": chosen,
            "strays_ended": ended,
            "codeblue": {
                "summary": f"{verb} {ended} hidden processes of {self.target}, went from release {', '.join(ways)}"
            },
        }

    def _chosen(self, service: Service, instances: Sequence[Instance], reason: str) -> dict[str, dict[str, str]]:
        """From which release to which on each machine, written down before the first change."""

        def choose(_run: t.Any = None) -> dict[str, t.Any]:
            marked: set[str] = set()
            if not self.check_mode:
                marked = {each.version for each in self.open_run().store.bad_versions(service.name, KIND)}
            versions = {}
            for answer in self.look([list_call(instance) for instance in instances]):
                candidate = candidate_of(service.name, answer.result_or_raise(), marked)
                if candidate is None:
                    raise CodeblueError(
                        f"{self.target}: on {answer.machine} is no release to go back to that is not marked bad",
                        "it stays in quarantine; deploy a release that was built anew from reviewed sources",
                    )
                versions[answer.machine] = {"from": candidate.bad, "to": candidate.good}
            return {"changed": False, "candidates": versions}

        kept = choose() if self.check_mode else self.local_change("choose", {"reason": reason[:200]}, choose)
        return {str(name): dict(each) for name, each in kept["candidates"].items()}

    def _note(self, ended: Changed) -> Changed:
        ended.checked()
        if ended.result.get("changed") and not ended.earlier:
            self._changed = True
        return ended
