# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""New API keys, and questions about which are accepted. A key exists in memory and in the files of its holders."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Collection

import httpx
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_api_keys import ApiKey
from ansible_collections.codeblue.recovery.plugins.plugin_utils._session_proof import until_proven

# 32 random bytes: beyond guessing, and fit for a header and a line of a file.
_BYTES = 32
_SECONDS = 3.0


def new_key() -> str:
    """A key that nobody has yet."""
    return secrets.token_urlsafe(_BYTES)


class ApiKeyProof:
    """Asks everybody who accepts an API key whether they accept this one.

    :param target: the service, for messages.
    :raises BadInput: `ca_file` cannot be read.
    """

    def __init__(self, target: str, key: ApiKey) -> None:
        self._target = target
        self._key = key
        try:
            self._trusted = ssl.create_default_context(cafile=key.ca_file)
        except (OSError, ssl.SSLError) as error:
            why = error.strerror or "holds no certificate"
            raise BadInput(f"{target}: api_keys.{key.name}.ca_file: {key.ca_file}: {why}") from error

    def accepted_by(self, value: str) -> dict[str, bool]:
        """Address to whether it takes the key. Whoever does not answer, or is in trouble, is left out."""
        found = {}
        for url in self._key.check_urls:
            headers = {self._key.header: value}
            try:
                status = httpx.get(url, headers=headers, timeout=_SECONDS, verify=self._trusted).status_code
            except httpx.HTTPError:
                continue
            if status < 500:
                found[url] = status not in (401, 403)
        return found

    def check_addresses(self) -> None:
        """The addresses tell keys apart: one that nobody has is refused.

        :raises CodeblueError: one of them does not, so that nothing could be proven.
        """
        seen = self.accepted_by(new_key())
        for url in self._key.check_urls:
            if seen.get(url) is not False:
                problem = "answers without a key that is accepted" if url in seen else "does not answer"
                raise CodeblueError(
                    f"{self._target}: {url} {problem}: nothing was changed", f"see api_keys.{self._key.name}.check_urls"
                )

    def silent(self) -> frozenset[str]:
        """The addresses that do not answer now, such as those of a service in quarantine."""
        return frozenset(self._key.check_urls) - set(self.accepted_by(new_key()))

    def prove(self, accepted: str, refused: tuple[str, ...] = (), silent: Collection[str] = ()) -> None:
        """Everybody accepts the one key and none of the others.

        :param silent: addresses of which that cannot be known.
        :raises CodeblueError: it is not so within the time.
        """

        def problem() -> str:
            seen = self.accepted_by(accepted)
            urls = [url for url in self._key.check_urls if url not in silent]
            lacking = [url for url in urls if not seen.get(url, False)]
            if lacking:
                return f"the new key is not accepted by {lacking[0]}"
            for value in refused:
                seen = self.accepted_by(value)
                taking = [url for url in urls if seen.get(url, True)]
                if taking:
                    return f"the old key is still accepted by {taking[0]}"
            return ""

        until_proven(
            problem, self._target, f"is somebody missing in codeblue_host.api_keys.{self._key.name}.accepted_by?"
        )
