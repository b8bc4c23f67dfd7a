"""Many processes at one store, on SQLite and on PostgreSQL: never two holders, one close. About 12 s."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import open_store
from codeblue.verify import verify_export
from store_support import isolate, opening, postgresql_server

_PROCESSES = 6
_ROUNDS = 8

# Each holder proves by an exclusively made file that it is alone; generations are noted in the order in which
# they were held.
_CONTENDER = """
import os, random, sys, time
sys.path.insert(0, sys.argv[3])
from store_support import opening
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import LeaseHeld, open_store
directory, rounds = sys.argv[1], int(sys.argv[2])
store, held, refused = open_store(), 0, 0
deadline = time.monotonic() + 40
while held < rounds:
    assert time.monotonic() < deadline, "starved"
    asked = opening("left", "right")
    try:
        run, leases = store.open_run(asked)
    except LeaseHeld:
        refused += 1
        time.sleep(random.uniform(0.001, 0.01))
        continue
    mark = os.open(directory + "/holder", os.O_CREAT | os.O_EXCL)
    with open(directory + "/generations", "a") as file:
        file.write(f"{leases['left'].generation}\\n")
    time.sleep(random.uniform(0, 0.004))
    store.check_lease("left", run.run_id, leases["left"].generation)
    os.close(mark)
    os.unlink(directory + "/holder")
    store.close_run(run.run_id, "failed_safe", {})
    held += 1
print(held, refused)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgresql_server() as url:
        yield url


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_never_two_holders(
    backend: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    isolate(monkeypatch, tmp_path)
    if backend == "postgresql":
        monkeypatch.setenv("CODEBLUE_STATE_URL", request.getfixturevalue("server"))
    # No store yet: making it is contended as well.
    arguments = [sys.executable, "-c", _CONTENDER, str(tmp_path), str(_ROUNDS), str(Path(__file__).parent)]
    contenders = [
        subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(_PROCESSES)
    ]
    refused = 0
    for contender in contenders:
        said, problem = contender.communicate(timeout=60)
        assert contender.returncode == 0, problem
        refused += int(said.split()[1])
    generations = [int(line) for line in (tmp_path / "generations").read_text().split()]
    assert len(generations) == _PROCESSES * _ROUNDS
    assert generations == sorted(set(generations))
    assert refused, "nobody ever had to wait: the test proves nothing"
    store = open_store()
    assert store.lease_of("left") is store.lease_of("right") is None
    assert {run.status for run in store.runs(limit=1000)} == {"closed"}


_WORKER = """
import sys, time
from ansible_collections.codeblue.recovery.plugins.plugin_utils._process_identity import ProcessIdentity
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import open_store
run_id, target, generation, start = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
store, me = open_store(), ProcessIdentity.current()
time.sleep(max(0, start - time.time()))
for number in range(5):
    step = store.begin_step(run_id, target, "s", str(number), {}, me, generation)
    store.record(run_id, "note", {"target": target, "text": "between"})
    store.finish_step(step, "ok", {}, changed=True)
closed = store.close_target(run_id, target, "recovered", {})
print(closed.status)
"""


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_workers_of_one_run_close_it_once(
    backend: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    isolate(monkeypatch, tmp_path)
    if backend == "postgresql":
        monkeypatch.setenv("CODEBLUE_STATE_URL", request.getfixturevalue("server"))
    store = open_store()
    targets = [f"{backend}-{number}" for number in range(_PROCESSES)]
    run, leases = store.open_run(opening(*targets))
    store.close()
    start = time.time() + 1.5
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", _WORKER, run.run_id, target, str(leases[target].generation), str(start)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for target in targets
    ]
    said = []
    for worker in workers:
        out, problem = worker.communicate(timeout=60)
        assert worker.returncode == 0, problem
        said.append(out.strip())
    assert sorted(said) == ["closed"] + ["open"] * (_PROCESSES - 1)
    kinds = [record["kind"] for record in store.ledger_records(run.run_id)]
    assert kinds.count("run_closed") == 1
    assert kinds[-1] == "run_closed"
    assert len(store.steps(run.run_id)) == 5 * _PROCESSES
    assert verify_export(store.export(run.run_id), [store.ledger.key.public_pem.encode()], []).exit_code == 4
