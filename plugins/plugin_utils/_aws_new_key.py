# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The secret that holds an access key: a new key goes into it and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Callable

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_secrets import CURRENT, PENDING, AwsSecrets

_NAME, _VALUE = "access_key_id", "secret_access_key"
_PREVIOUS = "AWSPREVIOUS"


class KeySecret:
    """One secret.

    :param hide: is told every value that must not be shown.
    """

    def __init__(self, account: AwsAccount, name: str, hide: Callable[[str], object]) -> None:
        self._account = account
        self._secrets = AwsSecrets(account, name)
        self._hide = hide
        self.name = name

    def has(self, token: str) -> bool:
        """Whether the version that a token makes is there."""
        return token in self._secrets.look(self.name).stages

    def put(self, token: str, key: str, value: str) -> None:
        """Keep a key as the version that nobody gets yet; what else the document holds stays in it."""
        self._hide(value)
        document = json.dumps({**(self._document(CURRENT) or {}), _NAME: key, _VALUE: value})
        self._account.ask(
            "secretsmanager",
            "put_secret_value",
            about=self.name,
            SecretId=self.name,
            ClientRequestToken=token,
            SecretString=document,
            VersionStages=[PENDING],
        )

    def make_current(self, token: str) -> bool:
        """Have everybody get that version."""
        return self._secrets.make_current(self.name, token)

    def pair(self, token: str) -> tuple[str, str]:
        """Name and secret of the key in a version.

        :raises CodeblueError: it holds none.
        """
        found = self._read(VersionId=token)
        if found is None:
            raise CodeblueError(f"secret {self.name} holds no access key", f"it needs {_NAME} and {_VALUE}")
        return found

    def pair_before(self) -> tuple[str, str] | None:
        """The key that was in it before; None when there was none."""
        look = self._secrets.look(self.name)
        return self._read(VersionStage=_PREVIOUS) if look.version_of(_PREVIOUS) else None

    def _read(self, **version: str) -> tuple[str, str] | None:
        found = self._account.ask("secretsmanager", "get_secret_value", about=self.name, SecretId=self.name, **version)
        document = _mapping(found.get("SecretString"))
        if _NAME not in document or _VALUE not in document:
            return None
        self._hide(document[_VALUE])
        return document[_NAME], document[_VALUE]

    def _document(self, stage: str) -> dict[str, str] | None:
        if not self._secrets.look(self.name).version_of(stage):
            return None
        found = self._account.ask(
            "secretsmanager", "get_secret_value", about=self.name, SecretId=self.name, VersionStage=stage
        )
        return _mapping(found.get("SecretString"))


def _mapping(text: object) -> dict[str, str]:
    """A JSON document as a mapping; empty when it is none."""
    try:
        found = json.loads(str(text))
    except ValueError:
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}
