# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Calls a function of Lambda that takes part in a recovery, once in a run, and judges its answer."""

from __future__ import annotations

import dataclasses
import time
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._acceptance import accepted
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_step import MISSING, AwsStepAction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_functions import RecoveryFunction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_traffic import PRIMARY, STANDBY
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import AwsError, AwsUnavailable
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_function import invoke

    _MISSING: ImportError | None = MISSING
except ImportError as error:
    _MISSING = error

#: The acceptance that a person must give before a function is called again of which nobody knows whether it ran.
INVOKE_AGAIN = "invoke_again"
_AROUND_SECONDS = 30.0
_MOST_ATTEMPTS = 20
# Larger answers stay out of the result.
_LARGEST_SHOWN = 4096


class ActionModule(AwsStepAction):
    """See plugins/modules/aws_function_invoke.py."""

    STAGE = "function"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "function": {"type": "str"},
        "side": {"type": "str", "choices": [STANDBY, PRIMARY], "default": STANDBY},
        "payload": {"type": "dict", "default": {}},
        "accept": {"type": "list", "elements": "str", "default": []},
        "reason": {"type": "str", "default": ""},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        chosen = self._chosen(arguments)
        longest = max((each.timeout for each in chosen), default=0.0)
        seconds = sum(each.timeout for each in chosen) + _AROUND_SECONDS
        self.connect(self.service(), seconds, read_seconds=longest + 5.0)
        done = [self._one(each, arguments) for each in chosen]
        said = "; ".join(str(each.pop("summary")) for each in done)
        return {
            "changed": any(each.pop("changed") for each in done) if done else False,
            "functions": done,
            "calls": self._account.calls,
            "codeblue": {"summary": said or f"{self.target} has no function for the {arguments['side']}"},
        }

    def _chosen(self, arguments: dict[str, t.Any]) -> list[RecoveryFunction]:
        known = self.service().require_aws().functions
        name = arguments["function"]
        if name is None:
            if arguments["payload"]:
                raise BadInput(f"{self.target}: `payload` is for one function", "name it with `function`")
            return [each for each in known.values() if each.side == arguments["side"]]
        if name not in known:
            raise BadInput(
                f"{self.target}: {name!r} is no function of codeblue_aws.functions",
                f"known: {', '.join(known) or 'none'}",
            )
        given = {**known[name].payload, **arguments["payload"]}
        return [dataclasses.replace(known[name], payload=given)]

    def _one(self, function: RecoveryFunction, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        """Call one function; its part of the result.

        :raises CodeblueError: it failed, or answered what was not expected.
        """
        region = self._place.region
        if function.side == STANDBY and self._place.standby_region is not None:
            region = self._place.standby_region
        told = {"function": function.function, "region": region, "status": None, "size": None, "answer": None}
        if self.check_mode:
            self._planned.append(f"call {function} in {region}")
            return {**told, "changed": True, "summary": f"would call {function} in {region}"}
        self._answer: t.Any = None
        done, earlier = self._called(function, region, arguments)
        if done["problem"]:
            raise CodeblueError(
                f"{self.target}: {done['problem']}", f"look at its log in {region}, mend it, then resume the run"
            )
        said = f"{function} in {region} answered as expected{' before' if earlier else ''}"
        told |= {"status": done["status"], "size": done["size"], "answer": self._answer}
        return {**told, "changed": bool(done["changed"]), "summary": said}

    def _called(
        self, function: RecoveryFunction, region: str, arguments: dict[str, t.Any]
    ) -> tuple[dict[str, t.Any], bool]:
        """What it answered, and whether to an earlier attempt of this run.

        Each attempt of which is known how it ended is a step of its own; one of which that is not known stays in doubt.
        """
        again = INVOKE_AGAIN in accepted(self.open_run(), arguments["accept"]) or function.repeatable
        for number in range(1, _MOST_ATTEMPTS + 1):
            key = f"invoke_{function.name}" + (f"_{number}" if number > 1 else "")
            earlier = self.kept(key)
            if earlier is not None and not earlier["problem"]:
                return earlier, True
            if earlier is not None and (again or not earlier["called"]):
                continue
            if earlier is not None:
                return earlier, True
            if self.begun(key):
                if again:
                    continue
                raise Refused(
                    f"{self.target}: nobody knows whether {function} ran, it is not called again",
                    f"look at its log in {region} for run {self.open_run().run_id}, then accept {INVOKE_AGAIN}",
                )
            return self._attempt(key, function, region, arguments["reason"]), False
        raise Refused(f"{self.target}: {function} was called {_MOST_ATTEMPTS} times by this run", "start a new run")

    def _attempt(self, key: str, function: RecoveryFunction, region: str, reason: str) -> dict[str, t.Any]:
        decision = {
            "to": region,
            "method": function.function,
            "reason": reason[:200],
            "irreversible": "whatever the function does",
        }

        def work(run: OpenRun) -> dict[str, t.Any]:
            started = time.time()
            try:
                answered = invoke(self._account, function, region, run.run_id, run.target)
            except AwsUnavailable as error:
                if error.sent:
                    raise
                return {"changed": False, "called": False, "problem": error.message}
            except AwsError as error:
                # A clear no: nothing ran, so it may be called again.
                return {"changed": False, "called": False, "problem": error.message}
            self._answer = answered.answer if answered.size <= _LARGEST_SHOWN else None
            return {
                "changed": True,
                "called": True,
                "problem": answered.problem,
                "status": answered.status,
                "size": answered.size,
                "accepted_at": started,
            }

        return self.local_change(key, decision, work)
