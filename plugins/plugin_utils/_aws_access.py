# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""By which identity AWS is reached, and where its services answer.

Credentials come the ways that boto3 knows: a profile, the environment, the role of the machine or of the container. A
`credential_process` has no time limit of its own there, so looking for them is bounded here.
"""

from __future__ import annotations

import queue
import threading
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass, field

import boto3
import botocore.config
import botocore.exceptions
import botocore.session
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError

_CONNECT_SECONDS = 3.0
_READ_SECONDS = 10.0
_CREDENTIALS_SECONDS = 20.0
# As many as look at an account at once; one connection of a pool each.
CONNECTIONS = 16
_HINT = (
    "look at codeblue_aws.profile, AWS_PROFILE, AWS_SHARED_CREDENTIALS_FILE, or the role of this machine; keys in the"
    " environment of codeblue are handed on only with --pass-env"
)


@dataclass(frozen=True)
class AwsAccess:
    """Which identity, and whose endpoints.

    :param profile: of the AWS configuration files; None for what the environment says.
    :param endpoints: region to the URL at which all its services answer, for a proxy or a laboratory; for other
        regions the environment decides (`AWS_ENDPOINT_URL`), else they are those of AWS.
    :param read_seconds: for which an answer is waited for; more for what takes its time, such as a function.
    """

    profile: str | None = None
    endpoints: Mapping[str, str] = field(default_factory=dict, hash=False)
    read_seconds: float = _READ_SECONDS

    @property
    def who(self) -> str:
        """For people."""
        return f"profile {self.profile}" if self.profile else "this controller"

    def session(self) -> boto3.session.Session:
        """A session with credentials that were looked for now.

        :raises BadInput: there are none, or no such profile.
        :raises CodeblueError: they did not come in time.
        """
        found: queue.Queue[boto3.session.Session | Exception] = queue.Queue()
        thread = threading.Thread(target=lambda: found.put(self._attempt()), daemon=True)
        thread.start()
        try:
            answer = found.get(timeout=_CREDENTIALS_SECONDS)
        except queue.Empty:
            raise CodeblueError(
                f"no AWS credentials came for {self.who} within {_CREDENTIALS_SECONDS:g} s",
                "look at the credential_process or the sign-in of the profile",
            ) from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _attempt(self) -> boto3.session.Session | Exception:
        try:
            session = boto3.session.Session(profile_name=self.profile)
            credentials = session.get_credentials()
            if credentials is None:
                return BadInput(f"{self.who} has no AWS credentials", _HINT)
            credentials.get_frozen_credentials()
            return session
        except botocore.exceptions.ProfileNotFound:
            return BadInput(f"there is no AWS profile {self.profile}", _HINT)
        except botocore.exceptions.BotoCoreError as error:
            # Its message may quote the output of a process that prints credentials.
            return BadInput(f"the AWS credentials of {self.who} cannot be had ({type(error).__name__})", _HINT)

    def client(self, session: boto3.session.Session, service: str, region: str) -> t.Any:
        """A client of one service in one region.

        :raises BadInput: there is no such service or region.
        """
        # Repeated by their own rules, within their own time; of botocore's ways the adaptive one stays, which sends
        # less often what was throttled.
        settings = botocore.config.Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=self.read_seconds,
            max_pool_connections=CONNECTIONS,
            retries={"mode": "adaptive", "total_max_attempts": 1},
            user_agent_extra="codeblue",
            # A bucket's name is part of a host's name at AWS only.
            s3={"addressing_style": "path"} if region in self.endpoints else None,
        )
        try:
            return session.client(service, region_name=region, endpoint_url=self.endpoints.get(region), config=settings)
        except (botocore.exceptions.BotoCoreError, ValueError) as error:
            raise BadInput(f"AWS {service} in {region}: {error}", "look at codeblue_aws.region") from error
