# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Proves that nothing of a service on AWS is open to everybody any more, and says when the exposure ended."""

from __future__ import annotations

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_security_step import MISSING, AwsSecurityAction

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_public import PublicThings
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_aws_exposure import AwsExposure
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._exposure import breach_id_of
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._session_proof import until_proven
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import utc_now

    _MISSING: ImportError | None = MISSING
except ImportError as error:
    _MISSING = error

_CALL_SECONDS = 60.0


class NotProven(CodeblueError):
    """Something is still exposed."""

    exit_code = 5


class ActionModule(AwsSecurityAction):
    """See plugins/modules/aws_exposure_prove.py."""

    STAGE = "prove"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "diagnosis": {"type": "dict", "required": True},
        "within": {"type": "float", "default": 20.0},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        exposure = AwsExposure.of(arguments["diagnosis"])
        buckets = list(dict.fromkeys((*service.require_aws().security.private_buckets, *exposure.buckets)))
        self.connect(service, _CALL_SECONDS + arguments["within"])
        if self.check_mode:
            summary = f"would look again at {len(buckets)} buckets and at shared snapshots"
            return {"buckets": buckets, "codeblue": {"summary": summary}}
        things = PublicThings(self._account)

        def problem() -> str:
            self.renew()
            opened = [each for each in buckets if things.look(each).is_public or things.says_public(each)]
            opened += [each.id for each in things.shared_snapshots()]
            return f"{', '.join(opened[:3])} is open to everybody still" if opened else ""

        try:
            until_proven(problem, self.target, "what was closed stays closed; see CloudTrail", arguments["within"])
        except CodeblueError as error:
            raise NotProven(error.message, error.hint) from None
        gate = self.open_run()
        gate.store.exposure_ended(gate.run_id, breach_id_of(gate.run_id, self.target), utc_now())
        said = f"{len(buckets)} buckets are private, no snapshot is shared with all accounts"
        return {"changed": False, "buckets": buckets, "codeblue": {"summary": said + self.afterwards()}}
