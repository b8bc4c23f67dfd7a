"""ECS's history of deployments, which moto does not have: those that came to a good end, and what they rolled out."""

from __future__ import annotations

import datetime as dt
import json
import typing as t

from moto.ecs.exceptions import ClusterNotFoundException, ServiceNotFoundException

from codeblue.lab.aws.server.operations import Operation
from codeblue.lab.aws.server.refusals import Answer, refusal

_JSON = [("Content-Type", "application/x-amz-json-1.1")]
_SUCCESSFUL = "SUCCESSFUL"
_MOST = 100


def service_deployments(operation: Operation, environ: t.Mapping[str, t.Any], body: bytes) -> Answer:
    """`ListServiceDeployments`, the newest first."""
    from codeblue.lab.aws.server.behaviour import backend

    given = json.loads(body)
    ecs = backend("ecs", operation.region)
    try:
        service = ecs._get_service(given.get("cluster", "default"), str(given["service"]).rpartition("/")[2])
    except (ClusterNotFoundException, ServiceNotFoundException) as error:
        return refusal("ecs", environ, 400, type(error).__name__, "there is no such service")
    wanted = given.get("status") or [_SUCCESSFUL]
    found = [
        {
            "serviceDeploymentArn": _arn(service.arn, "service-deployment", each),
            "serviceArn": service.arn,
            "clusterArn": service.cluster_arn,
            "startedAt": _seconds(each["createdAt"]),
            "finishedAt": _seconds(each["updatedAt"]),
            "status": _SUCCESSFUL,
            "targetServiceRevisionArn": _arn(service.arn, "service-revision", each),
        }
        for each in reversed(ecs.completed.get(service.arn, []))
        if _SUCCESSFUL in wanted
    ]
    page = found[: int(given.get("maxResults") or _MOST)]
    return 200, _JSON, json.dumps({"serviceDeployments": page}).encode()


def service_revisions(operation: Operation, _environ: t.Mapping[str, t.Any], body: bytes) -> Answer:
    """`DescribeServiceRevisions` of those."""
    from codeblue.lab.aws.server.behaviour import backend

    wanted = json.loads(body)["serviceRevisionArns"]
    known = {
        _arn(arn, "service-revision", each): {"serviceArn": arn, "taskDefinition": each["taskDefinition"]}
        for arn, deployments in backend("ecs", operation.region).completed.items()
        for each in deployments
    }
    found = [{"serviceRevisionArn": each, **known[each]} for each in wanted if each in known]
    failures = [{"arn": each, "reason": "MISSING"} for each in wanted if each not in known]
    return 200, _JSON, json.dumps({"serviceRevisions": found, "failures": failures}).encode()


def _arn(service: str, kind: str, deployment: t.Mapping[str, t.Any]) -> str:
    return f"{service.replace(':service/', f':{kind}/')}/{deployment['id'].rpartition('/')[2]}"


def _seconds(moment: dt.datetime) -> float:
    # Moto's moments are of UTC and do not say so.
    return moment.replace(tzinfo=dt.UTC).timestamp()
