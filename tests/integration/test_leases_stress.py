"""Many processes want one target: never two holders, on SQLite and on PostgreSQL. About 8 s."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import open_store
from store_support import isolate, postgresql_server

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
