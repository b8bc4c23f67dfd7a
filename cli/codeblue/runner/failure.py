"""One clear line out of what Ansible says when it cannot even start."""

from __future__ import annotations

import itertools
import re

_MOST_CHARACTERS = 600
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_PREFIX = re.compile(r"^\s*(?:\[(?:ERROR|WARNING)\]|ERROR!|fatal):?\s*", re.IGNORECASE)
_ORIGIN = re.compile(r"^Origin: (?P<place>\S.*)$", re.MULTILINE)
_UNPARSED = re.compile(r"Completely failed to parse inventory source (?P<source>.+?)(?: \(|$)")
_PLUGIN_REASON = re.compile(
    r"Failed to parse inventory with '(?P<plugin>[^']+)' plugin: (?P<reason>[^\n]*(?:\n(?!\n).*)*)"
)
# Lines of a source excerpt: ` 12   text`, `   ...`, `     ^ column 3`.
_EXCERPT = re.compile(r"^\s*(?:\d+\s.*|\.\.\.|\^.*|Unexpected .* traceback.*)$")


def one_line(text: str) -> str:
    """The text on one line, without colours, of bounded length."""
    flat = " ".join(_ANSI.sub("", text).split())
    return flat if len(flat) <= _MOST_CHARACTERS else flat[: _MOST_CHARACTERS - 1] + "…"


def tidy_error(text: str) -> str:
    """Ansible's error without its prefix and without the lines of the file around it; the place stays.

    The lines are left out because they may hold what must not be repeated.
    """
    text = _ANSI.sub("", text).replace("\r", "")
    match = _ORIGIN.search(text)
    place = match.group("place").strip() if match else ""
    message = text[: match.start()] if match else text
    lines = [_PREFIX.sub("", line).strip() for line in message.splitlines()]
    kept = [line for line in lines if line and not _EXCERPT.match(line)]
    joined = " ".join(kept)
    if place and place not in joined and not place.startswith("/proc/"):
        joined = f"{joined.rstrip('.')} ({place})"
    return joined


def explain_start_failure(text: str) -> tuple[str, str | None]:
    """What kept ansible-playbook from starting: the line, and what to do about it.

    :param text: all that it printed outside of tasks.
    """
    errors = _errors(text)
    if not errors:
        # A program that crashes says why in its last line.
        said = one_line(_ANSI.sub("", text).strip().rpartition("\n")[2])
        return said or "ansible-playbook ended without saying why", "codeblue doctor"
    # The first one is the cause; what follows are its consequences.
    message = one_line(tidy_error(errors[0]))
    unparsed = _UNPARSED.search(message)
    if unparsed:
        message = _inventory_reason(unparsed.group("source"), _ANSI.sub("", text).replace("\r", ""))
    return message, _hint_for(message)


def _inventory_reason(source: str, text: str) -> str:
    """Why a source could not be read: by the plugin that its name speaks for, as each of them has its own reason."""
    wanted = "yaml" if source.endswith((".yml", ".yaml", ".json")) else "ini"
    reasons: dict[str, str] = {}
    places: dict[str, str] = {}
    for block in re.split(r"^\[WARNING\]: (?=Failed to parse inventory)", text, flags=re.MULTILINE)[1:]:
        found = _PLUGIN_REASON.match(block)
        if found is None:
            continue
        reason = one_line(found.group("reason"))
        reasons[found.group("plugin").rpartition(".")[2]] = reason
        origin = _ORIGIN.search(block)
        if origin and origin.group("place").startswith("/"):
            places[reason] = origin.group("place").strip()
    if not reasons:
        return f"inventory {source} cannot be read"
    reason = reasons.get(wanted) or next(iter(reasons.values()))
    place = places.get(reason, source)
    reason = re.sub(r"^(?:Failed to parse inventory|YAML parsing failed): ", "", reason).rstrip(".")
    if place.startswith(source):
        return f"inventory {place} cannot be read: {reason}"
    # The inventory is innocent: every plugin also reads the variables files.
    return f"{place} cannot be read: {reason}"


def _errors(text: str) -> list[str]:
    """The blocks that begin with an error's prefix."""
    clean = _ANSI.sub("", text).replace("\r", "")
    starts = [match.start() for match in re.finditer(r"^(?:\[ERROR\]|ERROR!)", clean, re.MULTILINE)]
    return [clean[start:end].split("\n[WARNING]")[0] for start, end in itertools.pairwise([*starts, len(clean)])]


def _hint_for(message: str) -> str | None:
    lowered = message.lower()
    if "vault" in lowered:
        return "name the vault password by ANSIBLE_VAULT_PASSWORD_FILE or vault_password_file in ansible.cfg"
    if "no hosts to target" in lowered or "could not match" in lowered or "does not match any hosts" in lowered:
        return "look at --limit and at the groups of the inventory"
    if lowered.startswith("inventory "):
        return "mend it; ansible-inventory -i INVENTORY --graph shows how it is read"
    return None
