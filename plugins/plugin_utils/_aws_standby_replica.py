# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether the replica of a database could take its place: it is there, serves, and is not too far behind."""

from __future__ import annotations

import datetime

from ansible_collections.codeblue.recovery.plugins.plugin_utils._acceptance import DATA_LOSS
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_fitness import Fitness, fit, unfit
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds import RdsDatabases
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_lag import replicated_until
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_database import ReplicaPlace


def looked_at_replica(account: AwsAccount, replica: ReplicaPlace, rpo: float, now: datetime.datetime) -> list[Fitness]:
    """The replica, and its lag by what CloudWatch of its region keeps; the acceptance is that of a promotion.

    :param rpo: seconds that may be lost.
    """
    what = f"replica {replica}"
    seen = RdsDatabases(account).look(replica.place)
    if seen is None:
        return [unfit(what, "is not there")]
    if not seen.serves:
        return [unfit(what, f"is {seen.status}")]
    if not seen.source and replica.global_cluster is None:
        return [fit(what, "replicates nothing: it is a primary already")]
    until = replicated_until(account, seen, now.timestamp())
    if until is None:
        return [unfit(what, "has a lag that nobody knows: CloudWatch has no figures of it", DATA_LOSS)]
    behind = max(0.0, now.timestamp() - until)
    if behind > rpo:
        return [unfit(what, f"is up to {behind:.0f} s behind, the RPO is {rpo:g} s", DATA_LOSS)]
    return [fit(what, f"is up to {behind:.0f} s behind")]
