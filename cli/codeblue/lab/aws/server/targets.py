"""How load balancers see their targets: as the tasks at those addresses answer."""

from __future__ import annotations

import typing as t

from moto.elbv2.models import FakeHealthStatus

from codeblue.lab.aws.server.databases import admitted

_UNHEALTHY = "unhealthy"


def health_for(self: t.Any, target: dict[str, t.Any], _ec2: t.Any) -> FakeHealthStatus:
    """In place of moto's, for which every registered target is healthy.

    :param self: moto's target group.
    """
    port = target.get("Port", self.port)

    def said(state: str, reason: str | None = None, description: str | None = None) -> FakeHealthStatus:
        return FakeHealthStatus(target["Id"], port, self.health_check_port, state, reason, description)

    if target["Id"] not in self.targets:
        return said("unused", "Target.NotRegistered", "Target is not registered to the target group")
    if not self.load_balancer_arns:
        return said("unused", "Target.NotInUse", "Target group is not configured to receive traffic")
    return said(*state_of(self, target["Id"]))


def state_of(group: t.Any, address: str) -> tuple[str, str | None, str | None]:
    """State, reason and description of a registered target."""
    from codeblue.lab.aws.server.behaviour import backend

    task = backend("ecs", group.region_name).task_at(address)
    if task is None:
        return _UNHEALTHY, "Target.Timeout", "Request timed out"
    balancers = backend("elbv2", group.region_name).load_balancers
    sources = [one for arn in group.load_balancer_arns if arn in balancers for one in balancers[arn].security_groups]
    if not admitted(sources, task.groups, group.region_name, int(group.port)):
        return _UNHEALTHY, "Target.Timeout", "Request timed out"
    if task.outcome is not None and not task.outcome.ready:
        return _UNHEALTHY, "Target.ResponseCodeMismatch", "Health checks failed with these codes: [503]"
    if not task.well:
        return "initial", "Elb.InitialHealthChecking", "Initial health checks in progress"
    return "healthy", None, None
