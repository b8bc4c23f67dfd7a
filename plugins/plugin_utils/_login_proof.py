# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a password is taken for a role, on the way that clients take to a database."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import run_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import (
    CheckResult,
    PlannedCheck,
    PostgresqlCheck,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._looks import HeldSecret
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service

_SECONDS = 3.0
#: Answered as true by a login with any rights.
ANY = "SELECT true"


class LoginProof:
    """Logs in as a client does.

    :raises BadInput: the service has no check that tells the way.
    """

    def __init__(self, service: Service) -> None:
        way = next(
            (check for _level, check in service.checks.up_to("deep") if isinstance(check, PostgresqlCheck)), None
        )
        if way is None:
            raise BadInput(
                f"{service.name}: codeblue_checks has no check of type postgresql", "add one: it proves logins"
            )
        self._way = way
        self._service = service.name

    def try_all(self, logins: Sequence[tuple[str, str, str]]) -> list[CheckResult]:
        """How each login with role, password and query ended; all at once."""
        plan = [
            PlannedCheck(self._service, "deep", self._login(f"login_{number}", *login))
            for number, login in enumerate(logins)
        ]
        return run_checks(plan)

    def is_taken(self, role: str, password: str) -> bool:
        """The server lets this login in now."""
        return self.try_all([(role, password, ANY)])[0].ok

    def prove(self, role: str, password: str, query: str = ANY) -> None:
        """The password is taken for the role, and another one is refused.

        :param query: what has to be true in its session.
        :raises CodeblueError: it is not so.
        """
        taken, refused = self.try_all([(role, password, query), (role, secrets.token_urlsafe(16), ANY)])
        if not taken.ok:
            raise CodeblueError(f"{self._service}: the new password of {role} is not taken ({taken.error_class})")
        self._raise_unless_refused(role, "any password", refused)

    def prove_refused(self, role: str, password: str) -> None:
        """:raises CodeblueError: the password is still taken, or nobody could tell."""
        self._raise_unless_refused(role, "the old password", self.try_all([(role, password, ANY)])[0])

    def _raise_unless_refused(self, role: str, what: str, seen: CheckResult) -> None:
        if seen.ok:
            raise CodeblueError(
                f"{self._service}: the server takes {what} for {role}", "look at pg_hba.conf: is the method trust?"
            )
        if seen.error_class != "credentials_refused":
            raise CodeblueError(
                f"{self._service}: whether {what} is refused for {role} is unknown ({seen.error_class})"
            )

    def _login(self, name: str, role: str, password: str, query: str) -> PostgresqlCheck:
        return PostgresqlCheck(
            id=name,
            timeout=_SECONDS,
            max_response=None,
            address=self._way.address,
            port=self._way.port,
            database=self._way.database,
            user=role,
            password=HeldSecret("file", f"password of {role}", password),
            query=query,
            writes=False,
            sslmode=self._way.sslmode,
            ca_file=self._way.ca_file,
        )
