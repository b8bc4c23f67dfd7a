# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The keys that session tokens are signed and verified with, and how it is seen which tokens are taken."""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._typed_mapping import TypedMapping

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import Consumer


@dataclass(frozen=True)
class SessionKeys:
    """`codeblue_host.session_keys` of a service that people log in at: one Ed25519 pair for all.

    :param signing: who holds the private key.
    :param verification: who holds the public key.
    :param login_check: id of the check in `codeblue_checks` that logs in and is answered with a token.
    :param token_field: where the token stands in that answer.
    :param use_urls: addresses of those who verify, each by itself and not through a gateway; asked with a token as
        bearer they answer 401 or 403 when they refuse it.
    :param token_lifetime: seconds after which every token has expired; None when the inventory does not say.
    :param verify_url: takes `{"token": …}` by POST and answers 200 for a token that is valid, 401 or 403 for others.
    """

    signing: tuple[Consumer, ...]
    verification: tuple[Consumer, ...]
    login_check: str
    token_field: str
    verify_url: str
    use_urls: tuple[str, ...] = ()
    token_lifetime: float | None = None

    @property
    def consumers(self) -> tuple[Consumer, ...]:
        """Everybody who has one of the keys."""
        return (*self.signing, *self.verification)


def read_session_keys(values: TypedMapping, read_consumer: Callable[[TypedMapping], Consumer]) -> SessionKeys:
    """Read it; what is wrong goes to the problems of the mapping."""
    keys = SessionKeys(
        signing=tuple(read_consumer(item) for item in values.listed("signing")),
        verification=tuple(read_consumer(item) for item in values.listed("verification")),
        login_check=values.text("login_check", default="login"),
        token_field=values.text("token_field", default="token"),
        verify_url=values.text("verify_url"),
        use_urls=values.texts("use_urls"),
        token_lifetime=values.optional_duration("token_lifetime"),
    )
    for name, consumers in (("signing", keys.signing), ("verification", keys.verification)):
        if not consumers:
            values.problem(name, "is missing, name every machine that has the key")
    for name, url in [("verify_url", keys.verify_url), *(("use_urls", each) for each in keys.use_urls)]:
        if url and not url.startswith(("http://", "https://")):
            values.problem(name, "must begin with http:// or https://")
    values.finish()
    return keys
