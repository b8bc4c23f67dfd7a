# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What may stand in the record: named fields per kind, bounded, and nothing that looks like a credential."""

from __future__ import annotations

import math
import re
import typing as t
from collections.abc import Mapping

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._plain import plain

# Longer texts are cut and say so; a record is evidence, not a log.
MAX_TEXT = 2000
MAX_ITEMS = 200
MAX_DEPTH = 5
# What RFC 8785 can write exactly.
_MAX_INTEGER = 2**53 - 1

# Kind -> its fields. What is not here is an error: the list is how secrets and patient data stay out.
KINDS: dict[str, frozenset[str]] = {
    kind: frozenset(fields.split())
    for kind, fields in {
        "run_opened": "runbook severity environment targets operator because accepts origin collection_version "
        "fingerprint objectives incident_id change_id holder",
        "run_reopened": "operator holder",
        "run_closed": "outcome exit_code detail by",
        "target_closed": "target outcome detail",
        "segment_opened": "reason place continues_segment continues_seq continues_hash operator",
        "segment_taken_in": "taken_segment last_seq last_hash",
        "lease_acquired": "target generation holder taken_from",
        "lease_released": "target generation",
        "step_intent": "key target stage action decision decision_sha256 generation attempt worker",
        "step_result": "key target stage action outcome changed result result_sha256 seconds attempt",
        "detection": "target targets fired criteria checks consecutive interval_seconds seconds summary",
        "diagnosis": "target targets cause causes confidence conclusive evidence candidates seconds summary order",
        "evidence": "target name sha256 size_bytes recipients location seconds summary machine by verified pieces "
        "custody_seq custody_sha256",
        "evidence_access": "target name machine controller by verified pieces custody_seq custody_sha256 purpose "
        "summary",
        "validation": "target level passed status checks failed thresholds seconds summary",
        "acceptance": "target kind statement loss clinical_impact via accepted_by",
        "measurement": "target name value unit at summary",
        "note": "target text",
        "change_opened": "change_id type risk_score risk_level risk_reasons requester justification",
        "change_approved": "change_id approver source verified kind comment",
        "change_closed": "change_id status outcome",
        "change_reviewed": "change_id reviewer verified comment",
        "incident_moved": "incident_id status by comment",
        "breach_opened": "breach_id target cause entity discovered_at exposure_began_at affected duties retain_until",
        "breach_updated": "breach_id what by verified comment affected residents discovered_at exposure_ended_at "
        "delayed_until duties",
        "breach_notice_sent": "breach_id duty by verified sent_at reference",
        "version_marked_bad": "target kind version reason",
        "bad_version_cleared": "target kind version by because",
        "snapshot_added": "snapshot_id target level kind location manifest_sha256 size_bytes",
        "snapshot_state": "snapshot_id state summary",
    }.items()
}

REMOVED = "(removed: looks like a credential)"
# What redaction leaves behind, and what only points to a secret.
_HARMLESS = re.compile(
    r"\A\s*(\(hidden\)|\(removed[^)]*\)|\*+|file:\S*|env:\w*|VALUE_SPECIFIED_IN_NO_LOG_PARAMETER)?\s*\Z"
)
_SECRET_NAME = re.compile(
    r"(?i)(\A|[_-])(password|passwd|passphrase|secret|token|api_?key|private_?key|signing_?key|credential|cookie|"
    r"authorization|pgpassword)(\Z|[_-](value|text)\Z)"
)
_SECRET_TEXT = re.compile(
    r"""(?x)
      -----BEGIN\ (?:[A-Z ]+\ )?PRIVATE\ KEY-----
    | AGE-SECRET-KEY-1[0-9A-Z]{20}
    | \beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.                              # JSON web token
    | \b(?:AKIA|ASIA)[0-9A-Z]{16}\b                               # AWS access key
    | \b(?:gh[pousr]_[A-Za-z0-9]{30,}|glpat-[\w-]{20,}|xox[abprs]-[\w-]{10,})
    | \b[a-z][a-z0-9+.-]*://[^\s/:@]*:(?!\(hidden\)@)[^\s/@]+@    # credentials in a URL
    | (?i:\bBearer\s+[\w.~+/-]{16,})
    """
)
# In prose, `password: …` may be a log line as well as a credential: the value goes, the line stays.
_SECRET_IN_PROSE = re.compile(
    r"""(?ix)
    (\b\w*(?:password|passwd|passphrase|secret|api_?key)["']?\s*[=:]\s*)
    (?!["']?(?:\(hidden|\(removed|file:|env:))
    ("[^"]+"|'[^']+'|[^\s,;}"']+)
    """
)


class LedgerRefused(CodeblueError):
    """A field is not on the list of its kind, or looks like a credential. Nothing was recorded."""


def ledger_fields(kind: str, fields: Mapping[str, t.Any], *, replace_secrets: bool = False) -> dict[str, t.Any]:
    """The fields as they are recorded.

    :param replace_secrets: put a mark where something looks like a credential instead of refusing. For what
        has already happened: a change must be recorded even when its result is careless.
    :raises LedgerRefused: unknown kind or field, or something that looks like a credential.
    """
    allowed = KINDS.get(kind)
    if allowed is None:
        raise LedgerRefused(f"the ledger knows no records of kind {kind!r}")
    unknown = sorted(set(fields) - allowed)
    if unknown:
        raise LedgerRefused(
            f"ledger record {kind}: unknown field {unknown[0]!r}", f"known: {', '.join(sorted(allowed))}"
        )
    return {name: bounded(fields[name], f"{kind}.{name}", replace_secrets) for name in sorted(fields)}


def bounded(value: t.Any, name: str, replace_secrets: bool = False) -> t.Any:
    """A plain, bounded copy without anything that looks like a credential.

    :param name: is named in the error; its last part tells whether the value is secret by name.
    :raises LedgerRefused: it looks like a credential and `replace_secrets` is off.
    """
    return _bounded(plain(value), name, replace_secrets, MAX_DEPTH)


def _bounded(value: t.Any, name: str, replace: bool, depth: int) -> t.Any:
    if isinstance(value, str):
        return _text(value, name, replace)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) <= _MAX_INTEGER else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if depth == 0:
        return "(cut: nested too deeply)"
    if isinstance(value, dict):
        cut = {
            _text(str(key), name, replace): _bounded(item, f"{name}.{key}", replace, depth - 1)
            for key, item in list(value.items())[:MAX_ITEMS]
        }
        if len(value) > MAX_ITEMS:
            cut["(cut)"] = f"{len(value) - MAX_ITEMS} more"
        return cut
    items = [_bounded(item, f"{name}[]", replace, depth - 1) for item in value[:MAX_ITEMS]]
    return [*items, f"(cut: {len(value) - MAX_ITEMS} more)"] if len(value) > MAX_ITEMS else items


def _text(value: str, name: str, replace: bool) -> str:
    value = value.encode("utf-8", "replace").decode("utf-8")
    by_name = _SECRET_NAME.search(name.rpartition(".")[2].removesuffix("[]")) and not _HARMLESS.match(value)
    if by_name or _SECRET_TEXT.search(value):
        if not replace:
            raise LedgerRefused(
                f"{name} looks like a credential and was not recorded", "give a reference or a digest instead"
            )
        return REMOVED
    value = _SECRET_IN_PROSE.sub(rf"\1{REMOVED}", value)
    return value if len(value) <= MAX_TEXT else f"{value[:MAX_TEXT]}… (cut: {len(value)} characters)"
