# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What actions that change something on AWS have in common: the identity and the regions."""

from __future__ import annotations

import dataclasses

from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._proven_steps import MISSING as _MISSING_STORE
from ansible_collections.codeblue.recovery.plugins.plugin_utils._proven_steps import NotProven, ProvenSteps

# A sixth of a second for boto3, once per ansible-playbook: its workers are forks and find it imported. A failing import
# here would abort the whole play, past rescue; `run` says it.
try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_access import AwsAccess
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount, Budget

    MISSING: ImportError | None = _MISSING_STORE
except ImportError as error:
    MISSING = error

__all__ = ["MISSING", "AwsStepAction", "NotProven"]


class AwsStepAction(ProvenSteps):
    """Base of these actions. `act` calls `connect` first."""

    MISSING_IMPORT = MISSING
    # AWS takes so many questions in a second, from everybody in the account.
    PAUSE = 0.5

    def connect(self, service: Service, seconds: float, read_seconds: float | None = None) -> None:
        """Get ready to ask the services of AWS.

        :param seconds: for all calls together.
        :param read_seconds: for which a single answer is waited for, when that is more than usual.
        :raises CodeblueError: there are no usable credentials.
        """
        self._place = service.require_aws()
        access = AwsAccess(self._place.profile, self._place.endpoints)
        if read_seconds is not None:
            access = dataclasses.replace(access, read_seconds=read_seconds)
        self._account = AwsAccount(access, self._place.region, Budget(seconds), read_only=self.check_mode)
        self.begin_telling()
