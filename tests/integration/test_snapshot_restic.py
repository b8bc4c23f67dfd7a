"""Snapshots through a real restic, where it is installed. Takes about 10 s."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._restic import Restic, find_restic

PROGRAM = find_restic()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="restic is not installed")


@pytest.fixture
def restic(tmp_path: Path) -> Restic:
    assert PROGRAM is not None
    password = tmp_path / "password"
    password.write_text("canary-of-a-test\n")
    password.chmod(0o600)
    made = Restic(PROGRAM, str(tmp_path / "repository"), password, {"RESTIC_CACHE_DIR": str(tmp_path / "cache")})
    made.check_version()
    made.init()
    return made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    (path / "conf.d").mkdir(parents=True)
    (path / "conf.d" / "a").write_text("one")
    (path / "large").write_bytes(os.urandom(3_000_000))
    return path


def test_backup_verify_restore_and_forget(restic: Restic, source: Path, tmp_path: Path) -> None:
    first = restic.backup([source], "records", "on_demand", "configuration", "01ARZ3NDEKTSV4RRFFQ69G5FAV")
    assert first.files == 2 and first.size_bytes == 3_000_003 and first.stored_bytes > 3_000_000
    (source / "conf.d" / "a").write_text("two")
    second = restic.backup([source], "records", "scheduled", "configuration", "01ARZ3NDEKTSV4RRFFQ69G5FAW")
    assert second.stored_bytes < 100_000
    assert [snapshot.snapshot_id for snapshot in restic.snapshots()] == [first.snapshot_id, second.snapshot_id]
    assert len(restic.snapshots("codeblue=01ARZ3NDEKTSV4RRFFQ69G5FAW")) == 1
    restic.verify()
    restic.restore(first.snapshot_id, tmp_path / "restored", [str(source / "conf.d")])
    restored = tmp_path / "restored" / source.relative_to("/")
    assert (restored / "conf.d" / "a").read_text() == "one" and not (restored / "large").exists()
    with pytest.raises(BadInput, match="is in use"):
        restic.restore(first.snapshot_id, tmp_path / "restored")
    restic.forget([first.snapshot_id])
    assert [snapshot.snapshot_id for snapshot in restic.snapshots()] == [second.snapshot_id]
    restic.verify()


def test_a_flipped_byte_is_found(restic: Restic, source: Path, tmp_path: Path) -> None:
    restic.backup([source], "records", "on_demand", "data", "01ARZ3NDEKTSV4RRFFQ69G5FAV")
    pack = max((tmp_path / "repository" / "data").rglob("*"), key=lambda path: path.stat().st_size * path.is_file())
    content = bytearray(pack.read_bytes())
    content[1000] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)
    with pytest.raises(CodeblueError, match="repository is damaged") as caught:
        restic.verify()
    assert "\n" not in str(caught.value)


def test_wrong_password_and_missing_source_are_one_line(restic: Restic, source: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("other\n")
    other = Restic(restic.program, restic.repository, wrong, restic.environment)
    with pytest.raises(CodeblueError, match="wrong password") as caught:
        other.snapshots()
    assert "canary" not in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(CodeblueError):
        restic.backup([tmp_path / "missing"], "records", "on_demand", "data", "01ARZ3NDEKTSV4RRFFQ69G5FAV")
    assert restic.snapshots() == []
