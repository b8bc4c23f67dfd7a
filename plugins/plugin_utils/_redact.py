# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The last thing that happens to a result: known secrets and what looks like one are taken out.

`no_log` in an action's argument spec redacts nothing, so every action leaves through here.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable, Mapping

HIDDEN = "(hidden)"

# name=value, name: value and "name": "value", for names that carry secrets wherever they come from.
_NAMED = re.compile(
    r"""(?ix)
    \b((?:[a-z0-9_]*_)?(?:password|passwd|secret|token|api_?key|private_?key|pgpassword)
       ["']?\s*[=:]\s*)
    ("[^"]*"|'[^']*'|[^\s,;}"']+)
    """
)
_URL_CREDENTIALS = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://[^\s/:@]*:)[^\s/@]+@")
# Shorter values would blank out ordinary words.
_SHORTEST_SECRET = 4


def redact_text(text: str, secrets: Iterable[str] = ()) -> str:
    """The text without the given values and without what is named like a secret."""
    for secret in sorted((value for value in secrets if len(value) >= _SHORTEST_SECRET), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = _URL_CREDENTIALS.sub(rf"\1{HIDDEN}@", text)
    return _NAMED.sub(rf"\1{HIDDEN}", text)


def redact(value: t.Any, secrets: Iterable[str] = ()) -> t.Any:
    """The same structure with every text in it redacted, keys included."""
    known = tuple(secrets)
    if isinstance(value, str):
        return redact_text(value, known)
    if isinstance(value, Mapping):
        return {redact_text(str(key), known): redact(item, known) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [redact(item, known) for item in value]
    return value
