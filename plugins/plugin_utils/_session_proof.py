# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Proof that verifiers take what is signed with one key, and refuse what is signed with another."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Callable, Sequence

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._session_tokens import SessionProof

_SECONDS = 15.0
_PAUSE = 0.1


def until_proven(problem: Callable[[], str], target: str, hint: str, seconds: float = _SECONDS) -> None:
    """Ask again until there is no problem.

    :param problem: what is not so yet; empty when all is as wanted.
    :raises CodeblueError: there still is one at the end of the time.
    """
    deadline = time.monotonic() + seconds
    while said := problem():
        if time.monotonic() >= deadline:
            raise CodeblueError(f"{target}: {said}", hint)
        time.sleep(_PAUSE)


def who_refuses(proof: SessionProof, token: str, urls: Sequence[str]) -> str:
    """The first verifier that does not take the token, or does not answer; empty when all take it."""
    if not proof.is_valid(token):
        return "verify_url"
    taken = proof.taken_by(token)
    return next((url for url in urls if not taken.get(url, False)), "")


def who_takes(proof: SessionProof, token: str, urls: Sequence[str]) -> str:
    """The first verifier that takes the token, or does not answer; empty when all refuse it."""
    if proof.is_taken(token):
        return "verify_url"
    taken = proof.taken_by(token)
    return next((url for url in urls if taken.get(url, True)), "")


def prove_change(proof: SessionProof, before: str | None, target: str) -> None:
    """A new token is taken, and one from before the change is not.

    :param before: None when none was to be had.
    :raises CodeblueError: it is not so within the time.
    """

    def problem() -> str:
        new = proof.log_in()
        if new is None:
            return "after the change of keys nobody can log in"
        if not proof.is_taken(new):
            return "after the change of keys a new token is not taken"
        if before is not None and proof.is_taken(before):
            return "after the change of keys a token from before is still taken"
        refusing = [url for url, taken in proof.taken_by(new).items() if not taken]
        if refusing:
            return f"after the change of keys a new token is not taken by {refusing[0]}"
        taking = [] if before is None else [url for url, taken in proof.taken_by(before).items() if taken]
        return f"after the change of keys a token from before is still taken by {taking[0]}" if taking else ""

    until_proven(problem, target, "is a consumer missing in codeblue_host.session_keys?")
