"""What may stand in the record. Below 1 s."""

from __future__ import annotations

import json
import typing as t

import pytest
import rfc8785
from ansible_collections.codeblue.recovery.plugins.plugin_utils._changes_risk import assess_risk, change_type
from ansible_collections.codeblue.recovery.plugins.plugin_utils._ledger import canonical, digest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._ledger_fields import (
    KINDS,
    MAX_ITEMS,
    MAX_TEXT,
    REMOVED,
    LedgerRefused,
    bounded,
    ledger_fields,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._operator import Operator
from ansible_collections.codeblue.recovery.plugins.plugin_utils._process_identity import ProcessIdentity
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import RunOpening, worst_outcome

# Put together here, so that no scanner of sources takes them for real ones.
_CREDENTIALS = {
    "name": {"password": "hunter2"},
    "nested name": {"after": [{"db_password": "hunter2"}]},
    "token": {"api-token": "abc"},
    "url": {"text": "postgresql://app:hunter2@db1/clinic"},
    "pem": {"text": "-----BEGIN " + "PRIVATE KEY-----"},
    "rsa pem": {"text": "-----BEGIN RSA " + "PRIVATE KEY-----"},
    "jwt": {"text": "eyJhbGciOiJI" + ".eyJzdWIiOiIx" + ".sig"},
    "aws": {"text": "AKIA" + "ABCDEFGHIJKLMNOP"},
    "github": {"text": "ghp_" + "a" * 36},
    "age": {"text": "AGE-SECRET-KEY-1" + "Q" * 30},
    "bearer": {"text": "Authorization: Bearer " + "a" * 20},
    "key of a dict": {"postgresql://app:hunter2@db1": 1},
}
_HARMLESS: dict[str, t.Any] = {
    "reference": {"password": "file:/etc/codeblue/admin.pgpass"},
    "variable": {"password_from": "env:PGPASSWORD"},
    "redacted": {"password": "(hidden)", "text": "password=(hidden)"},
    "nothing": {"password": None, "token": "", "secret": 3},
    "words": {"text": "the password of records_app was rotated; secrets: see docs"},
    "url": {"text": "http://127.0.0.1:18080/health?a=b@c"},
    "redacted url": {"text": "postgresql://app:(hidden)@db1/clinic"},
    "digest": {"sha256": "a" * 64},
}


@pytest.mark.parametrize("value", _CREDENTIALS.values(), ids=_CREDENTIALS.keys())
def test_credentials_are_refused_or_replaced(value: dict[str, t.Any]) -> None:
    with pytest.raises(LedgerRefused) as refused:
        bounded(value, "decision")
    assert "hunter2" not in str(refused.value)
    kept = json.dumps(bounded(value, "decision", replace_secrets=True))
    assert "hunter2" not in kept
    assert REMOVED in kept


@pytest.mark.parametrize("value", _HARMLESS.values(), ids=_HARMLESS.keys())
def test_what_is_harmless_passes(value: dict[str, t.Any]) -> None:
    assert bounded(value, "decision") == value


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("PGPASSWORD=hunter2 psql -c x", f"PGPASSWORD={REMOVED} psql -c x"),
        ('{"client_secret": "hunter2", "id": 1}', f'{{"client_secret": {REMOVED}, "id": 1}}'),
        ("FATAL: wrong password: hunter2; try again", f"FATAL: wrong password: {REMOVED}; try again"),
        ("password authentication failed for user app", "password authentication failed for user app"),
    ],
)
def test_a_log_line_stays_without_its_credential(text: str, kept: str) -> None:
    """Nothing stops a recovery because a log that it quotes is careless."""
    assert ledger_fields("diagnosis", {"evidence": [text]}) == {"evidence": [kept]}


def test_unknown_kinds_and_fields_are_errors() -> None:
    with pytest.raises(LedgerRefused, match="no records of kind 'gossip'"):
        ledger_fields("gossip", {})
    for kind in KINDS:
        with pytest.raises(LedgerRefused, match="unknown field 'patient_name'"):
            ledger_fields(kind, {"patient_name": "x"})


def test_everything_is_bounded() -> None:
    deep: dict[str, t.Any] = {}
    at = deep
    for _ in range(50):
        at["deeper"] = {}
        at = at["deeper"]
    kept = ledger_fields("note", {"target": "x" * 1_000_000, "text": {"many": list(range(100_000)), "deep": deep}})
    assert len(canonical(kept)) < 10_000
    assert kept["target"].startswith("x" * MAX_TEXT)
    assert kept["target"].endswith("(cut: 1000000 characters)")
    assert len(kept["text"]["many"]) == MAX_ITEMS + 1


@pytest.mark.parametrize(
    "value", [2**60, -(2**60), float("nan"), float("inf"), 1e300, 0.1, "\ud800", b"\xff", {1: 2}, (1, 2), {"a"}, True]
)
def test_whatever_comes_can_be_written_exactly(value: t.Any) -> None:
    kept = ledger_fields("note", {"text": value})
    assert rfc8785.dumps(json.loads(canonical(kept))) == canonical(kept)
    assert len(digest(kept)) == 64


def _opening(**values: t.Any) -> RunOpening:
    given: dict[str, t.Any] = {
        "run_id": "R",
        "runbook": "complete_system_outage",
        "severity": "SEV3",
        "environment": "lab",
        "targets": ("a",),
        "operator": Operator("alice", "os", True),
        "because": None,
        "accepts": (),
        "fingerprint": {},
        "origin": "cli",
        "collection_version": "0.1.0",
        "objectives": {},
        "holder": ProcessIdentity.current(),
        "rollback": "roll back",
    }
    return RunOpening(**{**given, **values})


def test_risk_says_why() -> None:
    least = assess_risk(_opening())
    assert (least.score, least.level) == (1, "low")
    most = assess_risk(
        _opening(
            severity="SEV1",
            environment="production",
            targets=tuple("abcdefg"),
            accepts=("data_loss", "clinical_impact"),
            because="I know better",
            rollback="",
        )
    )
    assert (most.score, most.level) == (10, "critical")
    assert any("production" in reason for reason in most.reasons)
    assert any("data_loss" in reason for reason in most.reasons)
    assert assess_risk(_opening(environment="production")).level == "medium"


def test_types_of_change() -> None:
    assert change_type("SEV1", "production") == change_type("SEV2", "lab") == "emergency"
    assert change_type("SEV3", "lab") == "standard"
    assert change_type("SEV3", "production") == "normal"


def test_the_worst_outcome() -> None:
    assert worst_outcome(["recovered", "failed_unsafe", "degraded"]) == "failed_unsafe"
