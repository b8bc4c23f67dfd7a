# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Leads the traffic of a service on AWS to another side, step by step, with a gate at each."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._duration import parse_duration
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._acceptance import accepted
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_step import MISSING, AwsStepAction, NotProven
from ansible_collections.codeblue.recovery.plugins.plugin_utils._criteria import profile_for
from ansible_collections.codeblue.recovery.plugins.plugin_utils._detection import dependents_of
from ansible_collections.codeblue.recovery.plugins.plugin_utils._health_gate import HealthGate, ramp_for
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_traffic import PRIMARY, STANDBY
from ansible_collections.codeblue.recovery.plugins.plugin_utils._patience import patience
from ansible_collections.codeblue.recovery.plugins.plugin_utils._ramp import (
    STEPS,
    GateClosed,
    Ramp,
    between,
    hold_step,
    read_steps,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_dns_traffic import DnsTraffic
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_fitness import UNFIT
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_load_balancer import LoadBalancerTraffic
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_sides import SideChecks
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_traffic import (
        Moved,
        Shared,
        TrafficWay,
        region_for_all,
    )

    _MISSING: ImportError | None = MISSING
except ImportError as error:
    _MISSING = error

_CALL_SECONDS = 120.0
_PAUSE = 0.2
_BACK = "back"
# The record cuts long texts; what is given back from it must be whole.
_PIECE = 1500
# For what a controller's own name server may keep an answer, when nothing better is known.
_TTL_SECONDS = 60.0


@dataclass(frozen=True)
class Start:
    """How it was before the first step, which a run that is taken up finds in its journal.

    :param share: percent of the side that traffic goes to.
    :param text: of `Shared.text`.
    :param at_once: whether the other side gives no answers, so that every step less than all keeps users waiting.
    """

    share: int
    text: str
    at_once: bool
    why: str


class ActionModule(AwsStepAction):
    """See plugins/modules/aws_traffic_shift.py."""

    STAGE = "shift"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "to": {"type": "str", "required": True},
        "by": {"type": "str", "choices": ["auto", "dns", "load_balancer"], "default": "auto"},
        "pace": {"type": "str", "choices": ["auto", "gradual", "at_once"], "default": "auto"},
        "steps": {"type": "list", "elements": "int", "default": list(STEPS)},
        "hold": {"type": "str", "default": "1m"},
        "records": {"type": "str", "choices": ["weighted", "simple"], "default": "weighted"},
        "settled_within": {"type": "float", "default": 120.0},
        "healthy_within": {"type": "float"},
        "when_unhealthy": {"type": "str", "choices": ["fail", "report"], "default": "fail"},
        "accept": {"type": "list", "elements": "str", "default": []},
        "reason": {"type": "str", "default": ""},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        ramp = ramp_for(service, read_steps(arguments["steps"]), parse_duration(arguments["hold"], "hold"))
        patient = len(ramp.steps) * (arguments["settled_within"] + 3 * ramp.hold)
        self.connect(service, _CALL_SECONDS + patient + patience(service, arguments["healthy_within"]))
        self._arguments, self._to = arguments, str(arguments["to"])
        self._way = self._chosen_way()
        self._checks = SideChecks(service, self._place.dns, self._to) if self._dns and self._place.dns else None
        now = self._way.look()
        start = self._start(service, now)
        plan = {percent: between(start.share, 100, percent) for percent in ((100,) if start.at_once else ramp.steps)}
        if now.at(self._to, 100) and start.share == 100:
            return self._ended(service, start, now, [], f"all traffic of {self._way.what} is at {self._to} already")
        if self.check_mode:
            self._planned += [f"give {self._to} {share} % by {self._way.what}" for share in plan.values()]
            self._refuse_unfit()
            said = f"would lead {self._way.what} to {self._to}: {', '.join(f'{s} %' for s in plan.values())}"
            return {**self._ended(service, start, now, [], f"{said} ({start.why})"), "changed": True}
        self._refuse_after_failure()
        if start.share != 100 and not self.begun(self._key("at", next(iter(plan)))):
            self._refuse_unfit()
        held = self._ramp(service, ramp, start, plan)
        return self._ended(
            service, start, self._way.look(), held, f"{self._way.what} leads to {self._to}, {len(held)} gates passed"
        )

    # -- deciding ----------------------------------------------------------------------------------------------

    @property
    def _dns(self) -> bool:
        return isinstance(self._way, DnsTraffic)

    def _chosen_way(self) -> TrafficWay:
        place, by = self._place, self._arguments["by"]
        groups = tuple(place.load_balancer.target_groups) if place.load_balancer is not None else ()
        if by == "auto":
            by = "load_balancer" if self._to in groups else "dns"
        if by == "dns":
            if place.dns is None:
                known = f"known: {', '.join(groups)}" if groups else "describe codeblue_aws.dns"
                raise BadInput(f"{self.target}: has no DNS record that could lead to {self._to!r}", known)
            if self._to not in (PRIMARY, STANDBY):
                raise BadInput(f"{self.target}: {self._to!r} is no side", f"use {PRIMARY} or {STANDBY}")
            way = DnsTraffic(self._account, place.dns, region_for_all(place, self._to))
            way.check_zone()
            return way
        if place.load_balancer is None or self._to not in groups:
            raise BadInput(
                f"{self.target}: {self._to!r} is no target group of its load balancer", f"known: {', '.join(groups)}"
            )
        return LoadBalancerTraffic(self._account, place.load_balancer)

    def _start(self, service: Service, now: Shared) -> Start:
        def look(_run: OpenRun | None = None) -> dict[str, t.Any]:
            text = now.text()
            pieces = [text[i : i + _PIECE] for i in range(0, len(text), _PIECE)]
            at_once, why = self._pace(service)
            return {"changed": False, "share": now.share(self._to), "before": pieces, "at_once": at_once, "why": why}

        decision = {"to": self._to, "reason": self._arguments["reason"][:200]}
        kept = look() if self.check_mode else self.local_change(self._key("look"), decision, look)
        return Start(int(kept["share"]), "".join(kept["before"]), bool(kept["at_once"]), str(kept["why"]))

    def _pace(self, service: Service) -> tuple[bool, str]:
        pace = self._arguments["pace"]
        if pace != "auto":
            return pace == "at_once", "as was asked for"
        if not self._dns or self._place.dns is None:
            return False, "step by step"
        side = PRIMARY if self._to == STANDBY else STANDBY
        other = SideChecks(service, self._place.dns, side)
        complaint = self._way.complaint(side) or other.complaint()
        if not complaint:
            known = other.known or self._place.dns.side(side).health_check is not None
            return False, "the other side answers" if known else "nothing tells whether the other side answers"
        return True, f"at once, {complaint}"

    def _refuse_unfit(self) -> None:
        """Refuse a side that cannot take traffic, unless somebody accepts that."""
        reason = self._complaint()
        if not reason and self._checks is not None and not self._checks.known:
            dns = self._place.dns
            if dns is None or dns.side(self._to).health_check is None:
                reason = (
                    f"no HTTP check of the service asks for {dns and dns.name}, so nothing tells whether it answers"
                )
        if not reason or (isinstance(self._way, LoadBalancerTraffic) and not self._joined()):
            return
        if UNFIT not in accepted(None if self.check_mode else self.open_run(), self._arguments["accept"]):
            raise Refused(
                f"{self.target}: {self._to} is not fit for traffic, nothing was changed: {reason}",
                f"mend it, or accept it with --accept {UNFIT}",
            )

    def _joined(self) -> bool:
        """Whether the load balancer looks at the targets already, so that their health says something."""
        return self._place.load_balancer is not None and (
            self._place.load_balancer.target_groups[self._to] in t.cast(t.Any, self._way.look()).weights
        )

    def _complaint(self) -> str:
        return self._way.complaint(self._to) or (self._checks.complaint() if self._checks is not None else "")

    # -- acting ------------------------------------------------------------------------------------------------

    def _ramp(self, service: Service, ramp: Ramp, start: Start, plan: Mapping[int, int]) -> list[dict[str, t.Any]]:
        held: list[dict[str, t.Any]] = []
        names = [service.name, *self._users()]
        everybody = HealthGate(service, self.services(names), self.look, self._secrets.add)
        at, expected = 0, start.share
        try:
            self._join(service)
            for at, share in plan.items():
                self._give(expected, share, start)
                expected = share
                held.append(self._held(ramp, at, everybody if not start.at_once else None))
        except GateClosed as closed:
            self._back(start, closed)
        return held

    def _join(self, service: Service) -> None:
        """Have a load balancer look at the targets first.

        :raises GateClosed: they do not work.
        """
        way = self._way
        if not isinstance(way, LoadBalancerTraffic):
            return
        self._apply(self._key("join"), {"to": self._to, "weights": {self._to: 0}}, lambda: way.join(self._to))
        deadline = time.monotonic() + patience(service, self._arguments["healthy_within"])
        while (reason := way.complaint(self._to)) and time.monotonic() < deadline:
            self.renew()
            time.sleep(_PAUSE)
        if reason:
            raise GateClosed(0, reason)

    def _give(self, expected: int, share: int, start: Start) -> None:
        """One step, and waiting until it is carried out everywhere."""
        comment = self._comment()
        decision = {
            "to": self._to,
            "weights": {self._to: share},
            "expected": expected,
            "reason": self._arguments["reason"][:200] or start.why,
            "undo": self._way.way_back(start.text)[:1900],
        }
        key = self._key("at", share)
        moved = self._apply(key, decision, lambda: self._way.move(expected, self._to, share, comment))

        def settle(_run: OpenRun) -> dict[str, t.Any]:
            began = time.monotonic()
            said = self._way.settled(moved.get("ticket"), self._arguments["settled_within"], self.renew)
            return {"changed": False, "summary": said, "seconds": round(time.monotonic() - began, 2)}

        self.local_change(f"settled_{key}", {"to": self._to}, settle)

    def _apply(self, key: str, decision: Mapping[str, t.Any], work: t.Callable[[], Moved]) -> dict[str, t.Any]:
        in_doubt = self.begun(key)

        def change(_run: OpenRun) -> dict[str, t.Any]:
            moved = work()
            said: dict[str, t.Any] = {"already_done": moved.accepted_at is None, "ticket": moved.ticket}
            if moved.accepted_at is not None:
                said["accepted_at"] = moved.accepted_at
            # In doubt and done is this run's own change, of which the answer was lost.
            return {"changed": moved.accepted_at is not None or in_doubt, **said}

        done = self.local_change(key, decision, change)
        self._changed |= bool(done.get("changed"))
        return done

    def _held(self, ramp: Ramp, percent: int, everybody: HealthGate | None) -> dict[str, t.Any]:
        def gate() -> str:
            self.renew()
            return self._complaint() or (everybody() if everybody is not None else "")

        def watch(_run: OpenRun) -> dict[str, t.Any]:
            step = hold_step(ramp, percent, gate, time.monotonic, time.sleep)
            return {"changed": False, "percent": percent, "looks": step.looks, "seconds": round(step.seconds, 2)}

        return self.local_change(self._key("gate", percent), {"to": self._to, "hold": ramp.hold}, watch)

    def _back(self, start: Start, closed: GateClosed) -> t.NoReturn:
        """Everything as it was, exactly, and then the failure."""
        decision = {"reason": closed.reason[:500], "to": "as it was"}
        moved = self._apply(self._key(_BACK), decision, lambda: self._way.restore(start.text, self._comment()))
        self._way.settled(moved.get("ticket"), self._arguments["settled_within"], self.renew)
        raise CodeblueError(
            f"{self.target}: {self._way.what} is as before again: {closed.reason} at {closed.percent} %",
            f"find out what is wrong with {self._to}, then start a new run",
        )

    def _refuse_after_failure(self) -> None:
        run, key = self.open_run(), self._key(_BACK)
        for step in run.store.steps(run.run_id):
            if (step.target, step.stage, step.action) == (self.target, self.STAGE, key):
                raise CodeblueError(
                    f"{self.target}: this run has taken the traffic back: {step.decision.get('reason')}",
                    "find out what is wrong, then start a new run",
                )

    # -- ending ------------------------------------------------------------------------------------------------

    def _ended(
        self, service: Service, start: Start, now: Shared, held: list[dict[str, t.Any]], summary: str
    ) -> dict[str, t.Any]:
        problem = ""
        if held:
            problem = self._answers(service)
        if self._arguments["records"] == "simple" and isinstance(self._way, DnsTraffic) and not self.check_mode:
            way = self._way
            self._apply(self._key("simple"), {"to": self._to}, lambda: way.simplify(self._to, self._comment()))
        told = self._way.afterwards(start.text) if held or self._changed else ""
        before = {self._to: start.share}
        after = {self._to: now.share(self._to)}
        text = f"{self._way.what}: {self._to}"
        return {
            "changed": self._changed,
            "way": self._way.what,
            "before": before,
            "after": after,
            "pace": "at_once" if start.at_once else "gradual",
            "why": start.why,
            "gates": held,
            "problem": problem,
            "afterwards": told,
            "calls": self._account.calls,
            **(
                {
                    "diff": {
                        "before": f"{start.share} %\n",
                        "after": "100 %\n",
                        "before_header": text,
                        "after_header": text,
                    }
                }
                if self._task.diff and start.share != 100
                else {}
            ),
            "codeblue": {"summary": "; ".join(each for each in (summary, problem, told) if each)},
        }

    def _answers(self, service: Service) -> str:
        """Wait until the checks pass as clients ask them; answers from before may be kept for a while.

        :raises NotProven: they do not, and that is to fail.
        """
        given = self._arguments["healthy_within"]
        if given is None and self._dns:
            given = patience(service) + _TTL_SECONDS * profile_for(service.environment).time_scale

        def prove() -> None:
            problem = self.until_healthy(service, given)
            if problem:
                raise NotProven(
                    f"{self._way.what} leads to {self._to}, and the service does not work: {problem}",
                    "look whether the controller's name server has the new answer, and at the service there",
                )

        return self.proved(prove, self._arguments["when_unhealthy"])

    def _users(self) -> list[str]:
        names = [str(name) for name in self._variables["groups"].get("codeblue_services", [])]
        return dependents_of([self.target], self._variables["hostvars"], names)

    def _key(self, *parts: object) -> str:
        by = "dns" if self._dns else "load_balancer"
        return "_".join(str(each) for each in (by, self._to, *parts))

    def _comment(self) -> str:
        return f"codeblue run {self.open_run().run_id}"
