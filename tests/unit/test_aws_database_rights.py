# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the actions about databases in RDS may do is read off their code whole."""

from __future__ import annotations

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_calls import operations_of

_CLOSING = {
    "modify_db_instance",
    "modify_db_cluster",
    "modify_db_parameter_group",
    "modify_db_cluster_parameter_group",
    "add_tags_to_resource",
}
_CHANGES = {
    "aws_database_snapshot": {
        "create_db_snapshot",
        "create_db_cluster_snapshot",
        "copy_db_snapshot",
        "copy_db_cluster_snapshot",
    },
    "aws_database_prune": {"delete_db_snapshot", "delete_db_cluster_snapshot"},
    "aws_database_failover": _CLOSING
    | {
        "promote_read_replica",
        "promote_read_replica_db_cluster",
        "failover_db_cluster",
        "failover_global_cluster",
        "switchover_global_cluster",
        "start_db_instance",
        "start_db_cluster",
        "stop_db_instance",
    },
    "aws_database_restore": {
        "restore_db_instance_to_point_in_time",
        "restore_db_instance_from_db_snapshot",
        "restore_db_cluster_to_point_in_time",
        "restore_db_cluster_from_snapshot",
        "create_db_instance",
        "modify_db_instance",
        "modify_db_cluster",
    },
    "aws_database_swap": {"modify_db_instance", "modify_db_cluster"},
    "aws_database_writes": _CLOSING
    | {"reset_db_parameter_group", "reset_db_cluster_parameter_group", "remove_tags_from_resource"},
}


@pytest.mark.parametrize("action", sorted(_CHANGES))
def test_every_change_is_found(action: str) -> None:
    found = {each.name for each in operations_of([action]) if each.service == "rds"}
    assert sorted(_CHANGES[action] - found) == []
    # None of them deletes a database.
    assert not {"delete_db_instance", "delete_db_cluster"} & found


def test_where_consumers_look_is_found() -> None:
    found = {(each.service, each.name) for each in operations_of(["aws_database_failover"])}
    assert {
        ("ssm", "put_parameter"),
        ("secretsmanager", "put_secret_value"),
        ("route53", "change_resource_record_sets"),
    } <= found
