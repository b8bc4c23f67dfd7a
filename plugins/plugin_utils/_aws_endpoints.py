# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where consumers look for the address of a database: read, changed, and read back.

Only the address changes. A secret's other values pass through and are never shown.
"""

from __future__ import annotations

import json
import time
import typing as t
import uuid

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import Conflict, NotFound
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_database import Endpoint

_NAMESPACE = uuid.UUID("5f1c2c0e-6c0f-4a0e-9a51-6d1f6f0b7f3a")
_PAUSE = 1.0
_INSYNC_SECONDS = 180.0
_HINT = "look at codeblue_aws.database.endpoints in the inventory"


class ConsumerEndpoints:
    """Those of one database.

    :param run_id: of the run that changes them: a second attempt is the same change to Secrets Manager.
    :param region: by which Route 53 is asked, which has none itself: one that answers.
    """

    def __init__(self, account: AwsAccount, run_id: str, region: str) -> None:
        self._account = account
        self._region = region
        self._run_id = run_id

    def read(self, endpoint: Endpoint) -> str:
        """The address that consumers find there now.

        :raises CodeblueError: it cannot be read, or holds no address.
        """
        if endpoint.kind == "parameter":
            return str(self._parameter(endpoint)["Value"])
        if endpoint.kind == "secret":
            return str(self._secret(endpoint)[endpoint.key])
        values = [each["Value"] for each in self._record(endpoint)["ResourceRecords"]]
        return str(values[0]).rstrip(".")

    def lead(self, endpoint: Endpoint, address: str) -> bool:
        """Make consumers find another address there; False when they do already.

        :raises CodeblueError: it could not be changed, or is not so afterwards.
        """
        if self.read(endpoint) == address:
            return False
        change = {"parameter": self._put_parameter, "secret": self._put_secret, "record": self._put_record}
        change[endpoint.kind](endpoint, address)
        if (found := self.read(endpoint)) != address:
            raise CodeblueError(f"{endpoint} was changed and says {found} again", "look who else keeps it")
        return True

    # -- Systems Manager ---------------------------------------------------------------------------------------

    def _parameter(self, endpoint: Endpoint) -> dict[str, t.Any]:
        answer = self._account.ask(
            "ssm", "get_parameter", region=endpoint.region, about=endpoint.name, Name=endpoint.name, WithDecryption=True
        )
        return t.cast("dict[str, t.Any]", answer["Parameter"])

    def _put_parameter(self, endpoint: Endpoint, address: str) -> None:
        self._account.ask(
            "ssm",
            "put_parameter",
            region=endpoint.region,
            about=endpoint.name,
            Name=endpoint.name,
            Value=address,
            Type=self._parameter(endpoint)["Type"],
            Overwrite=True,
        )

    # -- Secrets Manager ---------------------------------------------------------------------------------------

    def _secret(self, endpoint: Endpoint) -> dict[str, t.Any]:
        answer = self._account.ask(
            "secretsmanager", "get_secret_value", region=endpoint.region, about=endpoint.name, SecretId=endpoint.name
        )
        try:
            found = json.loads(answer.get("SecretString") or "")
        except ValueError:
            found = None
        if not isinstance(found, dict) or not isinstance(found.get(endpoint.key), str):
            # Nothing of it is repeated: it is a secret.
            raise BadInput(f"{endpoint}: holds no JSON with a text {endpoint.key}", _HINT)
        return found

    def _put_secret(self, endpoint: Endpoint, address: str) -> None:
        text = json.dumps({**self._secret(endpoint), endpoint.key: address})
        token = str(uuid.uuid5(_NAMESPACE, f"{self._run_id} {endpoint} {address}"))
        try:
            self._account.ask(
                "secretsmanager",
                "put_secret_value",
                region=endpoint.region,
                about=endpoint.name,
                SecretId=endpoint.name,
                ClientRequestToken=token,
                SecretString=text,
                VersionStages=["AWSCURRENT"],
            )
        except Conflict:
            raise Refused(
                f"{endpoint}: somebody has changed it meanwhile, nothing was overwritten", "run again"
            ) from None

    # -- Route 53 ----------------------------------------------------------------------------------------------

    def _record(self, endpoint: Endpoint) -> dict[str, t.Any]:
        answer = self._account.ask(
            "route53",
            "list_resource_record_sets",
            region=self._region,
            about=endpoint.name,
            HostedZoneId=endpoint.zone,
            StartRecordName=endpoint.name,
            StartRecordType="CNAME",
            MaxItems="2",
        )
        name = endpoint.name.rstrip(".").lower()
        sets = answer.get("ResourceRecordSets") or ()
        found = [each for each in sets if each["Name"].rstrip(".").lower() == name and each["Type"] == "CNAME"]
        if not found:
            raise NotFound(f"{endpoint}: there is no CNAME of this name in zone {endpoint.zone}", _HINT)
        record: dict[str, t.Any] = found[0]
        if len(found) > 1 or "SetIdentifier" in record or len(record.get("ResourceRecords") or ()) != 1:
            raise Refused(
                f"{endpoint} is not a simple record: it leads to several places", "name a record that leads to one"
            )
        return record

    def _put_record(self, endpoint: Endpoint, address: str) -> None:
        record = {**self._record(endpoint), "ResourceRecords": [{"Value": address}]}
        batch = {"Changes": [{"Action": "UPSERT", "ResourceRecordSet": record}]}
        answer = self._account.ask(
            "route53",
            "change_resource_record_sets",
            region=self._region,
            about=endpoint.name,
            HostedZoneId=endpoint.zone,
            ChangeBatch=batch,
        )
        change, deadline = answer["ChangeInfo"], time.monotonic() + _INSYNC_SECONDS
        while change["Status"] != "INSYNC":
            if time.monotonic() >= deadline:
                raise CodeblueError(
                    f"{endpoint} is not known to all servers of Route 53 after {_INSYNC_SECONDS:g} s",
                    "codeblue resume this run looks again",
                )
            time.sleep(_PAUSE)
            asked = {"region": self._region, "about": endpoint.name, "Id": change["Id"]}
            change = self._account.ask("route53", "get_change", **asked)["ChangeInfo"]
