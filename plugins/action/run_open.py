# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Opens a run for all targets of a play, or takes an unfinished one up again."""

from __future__ import annotations

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._operator import current_operator
from ansible_collections.codeblue.recovery.plugins.plugin_utils._payload_cache import put_back
from ansible_collections.codeblue.recovery.plugins.plugin_utils._process_identity import (
    ProcessIdentity,
    end_process_tree,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._recovery_order import order_of_hosts
from ansible_collections.codeblue.recovery.plugins.plugin_utils._run_opening import (
    CHANGED_INPUTS,
    changed_inputs,
    check_accepts,
    check_targets,
    collection_version,
    fingerprint,
    opening_card_of,
    origin,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import StepAction, codeblue_variables

# What the earlier attempt's last step gets to finish by itself before it is ended.
_ORPHAN_SECONDS = 30.0
_FIRST_MODULES = ("postgresql_status", "process_state", "haproxy_server", "postgresql_fence", "postgresql_promote")


class ActionModule(StepAction):
    """See plugins/modules/run_open.py."""

    BYPASS_HOST_LOOP = True
    STAGE = "open"
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "runbook": {"type": "str", "required": True},
        "run_id": {"type": "str"},
        "because": {"type": "str"},
        "accept": {"type": "list", "elements": "str", "default": []},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        self._prepare_modules()
        card = opening_card_of(arguments["runbook"])
        check_accepts(card, arguments["accept"])
        hostvars = self._variables["hostvars"]
        variables = {name: codeblue_variables(hostvars[name]) for name in self.targets}
        services = self.services(self.targets)
        environment = check_targets(card, services)
        order_of_hosts(self.targets, {name: hostvars[name] for name in self._service_names()})
        about = {"runbook": card.id, "severity": card.severity, "targets": self.targets}
        if self.check_mode:
            return {
                **about,
                "run_id": None,
                "resumed": False,
                "codeblue": {
                    "target": ", ".join(self.targets),
                    "summary": f"would open a {card.severity} run for {', '.join(self.targets)}",
                },
            }
        digests = fingerprint(card, variables)
        run_id = arguments["run_id"] or _new_run_id()
        earlier = self._earlier(run_id)
        if earlier is not None:
            run = self._resume(earlier, card.id, digests, arguments["accept"])
        else:
            run = self._open(
                card, run_id, environment, digests, arguments, {n: s.objectives for n, s in services.items()}
            )
        if self.store_to_open.approval_for(run_id) is None:
            self._give_back(run_id)
            raise Refused(
                f"change {run.change_id} waits for an approval",
                f"codeblue change approve {run.change_id}, then codeblue resume {run_id}",
            )
        return {
            **about,
            "run_id": run_id,
            "resumed": earlier is not None,
            "change_id": run.change_id,
            "incident_id": run.incident_id,
            "codeblue": {
                "target": ", ".join(self.targets),
                "summary": f"{'resumed' if earlier is not None else 'opened'} run {run_id}, change {run.change_id}",
            },
        }

    @property
    def store_to_open(self) -> t.Any:
        """The store, whether or not a run of this process is in it yet."""
        if not hasattr(self, "_opened_store"):
            from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_resilient import open_store_or_spool

            self._opened_store = open_store_or_spool()
        return self._opened_store

    def _prepare_modules(self) -> None:
        """What the diagnosis sends to machines first, and what the first change may send."""
        there = put_back()
        missing = [name for name in _FIRST_MODULES if not any(f".{name}-" in package for package in there)]
        machines = [str(name) for name in self._variables["groups"].get("codeblue_machines", [])]
        if machines and missing:
            self.machines.prepare(machines[0], [f"codeblue.recovery.{name}" for name in missing])

    def _service_names(self) -> list[str]:
        return [str(name) for name in self._variables["groups"].get("codeblue_services", self.targets)]

    def _earlier(self, run_id: str) -> t.Any:
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import StoreUnavailable

        try:
            run = self.store_to_open.run(run_id)
        except StoreUnavailable:
            # Neither a spool nor a seed knows it, so it began nowhere near here. Opening it decides, by its
            # severity, whether it may go on without the store, and says why not.
            return None
        if run is not None and run.status == "closed":
            raise Refused(f"run {run_id} is closed: {run.outcome}", "start a new run")
        return run

    def _open(
        self,
        card: t.Any,
        run_id: str,
        environment: str,
        digests: dict[str, str],
        arguments: dict[str, t.Any],
        objectives: dict[str, t.Any],
    ) -> t.Any:
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import RunOpening

        run, _leases = self.store_to_open.open_run(
            RunOpening(
                run_id=run_id,
                runbook=card.id,
                severity=card.severity,
                environment=environment,
                targets=tuple(self.targets),
                operator=current_operator(),
                because=arguments["because"],
                accepts=tuple(arguments["accept"]),
                fingerprint=digests,
                origin=origin(),
                collection_version=collection_version(),
                objectives={n: {"rto_seconds": o.rto, "rpo_seconds": o.rpo} for n, o in objectives.items()},
                holder=ProcessIdentity.parent(),
                plan=card.plan,
                rollback=card.rollback,
                pre_approved=card.pre_approved,
            )
        )
        return run

    def _resume(self, run: t.Any, runbook: str, digests: dict[str, str], accepts: list[str]) -> t.Any:
        if run.runbook != runbook:
            raise BadInput(
                f"run {run.run_id} is one of {run.runbook}, not of {runbook}", "resume it by its own runbook"
            )
        if set(run.open_targets) != set(self.targets):
            raise BadInput(
                f"run {run.run_id} is open for {', '.join(run.open_targets)}, this play has {', '.join(self.targets)}",
                "resume it with the inventory and the --limit that it was started with",
            )
        changed = changed_inputs(run.fingerprint, digests)
        if changed and CHANGED_INPUTS not in accepts:
            raise Refused(
                f"run {run.run_id}: {' and '.join(changed)} changed since it was started",
                f"look at the difference; to go on all the same: --accept {CHANGED_INPUTS}",
            )
        for step in self.store_to_open.open_intents(run.run_id):
            if step.worker.is_alive():
                end_process_tree(step.worker, _ORPHAN_SECONDS)
        holder = ProcessIdentity.parent()
        reopened = self.store_to_open.reopen_run(run.run_id, holder)
        self.store_to_open.acquire_leases(run.run_id, self.targets, holder)
        return reopened

    def _give_back(self, run_id: str) -> None:
        for lease in self.store_to_open.leases_of_run(run_id):
            self.store_to_open.release_lease(lease.target, run_id, lease.generation)


def _new_run_id() -> str:
    from ulid import ULID

    return str(ULID())
