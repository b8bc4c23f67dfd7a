"""Going on when the store is lost or its disk is full, and coming back afterwards. About 8 s."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._process_identity import ProcessIdentity
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import (
    LeaseHeld,
    Store,
    StoreUnavailable,
    is_disk_failure,
    open_store,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_access import open_store_of_run
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_intake import take_in_spools
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_resilient import (
    ResilientStore,
    open_store_or_spool,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_spool import spool_dir, spool_paths
from codeblue.main import main as command_line
from codeblue.verify import verify_export
from store_support import dead_process, isolate, opening, postgresql_server

ME = ProcessIdentity.current()


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    isolate(monkeypatch, tmp_path)
    # The key lies apart from the store, as it does when the store is a server.
    monkeypatch.setenv("CODEBLUE_LEDGER_KEY", str(tmp_path / "keys" / "ledger.key"))
    monkeypatch.setenv("CODEBLUE_ANCHORS", f"file:{tmp_path / 'anchor.jsonl'}")
    return tmp_path


@contextmanager
def lost_store(place: Path) -> Iterator[None]:
    """The directory of the store is away, and a file stands in its place."""
    directory, away = place / "state" / "codeblue", place / "away"
    directory.rename(away)
    directory.write_text("not a directory")
    try:
        yield
    finally:
        directory.unlink()
        away.rename(directory)


def _verdict(store: Store, run_id: str, place: Path) -> tuple[int, str]:
    from codeblue.verify import read_heads

    heads = read_heads((place / "anchor.jsonl").read_text())
    verdict = verify_export(store.export(run_id), [store.ledger.key.public_pem.encode()], heads)
    return verdict.exit_code, verdict.message


def _step(store: ResilientStore, run_id: str, action: str, generation: int) -> None:
    step = store.begin_step(run_id, "a", "s", action, {"version": action}, ME, generation)
    store.finish_step(step, "ok", {"version": action}, changed=True)


def test_sev1_opens_without_a_store_and_is_taken_in_later(place: Path) -> None:
    open_store().close()
    with lost_store(place):
        store = open_store_or_spool("SEV1")
        run, leases = store.open_run(opening("a"))
        _step(store, run.run_id, "x", leases["a"].generation)
        assert any("goes on in a spool" in warning for warning in store.warnings)
        # The next action is another process: it finds the run by the lease of its parent.
        found = open_store_of_run(ME)
        assert [lease.run_id for lease in found.leases_held_by(ME)] == [run.run_id]
        _step(found, run.run_id, "y", leases["a"].generation)
        assert found.close_target(run.run_id, "a", "recovered", {"checks": 2}).exit_code == 0
    store_again = open_store()
    assert store_again.run(run.run_id) is None
    assert [each.taken for each in take_in_spools(store_again)] == [True]
    assert take_in_spools(store_again) == []
    taken = store_again.run(run.run_id)
    assert taken is not None
    assert (taken.status, taken.outcome) == ("closed", "recovered")
    assert [step.action for step in store_again.steps(run.run_id)] == ["x", "y"]
    assert store_again.lease_of("a") is None
    assert spool_paths() == []
    assert _verdict(store_again, run.run_id, place)[0] == 0


@pytest.mark.parametrize("severity", ["SEV2", "SEV3"])
def test_other_severities_wait_for_the_store(place: Path, severity: str) -> None:
    open_store().close()
    with lost_store(place):
        with pytest.raises(StoreUnavailable) as failed:
            open_store_or_spool(severity)
        assert failed.value.exit_code == 3
        with pytest.raises(StoreUnavailable):
            open_store_or_spool().open_run(opening("a", severity=severity))
    assert spool_paths() == []


def test_a_store_lost_in_the_middle_of_a_sev1_run(place: Path) -> None:
    store = open_store_or_spool("SEV1")
    run, leases = store.open_run(opening("a", "b"))
    generation = leases["a"].generation
    _step(store, run.run_id, "x", generation)
    begun = store.begin_step(run.run_id, "a", "s", "y", {"version": "2"}, ME, generation)
    store.close()
    with lost_store(place):
        # The worker that began a step goes on; a later one starts with nothing but the seed.
        assert store.finish_step(begun, "ok", {"version": "2"}, changed=True).state == "done"
        later = open_store_of_run(ME)
        _step(later, run.run_id, "z", generation)
        # What the lost store knew is not known here: the machine's receipts settle it.
        assert later.begin_step(run.run_id, "a", "s", "x", {"version": "x"}, ME, generation).state == "new"
        later.close_target(run.run_id, "a", "recovered", {})
        assert later.close_target(run.run_id, "b", "degraded", {}).exit_code == 4
    main = open_store()
    assert main.run(run.run_id).status == "open"  # type: ignore[union-attr]
    assert [each.taken for each in take_in_spools(main)] == [True]
    taken = main.run(run.run_id)
    assert taken is not None
    assert (taken.status, taken.outcome, taken.open_targets) == ("closed", "degraded", ())
    assert {step.action for step in main.steps(run.run_id)} == {"x", "y", "z"}
    assert main.leases_of_run(run.run_id) == []
    assert main.change(run.change_id).status == "completed"  # type: ignore[union-attr]
    assert main.incident(run.incident_id).status == "resolved"  # type: ignore[union-attr]
    records = main.ledger_records(run.run_id)
    opened = next(record for record in records if record["kind"] == "segment_opened")
    assert records[-1]["segment"] != 0
    assert opened["fields"]["continues_segment"] == 0  # type: ignore[index]
    assert _verdict(main, run.run_id, place) == (0, f"{len(records)} records, whole and complete")


def test_a_store_lost_in_the_middle_of_a_sev2_run_stops_it(place: Path) -> None:
    store = open_store_or_spool("SEV2")
    run, leases = store.open_run(opening("a", severity="SEV2"))
    store.close()
    with lost_store(place), pytest.raises(StoreUnavailable):
        _step(store, run.run_id, "x", leases["a"].generation)
    assert spool_paths() == []


def test_a_spool_of_a_run_that_is_under_way_stays(place: Path) -> None:
    open_store().close()
    with lost_store(place):
        store = open_store_or_spool("SEV1")
        run, leases = store.open_run(opening("a"))
    main = open_store()
    assert [(each.taken, each.reason) for each in take_in_spools(main)] == [(False, "its run is still under way")]
    # It stays in its spool although the store is back, and everybody sees it there.
    again = open_store_or_spool()
    with pytest.raises(LeaseHeld, match=run.run_id):
        again.open_run(opening("a"))
    _step(again, run.run_id, "x", leases["a"].generation)
    assert main.run(run.run_id) is None
    assert again.lease_of("a") == again.leases_of_run(run.run_id)[0]
    assert [known.run_id for known in again.runs()] == [run.run_id]


def test_a_dead_run_in_a_spool_is_taken_in_and_resumed(place: Path) -> None:
    open_store().close()
    gone = dead_process()
    with lost_store(place):
        store = open_store_or_spool("SEV1")
        run, leases = store.open_run(opening("a", holder=gone))
        store.begin_step(run.run_id, "a", "s", "x", {"version": "1"}, gone, leases["a"].generation)
    main = open_store()
    take_in_spools(main)
    resumed = ResilientStore(main)
    resumed.reopen_run(run.run_id, ME)
    lease = resumed.acquire_leases(run.run_id, ["a"], ME)["a"]
    assert lease.generation > leases["a"].generation
    step = resumed.begin_step(run.run_id, "a", "s", "x", {"version": "2"}, ME, lease.generation)
    assert (step.state, step.decision) == ("in_doubt", {"version": "1"})
    resumed.finish_step(step, "ok", {}, changed=False)
    resumed.close_target(run.run_id, "a", "recovered", {})
    assert _verdict(main, run.run_id, place)[0] == 0


def test_taking_in_twice_after_a_crash_changes_nothing(place: Path) -> None:
    store = open_store_or_spool("SEV1")
    run, leases = store.open_run(opening("a"))
    store.close()
    with lost_store(place):
        _step(store, run.run_id, "x", leases["a"].generation)
        store.mark_bad("a", "release", "2.0.0", run.run_id, "crashes")
        store.close_target(run.run_id, "a", "recovered", {})
        store._spools.all()[0].close()
    path = spool_paths()[0]
    copied = path.read_bytes()
    main = open_store()
    take_in_spools(main)
    before = main.export(run.run_id)[1:]
    # As if it had died between the commit and the removal.
    path.write_bytes(copied)
    assert [each.taken for each in take_in_spools(main)] == [True]
    assert main.export(run.run_id)[1:] == before
    assert len(main.bad_versions("a")) == 1


def test_two_runs_in_spools_exclude_each_other(place: Path) -> None:
    open_store().close()
    with lost_store(place):
        first = open_store_or_spool("SEV1")
        run, _ = first.open_run(opening("a"))
        with pytest.raises(LeaseHeld, match=run.run_id):
            open_store_or_spool("SEV1").open_run(opening("a"))
        assert len(spool_paths()) == 1


def test_a_run_in_the_lost_store_is_not_run_over_from_a_spool(place: Path) -> None:
    store = open_store_or_spool("SEV1")
    run, _ = store.open_run(opening("a"))
    store.close()
    with lost_store(place), pytest.raises(LeaseHeld, match=run.run_id):
        open_store_or_spool("SEV1").open_run(opening("a"))


def test_workers_that_lose_the_store_at_once_share_one_spool(place: Path) -> None:
    store = open_store_or_spool("SEV1")
    run, leases = store.open_run(opening("a"))
    store.close()
    worker = (
        "import sys\n"
        "from ansible_collections.codeblue.recovery.plugins.plugin_utils._process_identity import ProcessIdentity\n"
        "from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_access import open_store_of_run\n"
        "me = ProcessIdentity.current()\n"
        "store = open_store_of_run(ProcessIdentity.parent())\n"
        "step = store.begin_step(sys.argv[1], 'a', 's', sys.argv[3], {}, me, int(sys.argv[2]))\n"
        "store.finish_step(step, 'ok', {}, changed=True)\n"
    )
    with lost_store(place):
        workers = [
            subprocess.Popen([sys.executable, "-c", worker, run.run_id, str(leases["a"].generation), str(number)])
            for number in range(4)
        ]
        assert [process.wait(timeout=60) for process in workers] == [0, 0, 0, 0]
        assert len(spool_paths()) == 1
        store.close_target(run.run_id, "a", "recovered", {})
    assert command_line(["audit", "take-in"]) == 0
    main = open_store()
    assert {step.action for step in main.steps(run.run_id)} == {"0", "1", "2", "3"}
    assert _verdict(main, run.run_id, place)[0] == 0


def test_a_branch_that_vanished_is_found_by_the_verifier(place: Path) -> None:
    import json

    store = open_store_or_spool("SEV1")
    run, _ = store.open_run(opening("a"))
    store.close()
    with lost_store(place):
        store.close_target(run.run_id, "a", "failed_unsafe", {})
    main = open_store()
    take_in_spools(main)
    lines = [json.loads(line) for line in main.export(run.run_id)]
    trunk = [json.dumps(line) for line in lines if (line.get("record") or line).get("segment", 0) == 0]
    verdict = verify_export(trunk, [main.ledger.key.public_pem.encode()], [])
    assert verdict.exit_code == 1
    assert "are missing" in verdict.message


def test_a_server_that_goes_away_in_the_middle(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with postgresql_server() as url:
        admin = sa.create_engine(url, isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(sa.text("CREATE DATABASE clinic"))
            monkeypatch.setenv("CODEBLUE_STATE_URL", url.replace("/postgres", "/clinic"))
            store = open_store_or_spool("SEV1")
            run, leases = store.open_run(opening("a"))
            generation = leases["a"].generation
            _step(store, run.run_id, "x", generation)
            begun = store.begin_step(run.run_id, "a", "s", "y", {}, ME, generation)
            connection.execute(sa.text("ALTER DATABASE clinic ALLOW_CONNECTIONS false"))
            connection.execute(
                sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'clinic'")
            )
            store.finish_step(begun, "ok", {}, changed=True)
            later = open_store_of_run(ME)
            _step(later, run.run_id, "z", generation)
            later.close_target(run.run_id, "a", "recovered", {})
            with pytest.raises(StoreUnavailable):
                open_store_or_spool("SEV2")
            connection.execute(sa.text("ALTER DATABASE clinic ALLOW_CONNECTIONS true"))
        admin.dispose()
        main = open_store()
        assert [each.taken for each in take_in_spools(main)] == [True]
        assert [(step.action, step.state) for step in main.steps(run.run_id)] == [(name, "done") for name in "xyz"]
        assert main.run(run.run_id).outcome == "recovered"  # type: ignore[union-attr]
        assert main.leases_of_run(run.run_id) == []
        assert _verdict(main, run.run_id, place)[0] == 0
        main.close()
        store.close()


# -- a place that others could tamper with -----------------------------------------------------------------------


def test_a_spool_directory_that_is_a_link_or_open_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "real").mkdir(mode=0o700)
    (place / "link").symlink_to(place / "real")
    monkeypatch.setenv("CODEBLUE_SPOOL_DIR", str(place / "link"))
    with pytest.raises(StoreUnavailable, match="link"):
        spool_dir()
    (place / "real").chmod(0o755)
    monkeypatch.setenv("CODEBLUE_SPOOL_DIR", str(place / "real"))
    with pytest.raises(StoreUnavailable, match="open to others"):
        spool_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_foreign_spool_directory_stops_spools_but_no_run(place: Path) -> None:
    foreign = place / "spool"
    foreign.mkdir(mode=0o700)
    os.chown(foreign, 65534, 65534)
    store = open_store_or_spool("SEV1")
    run, leases = store.open_run(opening("a"))
    _step(store, run.run_id, "x", leases["a"].generation)
    assert any("belongs to somebody else" in warning for warning in store.warnings)
    store.close()
    with lost_store(place), pytest.raises(StoreUnavailable):
        _step(store, run.run_id, "y", leases["a"].generation)


# -- a full disk -------------------------------------------------------------------------------------------------


@contextmanager
def small_disk(path: Path, size: str = "1m") -> Iterator[None]:
    path.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "codeblue-test", str(path)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("a small file system can only be mounted by root")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=False)


def _fill(path: Path) -> None:
    with (path / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return


@pytest.mark.parametrize("severity", ["SEV1", "SEV2"])
def test_a_disk_that_fills_up_in_the_middle(place: Path, severity: str) -> None:
    with small_disk(place / "state"):
        store = open_store_or_spool(severity)
        run, leases = store.open_run(opening("a", severity=severity))
        generation = leases["a"].generation
        _step(store, run.run_id, "before", generation)
        _fill(place / "state")
        for number in range(40):
            _step(store, run.run_id, f"during-{number}", generation)
        assert len(spool_paths()) == 1
        # What the store knew is known in the spool.
        assert store.begin_step(run.run_id, "a", "s", "before", {}, ME, generation).state == "done"
        another = open_store_of_run(ME)
        assert [lease.run_id for lease in another.leases_held_by(ME)] == [run.run_id]
        closed = another.close_target(run.run_id, "a", "recovered", {})
        assert closed.status == "closed"
        (place / "state" / "filler").unlink()
        main = open_store()
        assert [each.taken for each in take_in_spools(main)] == [True]
        assert len(main.steps(run.run_id)) == 41
        assert _verdict(main, run.run_id, place)[0] == 0
        main.close()


def test_a_disk_that_is_full_from_the_start(place: Path) -> None:
    with small_disk(place / "state"):
        open_store().close()
        _fill(place / "state")
        store = open_store_or_spool("SEV2")
        run, leases = store.open_run(opening("a", severity="SEV2"))
        _step(store, run.run_id, "x", leases["a"].generation)
        assert len(spool_paths()) == 1
        with pytest.raises(StoreUnavailable) as failed:
            open_store().create_run(opening("b"))
        assert is_disk_failure(failed.value)


def test_refused_only_when_nothing_can_be_written(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with small_disk(place / "state"), small_disk(place / "second", "64k"):
        monkeypatch.setenv("CODEBLUE_SPOOL_DIR", str(place / "second" / "spool"))
        store = open_store_or_spool("SEV1")
        store.open_run(opening("b"))
        _fill(place / "state")
        _fill(place / "second")
        with pytest.raises(StoreUnavailable) as failed:
            for _ in range(40):
                store.open_run(opening("a"))
                store.close_run(store.leases_held_by(ME)[0].run_id, "failed_safe", {})
        assert is_disk_failure(failed.value)
        assert failed.value.exit_code == Refused.exit_code


_UNTIL_THE_LIMIT = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from store_support import opening
from ansible_collections.codeblue.recovery.plugins.plugin_utils._process_identity import ProcessIdentity
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_resilient import open_store_or_spool
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_spool import spool_paths
me = ProcessIdentity.current()
store = open_store_or_spool("SEV2")
run, leases = store.open_run(opening("a", severity="SEV2"))
resource.setrlimit(resource.RLIMIT_FSIZE, (512 * 1024, 512 * 1024))
for number in range(300):
    step = store.begin_step(run.run_id, "a", "s", str(number), {"note": "x" * 500}, me, leases["a"].generation)
    store.finish_step(step, "ok", {}, changed=True)
    if spool_paths():
        break
else:
    sys.exit("the limit was never met")
for action in ("after-1", "after-2"):
    store.begin_step(run.run_id, "a", "s", action, {}, me, leases["a"].generation)
store.close_target(run.run_id, "a", "recovered", {})
print(run.run_id, number + 3)
"""


def test_a_file_that_may_not_grow(place: Path) -> None:
    """The same without root: the kernel refuses writes beyond a size."""
    done = subprocess.run(
        [sys.executable, "-c", _UNTIL_THE_LIMIT, str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    run_id, steps = done.stdout.split()
    main = open_store()
    assert [each.taken for each in take_in_spools(main)] == [True]
    assert len(main.steps(run_id)) == int(steps)
    assert _verdict(main, run_id, place)[0] == 0
