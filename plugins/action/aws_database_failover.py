# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Brings a database in RDS back that serves nobody: starts it, lets another instance write, or promotes a replica."""

from __future__ import annotations

import dataclasses
import time
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_database_step import (
    MISSING,
    AwsDatabaseAction,
    NotProven,
    accepted_at,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_failover_choice import (
    FAIL_OVER,
    FENCED_TAG,
    PROMOTE,
    PROMOTED_TAG,
    REFUSE,
    RESTORE,
    START,
    DatabaseChoice,
    DatabaseState,
    choose,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_look import AVAILABLE, DatabaseLook
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_database import (
    DatabasePlace,
    Endpoint,
    ReplicaPlace,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_endpoints import ConsumerEndpoints
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import AwsUnavailable, Conflict
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_lag import replicated_until
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_promotion import (
        Promotion,
        fail_over_in_cluster,
        until_writer,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_writes import WriteGate
except ImportError:
    # AwsStepAction says which package is missing.
    pass

# A region that gives no answer for so long is not waited for any longer.
_SILENT_SECONDS = 8.0


class ActionModule(AwsDatabaseAction):
    """See plugins/modules/aws_database_failover.py."""

    STAGE = "failover"
    MISSING_IMPORT = MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "down_since": {"type": "float"},
        "writer_fails": {"type": "bool", "default": False},
        "accept": {"type": "list", "elements": "str", "default": []},
        "promote_within": {"type": "float", "default": 900.0},
        "healthy_within": {"type": "float"},
        "when_unhealthy": {"type": "str", "choices": ["fail", "report"], "default": "fail"},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        self.require_positive(arguments, "promote_within")
        service = self.open_database(3 * arguments["promote_within"])
        self._seconds = arguments["promote_within"]
        primary, silent = self._look_at_primary()
        chosen = self._choice(service, primary, silent, arguments)
        choice = DatabaseChoice(**{**chosen["choice"], "acceptances": tuple(chosen["choice"]["acceptances"])})
        if choice.path == REFUSE:
            raise Refused(f"{self.target}: {choice.reason}", "name a replica that works in codeblue_aws.database")
        if choice.path == RESTORE:
            return self._result(choice, chosen, "", choice.reason)
        if choice.acceptances:
            self.require_acceptance(choice.reason, arguments["accept"])
        if choice.path == START:
            self._start()
        elif choice.path == FAIL_OVER:
            self._fail_over_in_cluster(chosen["target"])
        else:
            self._promote(choice, primary, silent)
        problem = ""
        if not self.check_mode:
            problem = self._prove(service, choice, arguments)
        return self._result(choice, chosen, problem, self._summary(choice, chosen, problem))

    # -- deciding ----------------------------------------------------------------------------------------------

    def _look_at_primary(self) -> tuple[DatabaseLook | None, str]:
        """The primary, and why its region cannot be asked."""
        place = self._database.place
        try:
            return self._databases.look(place, patience=_SILENT_SECONDS), ""
        except AwsUnavailable:
            return None, f"{place.region} gives no answer"

    def _choice(
        self, service: Service, primary: DatabaseLook | None, silent: str, arguments: dict[str, t.Any]
    ) -> dict[str, t.Any]:
        def work() -> dict[str, t.Any]:
            replica, replicating, until = None, False, None
            if self._database.replica is not None:
                replica = self._databases.look(self._database.replica.place)
            if replica is not None:
                replicating = self._promotion(self._replica).replicates(replica)
                until = replicated_until(self._account, replica, time.time()) if replicating else None
            state = DatabaseState(
                primary=primary,
                silent=silent,
                replica=replica,
                replicating=replicating,
                replicated_until=until,
                endpoints=bool(self._database.endpoints),
                failing=arguments["writer_fails"],
                misled=self._misled(primary),
            )
            found = choose(state, service.objectives.rpo, arguments["down_since"], time.time())
            others = [each.identifier for each in (primary.members if primary else ()) if not each.writer]
            target = others[0] if found.path == FAIL_OVER else self._serving(found).identifier
            return {"choice": dataclasses.asdict(found), "target": target, "replicated_until": until}

        return dict(self.decide("choose", {"reason": "the database serves nobody"}, work))

    def _misled(self, primary: DatabaseLook | None) -> bool:
        """Consumers are led elsewhere than to the primary, which serves."""
        if primary is None or not primary.serves:
            return False
        consumers = ConsumerEndpoints(self._account, "", primary.place.region)
        return any(consumers.read(each) != primary.address for each in self._database.endpoints)

    def _serving(self, choice: DatabaseChoice) -> DatabasePlace:
        """The one that is the primary afterwards."""
        stays = choice.path in (START, FAIL_OVER) or choice.back or self._database.replica is None
        return self._database.place if stays else self._replica.place

    @property
    def _replica(self) -> ReplicaPlace:
        if self._database.replica is None:
            raise AssertionError("it was decided to lead to a replica, and there is none")
        return self._database.replica

    def _promotion(self, replica: ReplicaPlace) -> Promotion:
        return Promotion(self._databases, replica, self._database.backup_days)

    # -- the same database again -------------------------------------------------------------------------------

    def _start(self) -> None:
        place = self._database.place

        def start(_run: OpenRun) -> dict[str, t.Any]:
            # One that is still stopping cannot be started.
            seen = self._databases.until(place, _stopped_or_started, self._seconds, "stopped")
            begun = seen.status == "stopped"
            if begun:
                self._databases.start(place)
            self._databases.until_settled(place, self._seconds, "available")
            return accepted_at(begun)

        word = "cluster" if place.cluster else "instance"
        undo = f"aws rds stop-db-{word} --db-{word}-identifier {place.identifier} --region {place.region}"
        self.step("start_database", {"reason": f"{place} is stopped", "undo": undo}, start)

    def _fail_over_in_cluster(self, target: str) -> None:
        place = self._database.place

        def fail_over(_run: OpenRun) -> dict[str, t.Any]:
            begun = fail_over_in_cluster(self._databases, place, target)
            until_writer(self._databases, place, target, self._seconds)
            return accepted_at(begun)

        undo = f"aws rds failover-db-cluster --db-cluster-identifier {place.identifier} --region {place.region}"
        self.step("fail_over_in_cluster", {"to": target, "undo": undo}, fail_over)

    # -- another one -------------------------------------------------------------------------------------------

    def _promote(self, choice: DatabaseChoice, primary: DatabaseLook | None, silent: str) -> None:
        if choice.path == PROMOTE:
            if choice.must_fence and primary is not None:
                self._fence(primary)
            self._carry_out_promotion(choice)
            self._keep_backups()
        self._lead_consumers(self._serving(choice), silent)
        if choice.path == PROMOTE:
            self._leave_old_primary(primary, silent)

    def _fence(self, primary: DatabaseLook) -> None:
        """Close the old primary for writes before there is a second one."""
        place = primary.place
        gate = WriteGate(self._databases, self._database, FENCED_TAG)
        before = gate.before(primary) or gate.choose(primary)
        decision = {"reason": "two primaries must not take writes", "undo": f"give it back: {before}"}

        def mark(_run: OpenRun) -> dict[str, t.Any]:
            gate.mark(primary, before)
            return {"changed": True}

        def fence(_run: OpenRun) -> dict[str, t.Any]:
            closed = gate.close(primary, before)
            gate.until_applied(place, before, closed=True, seconds=self._seconds)
            return accepted_at(closed)

        self.step("mark_fenced", decision, mark)
        self.step("fence", decision, fence)

    def _carry_out_promotion(self, choice: DatabaseChoice) -> None:
        promotion = self._promotion(self._replica)
        decision = {
            "reason": choice.reason,
            "loss_seconds": choice.loss_seconds,
            "undo": "a promotion is not undone: make the old primary a replica of the new one",
        }
        region = self._database.place.region

        def mark(run: OpenRun) -> dict[str, t.Any]:
            self._databases.tag(self._databases.require(self._replica.place), PROMOTED_TAG, run.run_id)
            return {"changed": True}

        self.step("mark_promoted", {"reason": "so that a later run knows who promoted it"}, mark)
        self.step("promote", decision, lambda _run: accepted_at(promotion.promote(choice.planned, region)))
        if not self.check_mode:
            self.local_change("await_promotion", {}, lambda _run: self._promoted(promotion))

    def _promoted(self, promotion: Promotion) -> dict[str, t.Any]:
        seen = promotion.until_promoted(self._seconds)
        return {"changed": False, "address": seen.address}

    def _keep_backups(self) -> None:
        """A replica may have none of its own; a primary without is not to be."""
        place, days = self._replica.place, self._database.backup_days
        seen = self._databases.require(place)
        if seen.backup_days or self.check_mode:
            return

        def keep(_run: OpenRun) -> dict[str, t.Any]:
            self._databases.modify(place, {"BackupRetentionPeriod": days})
            self._databases.until(place, _has_backups, self._seconds, "a primary with backups")
            return accepted_at(True)

        self.step("keep_backups", {"reason": f"automated backups for {days} days"}, keep)

    def _lead_consumers(self, serving: DatabasePlace, silent: str) -> None:
        endpoints, address = self._database.endpoints, self._databases.require(serving).address
        if not endpoints:
            self._remind(f"lead consumers of {self.target} to {address}: the inventory names no endpoints")
        run_id = "" if self.check_mode else self.open_run().run_id
        consumers = ConsumerEndpoints(self._account, run_id, serving.region)
        for each in endpoints:
            if silent and each.kind != "record" and each.region == self._database.place.region:
                self._remind(f"lead consumers by {each} to {address}, once {each.region} answers")
                continue
            before = consumers.read(each)
            if before != address or (not self.check_mode and self.begun(_leading(each))):
                self._lead(consumers, each, before, address)

    def _lead(self, consumers: ConsumerEndpoints, endpoint: Endpoint, before: str, address: str) -> None:
        decision = {"from": before, "to": address, "undo": f"give {endpoint} the address {before} again"}
        self.step(_leading(endpoint), decision, lambda _run: accepted_at(consumers.lead(endpoint, address)))

    def _leave_old_primary(self, primary: DatabaseLook | None, silent: str) -> None:
        """It holds what was not replicated: nobody deletes it here, and nobody finds it running by chance."""
        place = self._database.place
        if silent:
            self._remind(f"look at {place} once its region answers: close it, compare what was written there since")
            return
        if primary is None:
            return
        self._remind(f"compare {place} with the new primary, then make it its replica")
        if place.cluster or not primary.serves:
            return

        def stop(_run: OpenRun) -> dict[str, t.Any]:
            seen = self._databases.require(place)
            if seen.status != AVAILABLE:
                return {"changed": False}
            try:
                self._databases.stop(place)
            except Conflict as error:
                # It has other replicas, or storage that cannot be stopped; it is closed all the same.
                return {"changed": False, "problem": error.code}
            return accepted_at(True)

        undo = f"aws rds start-db-instance --db-instance-identifier {place.identifier} --region {place.region}"
        self.step("stop_old_primary", {"reason": "it is no primary any more", "undo": undo}, stop)

    # -- proving and telling -----------------------------------------------------------------------------------

    def _prove(self, service: Service, choice: DatabaseChoice, arguments: dict[str, t.Any]) -> str:
        def prove() -> None:
            problem = self.until_healthy(service, arguments["healthy_within"])
            if problem:
                raise NotProven(
                    f"{self.target} does not work: {problem}", "look at its security groups and at what leads to it"
                )

        return self.proved(prove, arguments["when_unhealthy"])

    def _remind(self, line: str) -> None:
        if self.check_mode:
            return
        if line not in self._due:
            self.give_back(self.open_run(), line)

    def _result(self, choice: DatabaseChoice, chosen: dict[str, t.Any], problem: str, summary: str) -> dict[str, t.Any]:
        return {
            "changed": self._changed,
            "path": choice.path,
            "primary": chosen["target"],
            "lost_seconds": choice.loss_seconds,
            "problem": problem,
            "due": self._due,
            "calls": self._account.calls,
            "codeblue": {"summary": summary},
        }

    def _summary(self, choice: DatabaseChoice, chosen: dict[str, t.Any], problem: str) -> str:
        verbs = {
            START: ("start", "started"),
            FAIL_OVER: ("let write", "let write"),
            PROMOTE: ("promote", "promoted"),
        }
        would, did = verbs.get(choice.path, ("lead consumers to", "led consumers to"))
        said = f"would {would}" if self.check_mode else did
        ended = f"; {problem}" if problem else ""
        return f"{said} {chosen['target']}: {choice.reason}{ended}{self.afterwards()}"


def _leading(endpoint: Endpoint) -> str:
    return f"lead_{endpoint.kind}_{endpoint.name}"[:120]


def _stopped_or_started(seen: DatabaseLook | None) -> str:
    if seen is None:
        raise CodeblueError("the database is gone", "look at codeblue_aws.database in the inventory")
    return "" if seen.status in ("stopped", "starting", AVAILABLE) else f"it is {seen.status}"


def _has_backups(seen: DatabaseLook | None) -> str:
    if seen is None:
        return "it is not there"
    return seen.unsettled if seen.backup_days else "it has no automated backups"
