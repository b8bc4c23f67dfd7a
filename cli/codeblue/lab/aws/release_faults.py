"""Bad releases: their image is not there, their process ends, they never become ready, or they are late."""

from __future__ import annotations

from dataclasses import dataclass

from codeblue.lab.aws.blueprint import CLUSTER, PRIMARY, SERVICES
from codeblue.lab.aws.faults import AwsFault
from codeblue.lab.aws.fill_services import task_definition
from codeblue.lab.aws.outside import ANSWER_TIME
from codeblue.lab.aws.parts import AwsParts

LOGIN = "authentication_system_down"
AI = "ai_service_unavailable"
PERFORMANCE = "performance_degradation"
_SECONDS = 60.0
_NEW = "2.4.0-rc1"
# Those of these tags are in the registry: what runs there is what does not do its work.
_IN_REGISTRY = ("crash", "unready", "slow")


@dataclass(frozen=True)
class BadRelease(AwsFault):
    """Another image is rolled out to services, by a task definition of its own.

    :param tag: of that image, which decides what becomes of its tasks.
    """

    tag: str = _NEW

    def damage(self, parts: AwsParts) -> None:
        ecs = parts.client("ecs", PRIMARY)
        for name in self.hits:
            service = SERVICES[name]
            if self.tag in _IN_REGISTRY:
                parts.push_image(PRIMARY, service.repository, self.tag)
            definition = task_definition(service, self.tag, parts.state.facts, PRIMARY)
            arn = ecs.register_task_definition(**definition)["taskDefinition"]["taskDefinitionArn"]
            ecs.update_service(cluster=CLUSTER, service=service.service, taskDefinition=arn)


RELEASE_FAULTS: tuple[AwsFault, ...] = (
    BadRelease(
        "auth_image_missing", "a release of auth is rolled out whose image nobody pushed", ("auth",), LOGIN, _SECONDS
    ),
    BadRelease(
        "auth_release_crashing",
        "a release of auth is rolled out whose process ends over and over",
        ("auth",),
        LOGIN,
        _SECONDS,
        tag="crash",
    ),
    BadRelease(
        "auth_release_unready",
        "a release of auth is rolled out that runs and never passes the health check of its load balancer",
        ("auth",),
        LOGIN,
        _SECONDS,
        tag="unready",
    ),
    BadRelease(
        "ai_release_crashing",
        "a release of ai is rolled out whose process ends over and over",
        ("ai",),
        AI,
        _SECONDS,
        tag="crash",
    ),
    BadRelease("ai_image_missing", "a release of ai is rolled out whose image nobody pushed", ("ai",), AI, _SECONDS),
    BadRelease(
        "records_release_slow",
        "a release of records is rolled out that works and answers late",
        ("records",),
        PERFORMANCE,
        _SECONDS,
        signals=(ANSWER_TIME,),
        tag="slow",
    ),
    BadRelease(
        "auth_release_slow",
        "a release of auth is rolled out that works and answers late",
        ("auth",),
        PERFORMANCE,
        _SECONDS,
        signals=(ANSWER_TIME,),
        tag="slow",
    ),
)
