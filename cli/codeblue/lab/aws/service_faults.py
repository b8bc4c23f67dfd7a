"""Services of ECS that somebody changed: no tasks are wanted, what they need is gone, nobody leads to them."""

from __future__ import annotations

from dataclasses import dataclass

from codeblue.lab.aws.blueprint import AI_SECRET, CLUSTER, PRIMARY, SERVICES, SIGNING_SECRET
from codeblue.lab.aws.faults import AwsFault
from codeblue.lab.aws.parts import AwsParts
from codeblue.lab.aws.release_faults import AI, LOGIN

_SECONDS = 60.0


@dataclass(frozen=True)
class ScaledToZero(AwsFault):
    """Somebody scales services down and does not come back."""

    def damage(self, parts: AwsParts) -> None:
        for name in self.hits:
            parts.client("ecs", PRIMARY).update_service(cluster=CLUSTER, service=SERVICES[name].service, desiredCount=0)


@dataclass(frozen=True)
class SecretDeleted(AwsFault):
    """A secret is deleted, and then the tasks: those that come need what is gone.

    :param secret: its name.
    """

    secret: str = ""

    def damage(self, parts: AwsParts) -> None:
        secrets = parts.client("secretsmanager", PRIMARY)
        # With the days in which it can be restored, as one is deleted by mistake.
        secrets.delete_secret(SecretId=self.secret, RecoveryWindowInDays=7)
        for name in self.hits:
            parts.stop_tasks(PRIMARY, name)


@dataclass(frozen=True)
class TargetsDeregistered(AwsFault):
    """The tasks run, and are no longer targets of their load balancer. ECS does not register them again."""

    def damage(self, parts: AwsParts) -> None:
        elb = parts.client("elbv2", PRIMARY)
        for name in self.hits:
            group = parts.fact(PRIMARY, f"target-group-{name}")
            health = elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
            elb.deregister_targets(TargetGroupArn=group, Targets=[each["Target"] for each in health])


SERVICE_FAULTS: tuple[AwsFault, ...] = (
    ScaledToZero("auth_scaled_to_zero", "auth is scaled to no tasks", ("auth",), LOGIN, _SECONDS),
    SecretDeleted(
        "auth_secret_deleted",
        "the secret with the signing key of auth is deleted, and its tasks start anew",
        ("auth",),
        LOGIN,
        _SECONDS,
        secret=SIGNING_SECRET,
    ),
    TargetsDeregistered(
        "auth_targets_deregistered",
        "the tasks of auth run and are no targets of the load balancer any more",
        ("auth",),
        LOGIN,
        _SECONDS,
    ),
    ScaledToZero("ai_scaled_to_zero", "ai is scaled to no tasks", ("ai",), AI, _SECONDS),
    SecretDeleted(
        "ai_secret_deleted",
        "the secret with the API key of ai is deleted, and its tasks start anew",
        ("ai",),
        AI,
        _SECONDS,
        secret=AI_SECRET,
    ),
)
