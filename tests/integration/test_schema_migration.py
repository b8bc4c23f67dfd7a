"""schema_migration and postgresql_safety_dump against a real PostgreSQL, with the clinic's own tool (about 20 s)."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import codeblue.lab
import pytest
from host_cluster import BIN_DIR, SERVER_USER, Cluster, ModuleResult, run_module, running_cluster

TOOL = Path(codeblue.lab.__file__).parent / "clinic" / "migrate.py"
COLUMN = ("alter table patients add column ward text;", "alter table patients drop column ward;")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as made:
        yield made


@dataclass
class Schema:
    """A database with the tool beside it."""

    cluster: Cluster
    directory: Path
    keys: int = 0

    def add(self, version: str, up: str, down: str | None, way_back: str = "clean", tables: str = "patients") -> None:
        head = f"-- way_back: {way_back}\n-- tables: {tables}\n"
        (self.directory / f"{version}_x.up.sql").write_text(head + up)
        if down is not None:
            (self.directory / f"{version}_x.down.sql").write_text(down)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, str(self.directory / "migrate.py"), str(self.directory / "config.json"), *arguments]

    def apply(self, version: str) -> None:
        subprocess.run(self.command("up", version), check=True, capture_output=True, timeout=30)

    def versions(self) -> list[str]:
        return [row[0] for row in self.sql("select version from schema_migrations order by applied_at")]

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        return self.cluster.sql("db1", statement, dbname="migrated")

    def run(self, mode: str, version: str | None = None, check: bool = False, **options: Any) -> ModuleResult:
        self.keys += 1
        arguments = {
            "mode": mode,
            "status_command": self.command("status"),
            "down_command": self.command("down", "{version}"),
            "up_command": self.command("up", "{version}"),
            "step": self.cluster.step(f"k{self.keys}"),
            **({"version": version} if version else {}),
            **options,
        }
        return run_module("schema_migration", arguments, check=check, diff=True)


@pytest.fixture
def schema(cluster: Cluster, tmp_path: Path) -> Schema:
    cluster.sql("db1", "drop database if exists migrated with (force)")
    cluster.sql("db1", "create database migrated")
    made = Schema(cluster, tmp_path)
    shutil.copyfile(TOOL, tmp_path / "migrate.py")
    login = {"host": "127.0.0.1", "port": cluster.ports["db1"], "user": "postgres", "dbname": "migrated"}
    (tmp_path / "config.json").write_text(json.dumps({**login, "passfile": str(cluster.passfile)}))
    made.sql("create table schema_migrations (version text primary key, applied_at timestamptz default now() not null)")
    made.sql("create table patients (id int primary key, name text)")
    made.sql("insert into patients select n, 'somebody ' || n from generate_series(1, 500) n")
    made.sql("insert into schema_migrations values ('0001', '2026-01-01')")
    made.add("0002", *COLUMN)
    made.apply("0002")
    return made


def columns(schema: Schema) -> set[str]:
    rows = schema.sql("select column_name from information_schema.columns where table_name = 'patients'")
    return {row[0] for row in rows}


def test_the_newest_migration_goes_back_and_forth(schema: Schema) -> None:
    seen = schema.run("status").result
    assert [(each["version"], each["way_back"]) for each in seen["applied"]] == [("0002", "clean"), ("0001", "none")]
    planned = schema.run("down", "0002", check=True).result
    assert planned["changed"] and planned["after"] == {"current": "0001", "count": 1}
    assert planned["accepted_at"] is None and schema.versions() == ["0001", "0002"]
    done = schema.run("down", "0002").result
    assert done["changed"] and done["before"]["current"] == "0002" and done["after"] == {"current": "0001", "count": 1}
    assert columns(schema) == {"id", "name"} and schema.versions() == ["0001"]
    assert not schema.run("down", "0002").result["changed"]
    again = schema.run("up", "0002").result
    assert again["changed"] and columns(schema) == {"id", "name", "ward"}
    assert not schema.run("up", "0002").result["changed"]


def test_a_step_that_was_finished_is_not_done_again(schema: Schema) -> None:
    step = schema.cluster.step("once")
    assert schema.run("down", "0002", step=step).result["changed"]
    schema.apply("0002")
    repeated = schema.run("down", "0002", step=step).result
    assert repeated["already_done"] and schema.versions() == ["0001", "0002"]


@pytest.mark.parametrize(
    ("version", "down", "way_back", "accept", "said"),
    [
        ("0003", "select 1;", "data_loss", [], "--accept data_loss"),
        ("0003", None, "clean", ["data_loss"], "no way back"),
        ("0002", "select 1;", "clean", ["data_loss"], "not the newest one, that is 0003"),
    ],
)
def test_what_must_not_be_taken_back_is_refused_and_nothing_is_touched(
    schema: Schema, version: str, down: str | None, way_back: str, accept: list[str], said: str
) -> None:
    schema.add("0003", "select 1;", down, way_back)
    schema.apply("0003")
    failed = schema.run("down", version, accept=accept)
    assert failed.failed and failed.result["exit_code"] == 3 and failed.result["accepted_at"] is None
    assert said in failed.result["msg"] + failed.result["hint"]
    assert schema.versions() == ["0001", "0002", "0003"]


def test_an_accepted_loss_is_taken(schema: Schema) -> None:
    schema.add("0003", "select 1;", "delete from patients where id > 100;", "data_loss")
    schema.apply("0003")
    assert schema.run("down", "0003", accept=["data_loss"]).result["changed"]
    assert schema.sql("select count(*) from patients") == [(100,)]


@pytest.mark.extended
def test_a_lock_that_is_not_had_ends_the_try_and_leaves_everything(schema: Schema) -> None:
    with schema.cluster.connect("db1", dbname="migrated") as holder:
        holder.execute("begin; lock table patients in access share mode")
        failed = schema.run("down", "0002", lock_timeout=0.2)
        holder.execute("rollback")
    assert failed.failed and "got no lock" in failed.result["msg"] and failed.result["tries"] == 3
    assert schema.versions() == ["0001", "0002"] and "ward" in columns(schema)


@pytest.mark.extended
def test_a_statement_that_takes_too_long_is_ended_by_the_server(schema: Schema) -> None:
    schema.add("0003", "select 1;", "select pg_sleep(30);")
    schema.apply("0003")
    failed = schema.run("down", "0003", statement_timeout=0.3)
    assert "took too long" in failed.result["msg"] and schema.versions()[-1] == "0003"


@pytest.mark.extended
def test_a_tool_that_hangs_is_ended(schema: Schema) -> None:
    script = schema.directory / "hangs.sh"
    script.write_text("#!/bin/sh\nsleep 60\n")
    script.chmod(0o755)
    failed = schema.run("down", "0002", down_command=[str(script), "{version}"], timeout=3.0, statement_timeout=0.5)
    assert "gave no answer" in failed.result["msg"] and schema.versions() == ["0001", "0002"]


def test_what_the_tool_prints_stays_on_the_machine_for_its_owner(schema: Schema) -> None:
    schema.add("0003", "select 1;", "insert into patients select id, name from patients;")
    schema.apply("0003")
    failed = schema.run("down", "0003")
    assert failed.failed and failed.result["changed"] is False
    assert "somebody" not in failed.output and "(1)" not in failed.output and "(id)" not in failed.output
    kept = Path(failed.result["output"])
    assert "duplicate key" in kept.read_text() and kept.stat().st_mode & 0o777 == 0o600


def test_success_is_what_the_status_says(schema: Schema) -> None:
    lies = schema.run("down", "0002", down_command=["/bin/true", "{version}"])
    assert lies.failed and "was not taken back" in lies.result["msg"] and schema.versions() == ["0001", "0002"]
    script = schema.directory / "fails.sh"
    script.write_text(f'#!/bin/sh\n{" ".join(schema.command("down"))} "$1"\nexit 7\n')
    script.chmod(0o755)
    done = schema.run("down", "0002", down_command=[str(script), "{version}"])
    assert not done.failed and done.result["changed"] and schema.versions() == ["0001"]


def test_a_tool_that_takes_more_back_than_asked_is_a_case_for_a_person(schema: Schema) -> None:
    schema.add("0001", "select 1;", "select 1;")
    script = schema.directory / "much.sh"
    down = " ".join(schema.command("down"))
    script.write_text(f'#!/bin/sh\n{down} "$1" && {down} "$2"\n')
    script.chmod(0o755)
    failed = schema.run("down", "0002", down_command=[str(script), "{version}", "{previous}"])
    assert failed.failed and failed.result["exit_code"] == 5 and "0001" in failed.result["msg"]


@pytest.mark.extended
def test_a_status_that_cannot_be_had_says_nothing_of_what_was_printed(schema: Schema) -> None:
    (schema.directory / "config.json").write_text('{"host": "127.0.0.1", "port": 1, "password": "hunter2"}')
    failed = schema.run("status")
    assert failed.failed and "ended with status 1" in failed.result["msg"] and "hunter2" not in failed.output


# -- the emergency copy ----------------------------------------------------------------------------------------------


def copy(schema: Schema, destination: Path, check: bool = False, **options: Any) -> ModuleResult:
    schema.keys += 1
    arguments = {
        **schema.cluster.login("db1", database="migrated"),
        "destination": str(destination),
        "name": f"before-{schema.keys}",
        "step": schema.cluster.step(f"c{schema.keys}"),
        **options,
    }
    return run_module("postgresql_safety_dump", arguments, check=check)


@pytest.fixture
def place(schema: Schema) -> Iterator[Path]:
    place = schema.cluster.root / "db1" / "dumps"
    yield place
    shutil.rmtree(place, ignore_errors=True)


def contents(path: str) -> str:
    done = subprocess.run(
        [BIN_DIR / "pg_restore", "-f", "-", path], capture_output=True, text=True, timeout=30, check=True
    )
    return done.stdout


def test_a_small_database_is_copied_whole_and_can_be_read_back(schema: Schema, place: Path) -> None:
    planned = copy(schema, place, check=True).result
    assert planned["before"]["covers"] == "database" and not place.exists()
    taken = copy(schema, place, tables=["patients"]).result
    (file,) = taken["after"]["files"]
    path = Path(file["path"])
    assert file["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest() and path.stat().st_mode & 0o777 == 0o600
    assert path.owner() == SERVER_USER and place.stat().st_mode & 0o777 == 0o700
    assert "somebody 500" in contents(file["path"]) and taken["after"]["lsn"]


@pytest.mark.extended
def test_of_a_large_one_the_tables_that_change_and_the_schema(schema: Schema, place: Path) -> None:
    schema.sql("create table large as select n, repeat('x', 500) from generate_series(1, 4000) n")
    taken = copy(schema, place, tables=["patients", "gone"], most_bytes=1_000_000).result
    assert taken["before"]["covers"] == "tables" and taken["before"]["tables"] == ["patients"]
    by = {each["covers"]: contents(each["path"]) for each in taken["after"]["files"]}
    assert set(by) == {"schema", "tables"}
    assert "CREATE TABLE public.large" in by["schema"] and "somebody 1" not in by["schema"]
    assert "somebody 1" in by["tables"] and "public.large" not in by["tables"]
    nothing_changes = copy(schema, place, tables=[], most_bytes=1).result
    assert [each["covers"] for each in nothing_changes["after"]["files"]] == ["schema"]


def test_without_rows_and_without_an_archive_it_refuses(schema: Schema, place: Path) -> None:
    failed = copy(schema, place, tables=["patients"], most_bytes=1)
    assert failed.failed and failed.result["exit_code"] == 3 and "not archived" in failed.result["msg"]
    assert not place.exists()


@pytest.mark.extended
def test_old_copies_go_and_a_torn_one_is_cleared_away(schema: Schema, place: Path) -> None:
    for _number in range(3):
        copy(schema, place, keep=2)
    (place / "x.database.dump.part").write_text("torn")
    last = copy(schema, place, keep=2).result["after"]["files"][0]["path"]
    assert len(list(place.iterdir())) == 2 and Path(last).exists()
