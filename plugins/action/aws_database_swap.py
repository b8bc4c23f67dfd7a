# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Puts a restored database in RDS in the place of the original."""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_database_step import (
    MISSING,
    AwsDatabaseAction,
    NotProven,
    accepted_at,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_database import DatabasePlace
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_restore import beside
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_swap import Rename
except ImportError:
    # AwsStepAction says which package is missing.
    pass


class ActionModule(AwsDatabaseAction):
    """See plugins/modules/aws_database_swap.py."""

    STAGE = "swap"
    MISSING_IMPORT = MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "restored": {"type": "str", "required": True},
        "of": {"type": "str", "default": ""},
        "reason": {"type": "str", "default": ""},
        "accept": {"type": "list", "elements": "str", "default": []},
        "rename_within": {"type": "float", "default": 1200.0},
        "healthy_within": {"type": "float"},
        "when_unhealthy": {"type": "str", "choices": ["fail", "report"], "default": "fail"},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        self.require_positive(arguments, "rename_within")
        service = self.open_database(3 * arguments["rename_within"])
        place = self._database.place
        restored = DatabasePlace(place.region, arguments["restored"], place.cluster)
        if restored == place:
            raise BadInput(f"restored: {place} is the database itself", "name the one that was restored beside it")
        decided = self._decide(place, restored, arguments)
        retired = DatabasePlace(place.region, decided["retired"], place.cluster)
        if decided["beyond"]:
            since = f" after {arguments['of']}" if arguments["of"] else ""
            self.require_acceptance(
                f"{restored} in the place of {place} lacks all that was written{since}; that stays in {retired}",
                arguments["accept"],
            )
        self._rename("retire_original", Rename(place, retired, decided["original"]), arguments)
        self._rename("put_in_place", Rename(restored, place, decided["restored"]), arguments)
        problem = ""
        if not self.check_mode:
            problem = self._prove(service, arguments)
            self._remind(retired)
        verb = "would put" if self.check_mode else "put"
        ended = f"; {problem}" if problem else ""
        summary = f"{verb} {restored.identifier} in the place of {place}; the original is {retired.identifier}{ended}"
        return {
            "changed": self._changed,
            "retired": retired.identifier,
            "problem": problem,
            "due": self._due,
            "calls": self._account.calls,
            "codeblue": {"summary": summary + self.afterwards()},
        }

    def _decide(self, place: DatabasePlace, restored: DatabasePlace, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        """Which database is which, before one of them is renamed."""

        def work() -> dict[str, t.Any]:
            original, other = self._databases.require(place), self._databases.require(restored)
            if other.unsettled:
                raise BadInput(f"restored: {restored}: {other.unsettled}", "wait until it is available")
            run_id = "run" if self.check_mode else self.open_run().run_id
            return {
                "retired": beside(place.identifier, run_id, "codeblue"),
                "original": original.identity,
                "restored": other.identity,
                "beyond": _beyond(arguments["of"], self.service().objectives.rpo),
            }

        reason = arguments["reason"] or "it is put in the place of the original"
        return dict(self.decide("choose_swap", {"reason": reason, "restored": restored.identifier}, work))

    def _rename(self, action: str, rename: Rename, arguments: dict[str, t.Any]) -> None:
        before, after = rename.before, rename.after
        word = "cluster" if before.cluster else "instance"
        undo = (
            f"aws rds modify-db-{word} --region {after.region} --db-{word}-identifier {after.identifier}"
            f" --new-db-{word}-identifier {before.identifier} --apply-immediately"
        )

        def work(_run: OpenRun) -> dict[str, t.Any]:
            begun = rename.carry_out(self._databases)
            rename.until_done(self._databases, arguments["rename_within"])
            return accepted_at(begun)

        self.step(action, {"from": before.identifier, "to": after.identifier, "undo": undo}, work)

    def _prove(self, service: Service, arguments: dict[str, t.Any]) -> str:
        def prove() -> None:
            problem = self.until_healthy(service, arguments["healthy_within"])
            if problem:
                raise NotProven(
                    f"{self.target} does not work: {problem}",
                    "its names in the journal say how the original is put back",
                )

        return self.proved(prove, arguments["when_unhealthy"])

    def _remind(self, retired: DatabasePlace) -> None:
        """Nobody deletes it here: it holds what was written since."""
        self.give_back(self.open_run(), f"look through {retired}, then take a last snapshot of it and delete it")


def _beyond(of: str, rpo: float) -> bool:
    """More may be lost than the RPO allows: so much time lies between the moment that was restored and now."""
    if not of:
        return True
    try:
        at = datetime.datetime.fromisoformat(of)
    except ValueError:
        raise BadInput(f"of: {of!r} is no moment", "write it like 2026-01-15T10:00:00Z") from None
    if at.tzinfo is None:
        raise BadInput(f"of: {of!r} says no time zone", "write it like 2026-01-15T10:00:00Z")
    return (datetime.datetime.now(datetime.UTC) - at).total_seconds() > rpo
