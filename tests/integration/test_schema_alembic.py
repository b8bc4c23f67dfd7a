"""schema_migration with Alembic, wired as docs/changes.md says (about 10 s)."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from host_cluster import BIN_DIR, PASSWORD, Cluster, ModuleResult, run_module, running_cluster

PAGE = Path(__file__).parents[2] / "docs" / "changes.md"
ALEMBIC = Path(sys.executable).parent / "alembic"
REVISION = """\
from alembic import op
import sqlalchemy as sa

revision, down_revision = {revision!r}, {down!r}

def upgrade():
    op.add_column("patients", sa.Column({column!r}, sa.Text()))

def downgrade():
    op.drop_column("patients", {column!r})
"""
ENVIRONMENT = """\
import os
from alembic import context
from sqlalchemy import create_engine

{hook}
"""
RUN = """\
with create_engine(os.environ["CLINIC_URL"]).connect() as connection:
    {configure}
    with context.begin_transaction():
        context.run_migrations()
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as made:
        yield made


def documented() -> tuple[str, str, str]:
    """The hook, the call of `configure` and the status command, as the page has them."""
    page = PAGE.read_text(encoding="utf-8")
    block = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    status = re.search(r"The status is `(psql .*?)`, and the way back `alembic downgrade \{previous\}`", page)
    assert block is not None and status is not None
    hook, configure = block.group(1).rsplit("\n\n", 1)
    return hook, configure.strip(), status.group(1)


@pytest.fixture
def tool(cluster: Cluster, tmp_path: Path) -> Path:
    hook, configure, status = documented()
    versions = tmp_path / "alembic" / "versions"
    versions.mkdir(parents=True)
    (tmp_path / "alembic" / "env.py").write_text(ENVIRONMENT.format(hook=hook) + RUN.format(configure=configure))
    (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/alembic\n")
    (versions / "a1.py").write_text(REVISION.format(revision="a1", down=None, column="ward"))
    (versions / "b2.py").write_text(REVISION.format(revision="b2", down="a1", column="bed"))
    url = f"postgresql+psycopg://postgres:{PASSWORD}@127.0.0.1:{cluster.ports['db1']}/postgres"
    script = tmp_path / "migrate"
    script.write_text(
        f"""#!/bin/sh -e
cd {tmp_path}
export PATH={BIN_DIR}:$PATH PGHOST=127.0.0.1 PGPORT={cluster.ports["db1"]} PGUSER=postgres PGDATABASE=postgres
export PGPASSFILE={cluster.passfile} CLINIC_URL='{url}'
case "$1" in
    status) {status} ;;
    down) {ALEMBIC} downgrade "$2" ;;
    up) {ALEMBIC} upgrade "$2" ;;
esac
"""
    )
    script.chmod(0o755)
    cluster.sql("db1", "create table patients (id int primary key)")
    cluster.sql(
        "db1",
        "create table migration_times (version text primary key, applied_at timestamptz not null,"
        " way_back text not null default 'clean')",
    )
    return script


def run(cluster: Cluster, tool: Path, mode: str, key: str, version: str | None = None) -> ModuleResult:
    arguments: dict[str, Any] = {
        "mode": mode,
        "status_command": [str(tool), "status"],
        "down_command": [str(tool), "down", "{previous}"],
        "up_command": [str(tool), "up", "{version}"],
        "step": cluster.step(key),
        **({"version": version} if version else {}),
    }
    return run_module("schema_migration", arguments)


def columns(cluster: Cluster) -> set[str]:
    found = cluster.sql("db1", "select column_name from information_schema.columns where table_name = 'patients'")
    return {row[0] for row in found}


def test_alembic_goes_up_and_down_one_by_one(cluster: Cluster, tool: Path) -> None:
    for number, version in enumerate(("a1", "b2")):
        done = run(cluster, tool, "up", f"u{number}", version)
        assert done.result.get("after") == {"current": version, "count": number + 1}, done.output
    assert columns(cluster) == {"id", "ward", "bed"}
    seen = run(cluster, tool, "status", "s").result["applied"]
    assert [(each["version"], each["way_back"]) for each in seen] == [("b2", "clean"), ("a1", "clean")]
    assert all(each["applied_at"] for each in seen)
    assert run(cluster, tool, "down", "d1", "b2").result["after"] == {"current": "a1", "count": 1}
    assert run(cluster, tool, "down", "d2", "a1").result["after"] == {"current": None, "count": 0}
    assert columns(cluster) == {"id"}
