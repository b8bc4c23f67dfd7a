# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether what a task definition wants is there: its secrets, its parameters, its image. No value is read."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping

from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import AccessDenied, AwsError, NotFound

_MOST = 20
# An image in a registry of AWS; others are not asked, they would want credentials of their own.
_ECR = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[-a-z0-9]+)\.amazonaws\.com(\.cn)?/(?P<name>[^:@]+)"
    r"(:(?P<tag>[^@]+))?(@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_SECRET_ARN = re.compile(r"arn:[-a-z]+:secretsmanager:(?P<region>[-a-z0-9]+):\d*:secret:[^:]+")
_PARAMETER_ARN = re.compile(r"arn:[-a-z]+:ssm:(?P<region>[-a-z0-9]+):\d*:parameter(?P<name>/.+)")


def lacking(account: AwsAccount, task_definition: str) -> tuple[tuple[str, ...], str]:
    """What is not there: a sentence for each secret and parameter, and one about the image, empty when it is there.

    What the identity may not look at is taken to be there: the tasks say what they wait for.

    :raises AwsError: something cannot be asked.
    """
    try:
        answer = account.ask("ecs", "describe_task_definition", about=task_definition, taskDefinition=task_definition)
    except AwsError as error:
        # ECS has no code of its own for one that is not there.
        if isinstance(error, AccessDenied) or error.code == "ClientException":
            return (), ""
        raise
    containers = (answer.get("taskDefinition") or {}).get("containerDefinitions") or ()
    wanted = [each for container in containers for each in container.get("secrets") or ()][:_MOST]
    places = list(dict.fromkeys(str(each["valueFrom"]) for each in wanted))
    missing = [each for each in account.side_by_side(places, lambda place: _missing(account, place)) if each]
    images = list(dict.fromkeys(str(each.get("image") or "") for each in containers))
    gone = [each for each in account.side_by_side(images, lambda image: _image_gone(account, image)) if each]
    return tuple(missing), gone[0] if gone else ""


def _missing(account: AwsAccount, place: str) -> str:
    secret = _SECRET_ARN.match(place)
    try:
        if secret is not None:
            name = secret[0].rpartition(":secret:")[2]
            found = account.ask(
                "secretsmanager", "describe_secret", secret["region"], about=f"secret {name}", SecretId=secret[0]
            )
            return f"secret {name} is marked for deletion" if found.get("DeletedDate") else ""
        if place.startswith("arn:") and not _PARAMETER_ARN.match(place):
            return ""
        return _parameter_missing(account, place)
    except NotFound:
        return f"secret {place.rpartition(':secret:')[2].split(':')[0]} does not exist"
    except AccessDenied:
        return ""


def _parameter_missing(account: AwsAccount, place: str) -> str:
    arn = _PARAMETER_ARN.match(place)
    region = arn["region"] if arn is not None else None
    name = arn["name"] if arn is not None else place
    # One without a path is named in its ARN with a stroke that it does not have.
    names = [name, name.removeprefix("/")] if arn is not None and name.count("/") == 1 else [name]
    found = account.ask(
        "ssm",
        "describe_parameters",
        region,
        about=f"parameter {name}",
        ParameterFilters=[{"Key": "Name", "Option": "Equals", "Values": names}],
    )
    return "" if found.get("Parameters") else f"parameter {name} does not exist"


def _image_gone(account: AwsAccount, image: str) -> str:
    found = _ECR.fullmatch(image)
    if found is None:
        return ""
    wanted: Mapping[str, t.Any] = (
        {"imageDigest": found["digest"]} if found["digest"] else {"imageTag": found["tag"] or "latest"}
    )
    try:
        account.ask(
            "ecr",
            "describe_images",
            found["region"],
            about=f"image {found['name']}",
            registryId=found["account"],
            repositoryName=found["name"],
            imageIds=[wanted],
        )
    except NotFound:
        return f"image {found['name']}:{found['tag'] or found['digest'] or 'latest'} is not in its registry"
    except AccessDenied:
        return ""
    return ""
