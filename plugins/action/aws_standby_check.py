# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Looks whether a service on AWS can work in the region that traffic is to move to."""

from __future__ import annotations

import dataclasses
import datetime
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._acceptance import accepted
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_step import MISSING, AwsStepAction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_traffic import PRIMARY, STANDBY

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_standby import (
        destination,
        look_at_standby,
    )

    _MISSING: ImportError | None = MISSING
except ImportError as error:
    _MISSING = error

_LOOK_SECONDS = 60.0
# So many reasons on the line for people; all of them are in the result.
_SHOWN = 3


class ActionModule(AwsStepAction):
    """See plugins/modules/aws_standby_check.py."""

    STAGE = "standby"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "side": {"type": "str", "choices": [STANDBY, PRIMARY], "default": STANDBY},
        "other_region": {"type": "str", "choices": ["compare", "leave"], "default": "compare"},
        "when_unfit": {"type": "str", "choices": ["refuse", "report"], "default": "refuse"},
        "accept": {"type": "list", "elements": "str", "default": []},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service, self._accept = self.service(), arguments["accept"]
        self.connect(service, _LOOK_SECONDS)
        to = destination(self._place, arguments["side"])
        if to is None:
            raise BadInput(f"{self.target}: codeblue_aws.standby_region is missing", "name the region it can run in")
        if arguments["other_region"] == "leave":
            to = dataclasses.replace(to, other=None)
        # Looked at whenever it is asked for: what an earlier attempt saw is out of date when a run is taken up again.
        now = datetime.datetime.now(datetime.UTC)
        looked = look_at_standby(self._account, self._place, to, service.objectives.rpo, now)
        reasons = [str(each) for each in looked if not each.fit]
        where = f"{to.side} of {self.target} in {to.region}"
        if not self.check_mode:
            run = self.open_run()
            text = f"{where}: {len(looked)} looks, {len(reasons)} unfit{': ' if reasons else ''}{'; '.join(reasons)}"
            run.store.record(run.run_id, "note", {"target": run.target, "text": text[:1000]})
        said = "; ".join(reasons[:_SHOWN]) + (f" and {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else "")
        if reasons and arguments["when_unfit"] == "refuse":
            wanted = {each.acceptance for each in looked if not each.fit}
            self._refuse_unless_accepted(wanted, f"{where} is not fit, nothing was changed: {said}")
        summary = f"{where} is fit ({len(looked)} looks)"
        if reasons:
            summary = f"{where} is not fit: {said}"
        if not looked:
            summary = f"nothing is known of what {where} needs"
        return {
            "changed": False,
            "fit": not reasons,
            "region": to.region,
            "looks": [each.told() for each in looked],
            "calls": self._account.calls,
            "codeblue": {"summary": summary},
        }

    def _refuse_unless_accepted(self, wanted: set[str], message: str) -> None:
        missing = wanted - accepted(None if self.check_mode else self.open_run(), self._accept)
        if missing:
            options = " ".join(f"--accept {each}" for each in sorted(missing))
            raise Refused(message, f"mend it, or accept it with {options}")
