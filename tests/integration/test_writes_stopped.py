"""Writes are stopped for sessions that are there, and never half (about 5 s)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_read_only import (
    end_client_sessions,
    look_at_database,
    overriding_roles,
    set_read_only,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import PsqlSession, SqlUnavailable
from snapshot_cluster import Cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    made = Cluster("max_connections = 40\n").start()
    try:
        yield made
    finally:
        made.close()


def test_a_session_that_was_there_before_is_ended_and_a_new_one_cannot_write(cluster: Cluster) -> None:
    cluster.sql("CREATE TABLE t (n int)", "CREATE ROLE app LOGIN", "GRANT INSERT ON t TO app")
    with PsqlSession(cluster.login, Deadline(20)) as client, PsqlSession(cluster.login, Deadline(20)) as admin:
        client.execute("INSERT INTO t VALUES (1)")
        set_read_only(admin, "postgres", "on")
        assert end_client_sessions(admin, "postgres", Deadline(10)) == 1
        with pytest.raises(SqlUnavailable):
            client.execute("INSERT INTO t VALUES (2)")
        assert look_at_database(admin, "postgres") == {"default_transaction_read_only": "on"}
        assert overriding_roles(admin, "postgres") == []
        admin.execute("ALTER ROLE app SET default_transaction_read_only = off")
        assert overriding_roles(admin, "postgres") == ["app"], "its own setting would win"
        set_read_only(admin, "postgres", None)
        assert admin.value("count(*) FROM t") == "1"
