"""`codeblue bad-version` against a real store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import open_store
from codeblue.main import main


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("CODEBLUE_SPOOL_DIR", str(tmp_path / "spool"))
    monkeypatch.setenv("CODEBLUE_ALLOW_LOCAL_STATE", "1")
    monkeypatch.delenv("CODEBLUE_STATE_URL", raising=False)


def test_a_person_clears_a_mark_with_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    import sqlalchemy as sa
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import utc_now
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._tables import bad_versions

    with open_store().database.write() as transaction:
        transaction.connection.execute(
            sa.insert(bad_versions).values(
                target="records", kind="release", version="1.2.0", reason="it failed", marked_at=utc_now()
            )
        )
    assert main(["bad-version", "list", "--json"]) == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each.get("target"), each.get("version")) for each in shown[:-1]] == [("records", "1.2.0")]
    assert main(["bad-version", "clear", "records", "1.2.1", "--because", "mended"]) == 2
    assert "release 1.2.1 is not marked bad" in capsys.readouterr().err
    assert main(["bad-version", "clear", "records", "1.2.0", "--because", "mended"]) == 0
    capsys.readouterr()
    assert main(["bad-version", "list"]) == 0
    assert "No version is marked bad." in capsys.readouterr().out


def test_a_mark_is_not_cleared_without_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bad-version", "clear", "records", "1.2.0"]) == 2
    assert "--because" in capsys.readouterr().err
