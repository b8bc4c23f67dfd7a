# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Takes secrets out of texts that leave a machine: errors, log tails, receipts."""

from __future__ import annotations

import re
import typing as t

HIDDEN = "(hidden)"

# Shorter values would blank out ordinary words.
_SHORTEST_SECRET = 4
_SCRAM = re.compile(r"SCRAM-SHA-256\$[^\s'\"]+")
_URL_CREDENTIALS = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://[^\s/:@]*:)[^\s/@]+@")
_NAMED = re.compile(
    r"""(?ix)
    \b((?:[a-z0-9_]*_)?(?:password|passwd|secret|token|api_?key|private_?key)["']?\s*[=:]\s*)
    ("[^"]*"|'[^']*'|[^\s,;}"']+)
    """
)


def scrub_text(text: str, secrets: t.Iterable[str] = ()) -> str:
    """The text without the given values and without what is named like a secret."""
    for secret in sorted((value for value in secrets if len(value) >= _SHORTEST_SECRET), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = _SCRAM.sub(lambda _match: "SCRAM-SHA-256$" + HIDDEN, text)
    text = _URL_CREDENTIALS.sub(r"\1%s@" % HIDDEN, text)
    return _NAMED.sub(r"\1%s" % HIDDEN, text)


def scrub(value: t.Any, secrets: t.Iterable[str] = ()) -> t.Any:
    """The same structure with every text in it scrubbed; keys stay, they are names of ours."""
    known = tuple(secrets)
    if isinstance(value, str):
        return scrub_text(value, known)
    if isinstance(value, dict):
        return {key: scrub(item, known) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [scrub(item, known) for item in value]
    return value
