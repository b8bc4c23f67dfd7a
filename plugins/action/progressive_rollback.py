# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Takes the newest changes back one after the other, and stops as soon as everything is healthy.

A service that fails because another one does is left alone until that one works: taken back are changes of the services
at the beginning of a chain of failures, the newest change among them first, of whatever kind it is.
"""

from __future__ import annotations

import time
import typing as t
from collections.abc import Collection, Mapping, Sequence

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._acceptance import DATA_LOSS, accepted
from ansible_collections.codeblue.recovery.plugins.plugin_utils._change_history import ChangeHistory
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import run_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import plan_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._configuration_changes import KIND as CONFIGURATION
from ansible_collections.codeblue.recovery.plugins.plugin_utils._configuration_changes import restore_change
from ansible_collections.codeblue.recovery.plugins.plugin_utils._flag_changes import KIND as FLAGS
from ansible_collections.codeblue.recovery.plugins.plugin_utils._flag_changes import flags_change
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._patience import patience
from ansible_collections.codeblue.recovery.plugins.plugin_utils._primary import find_primary
from ansible_collections.codeblue.recovery.plugins.plugin_utils._release_changes import (
    restart_change,
    switch_change,
    with_releases,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._schema_changes import KIND as SCHEMA
from ansible_collections.codeblue.recovery.plugins.plugin_utils._schema_changes import (
    copy_change,
    down_change,
    migrations_of,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change, StepAction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._undo import Undo
from ansible_collections.codeblue.recovery.plugins.plugin_utils._validation import validate

_PAUSE = 0.1


class ActionModule(StepAction):
    """See plugins/modules/progressive_rollback.py."""

    BYPASS_HOST_LOOP = True
    STAGE = "rollback"
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "services": {"type": "list", "elements": "str", "default": []},
        "most": {"type": "int", "default": 5},
        "healthy_within": {"type": "float"},
        "accept": {"type": "list", "elements": "str", "default": []},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        targets = self.services(self.targets)
        services = {name: service for name, service in targets.items() if service.host is not None}
        history = ChangeHistory(services, self._users(services), self.look, self._marked)
        wanted = arguments["services"] or [name for name, each in services.items() if each.require_host().instances]
        rolled: list[Undo] = []
        left: str | None = None
        unknown: list[str] = []
        failing = self._failing(targets, (), None)
        while len(rolled) < arguments["most"]:
            # What an earlier attempt decided is finished first: half-switched instances look like another history.
            undo = self._decided(len(rolled) + 1)
            if undo is None and failing:
                suspects = _suspects([services[name] for name in wanted if name in services], failing)
                choice = history.newest(suspects, failing, rolled)
                undo, left = choice.undo, choice.person
                unknown += [each for each in choice.silent if each not in unknown]
                if undo is not None and undo.kind == SCHEMA:
                    self._refuse_loss(undo, arguments["accept"])
                    self._copy_places(services[undo.service])
                self._decide(len(rolled) + 1, undo)
            if undo is None:
                break
            self._take_back(services, undo, arguments["accept"])
            rolled.append(undo)
            if self.check_mode:
                break
            failing = self._failing(targets, [services[name] for name in undo.restarts], arguments["healthy_within"])
        return {
            "changed": bool(rolled),
            "rolled_back": [undo.told() for undo in rolled],
            "still_failing": sorted(failing),
            "left_to_a_person": left,
            "not_asked": unknown,
            "codeblue": {"target": ", ".join(services), "summary": self._summary(rolled, failing, left)},
        }

    # -- deciding ----------------------------------------------------------------------------------------------

    def _decide(self, number: int, undo: Undo | None) -> None:
        """Write down what is taken back next, before anything of it changes."""
        if undo is None or self.check_mode:
            return
        self.local_change(
            f"decide_{number}",
            {"rollback": undo.told(), "reason": undo.why},
            lambda _run: {"changed": False, "newest": undo.as_record()},
            target=undo.service,
        )

    def _decided(self, number: int) -> Undo | None:
        """What an earlier attempt of this run decided."""
        if self.check_mode:
            return None
        run = self.open_run()
        for step in run.store.steps(run.run_id):
            if (step.stage, step.action, step.state) == (self.STAGE, f"decide_{number}", "done"):
                return Undo.of_record((step.result or {})["newest"])
        return None

    def _refuse_loss(self, undo: Undo, given: Sequence[str]) -> None:
        """:raises Refused: a migration would lose data, and nobody has accepted that."""
        if undo.ways[0].details["way_back"] == DATA_LOSS and DATA_LOSS not in self._accepted(undo.service, given):
            raise Refused(
                f"{undo.service}: migration {undo.ways[0].bad} came last, and taking it back loses data",
                f"look what its way back removes; to do it all the same: --accept {DATA_LOSS}",
            )

    def _copy_places(self, database: Service) -> dict[str, str]:
        """By member, where the emergency copy goes; asked before anything changes.

        :raises BadInput: the inventory names no place for one of them.
        """
        # Not at the top: it brings the snapshot store along, which only this kind of change needs.
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_places import backup_root

        postgresql = database.require_host().postgresql
        hostvars = self._variables["hostvars"]
        return {name: backup_root(name, hostvars[name]) for name in (postgresql.members if postgresql else ())}

    def _accepted(self, service: str, given: Sequence[str]) -> set[str]:
        return accepted(None if self.check_mode else self.open_run(service), given)

    def _users(self, services: Mapping[str, Service]) -> dict[str, list[str]]:
        """By database, the services that use its schema: those that the inventory names, else all that depend on it."""
        hostvars = self._variables["hostvars"]
        names = [str(name) for name in self._variables.get("groups", {}).get("codeblue_services", self.targets)]
        found = {}
        for database, service in services.items():
            tool = migrations_of(service)
            if tool is not None:
                depending = (name for name in names if database in (hostvars[name].get("codeblue_depends_on") or ()))
                found[database] = list(tool.used_by) or list(depending)
        return found

    def _marked(self, service: str, kind: str) -> set[str]:
        if self.check_mode:
            return set()
        return {each.version for each in self.open_run(service).store.bad_versions(service, kind)}

    # -- acting ------------------------------------------------------------------------------------------------

    def _take_back(self, services: Mapping[str, Service], undo: Undo, given: Sequence[str]) -> None:
        """All places at once: the services are down, there is no traffic to keep."""
        service = services[undo.service]
        if not self.check_mode:
            # Marked before the switch: a crash in between must not make the bad version look good.
            run = self.open_run(service.name)
            for version in undo.bad:
                run.store.mark_bad(service.name, undo.kind, version, run.run_id, "services failed with it")
        if undo.kind == SCHEMA:
            self._take_migration_back(service, undo, given)
        else:
            for ended in self.changes(_changes(service, undo)):
                ended.checked()
        # Names of steps of a release and of a configuration stay short: their versions tell them apart.
        good = undo.good if undo.kind not in (SCHEMA, FLAGS) else f"{undo.kind}_{undo.good}"
        affected = {way.machine for way in undo.ways} if undo.kind == CONFIGURATION else None
        restarts = [
            restart_change(services[name], instance, f"restart_{instance.machine}_on_{good}")
            for name in undo.restarts
            for instance in services[name].require_host().instances.values()
            if affected is None or instance.machine in affected
        ]
        for ended in self.changes(restarts):
            ended.checked()

    def _take_migration_back(self, service: Service, undo: Undo, given: Sequence[str]) -> None:
        """First a copy, then the migration, each one step; what was finished before is not done again."""
        database, tool = service.require_host().postgresql, migrations_of(service)
        if database is None or tool is None:
            raise Refused(f"{service.name}: the inventory names no migration tool any more")
        primary = find_primary(service.name, database, self.look).primary
        directory = self._copy_places(service)[primary.machine]
        run_id = "plan" if self.check_mode else self.open_run(service.name).run_id
        self.change(copy_change(service.name, database, primary, directory, run_id, undo)).checked()
        granted = [each for each in self._accepted(service.name, given) if each == DATA_LOSS]
        self.change(down_change(service.name, tool, undo, granted)).checked()

    # -- proving -----------------------------------------------------------------------------------------------

    def _failing(
        self, services: Mapping[str, Service], rolled: Sequence[Service], given: float | None
    ) -> dict[str, str]:
        """Services that do not work, after those that were started anew had their time to come up."""
        checks = {name: service.checks for name, service in services.items()}
        thresholds = {name: service.checks.thresholds for name, service in services.items()}
        plan = plan_checks(checks, "deep")
        deadline = time.monotonic() + max((patience(service, given) for service in rolled), default=0.0)
        waited_for = {service.name for service in rolled}
        while True:
            found = validate(run_checks(plan), thresholds, levels=("shallow", "deep"))
            failing = {each.target: each.reasons[0] for each in found.services if each.status == "DOWN"}
            if not waited_for & failing.keys() or time.monotonic() >= deadline:
                return failing
            time.sleep(_PAUSE)

    def _summary(self, rolled: Sequence[Undo], failing: Mapping[str, str], left: str | None) -> str:
        verb = "would roll back" if self.check_mode else "rolled back"
        said = f"{verb} " + ", ".join(_said(each) for each in rolled)
        if not rolled:
            said = "no change is left to roll back" if failing else "nothing to roll back"
        elif failing and not self.check_mode:
            said += f"; still failing: {', '.join(sorted(failing))}"
        return said + (f"; a person has to decide: {left}" if left and failing else "")


def _suspects(services: Sequence[Service], failing: Collection[str]) -> list[str]:
    """The services that fail although everything they depend on works."""
    return [each.name for each in services if each.name in failing and not set(failing) & set(each.depends_on)]


def _changes(service: Service, undo: Undo) -> list[Change]:
    instances = service.require_host().instances
    if undo.kind == FLAGS:
        return [flags_change(service, way, undo.why) for way in undo.ways]
    if undo.kind == CONFIGURATION:
        return [restore_change(service, instances[way.machine], way, undo.why) for way in undo.ways]
    affected = with_releases(service)
    return [switch_change(service, each, undo.bad[0], undo.good, undo.why) for each in affected]


def _said(undo: Undo) -> str:
    what = {CONFIGURATION: "the configuration of ", FLAGS: "the flags of ", SCHEMA: "the schema of "}
    return f"{what.get(undo.kind, '')}{undo.service} from {'+'.join(undo.bad)} to {undo.good}"
