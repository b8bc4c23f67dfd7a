"""What the clinic's own Lambda functions do, where no code is run."""

from __future__ import annotations

import json
import typing as t

from moto.awslambda_simple.models import LambdaSimpleBackend

#: Writes where the database is, for all that start from then on.
ENDPOINTS = "update-database-endpoints"
#: Starts the recovery of document 3's scenario A, and answers that it did.
RECOVERY = "healthcare-platform-recovery"
_PARAMETER = "/healthcare-platform/database/endpoint"


class LabLambda(LambdaSimpleBackend):
    """Moto's Lambda of one region, with these."""

    def invoke(
        self, function_name: str, qualifier: str | None, body: t.Any, headers: t.Any, response_headers: t.Any
    ) -> str | bytes | None:
        # Says by itself that there is no such function.
        name = self.get_function(function_name, qualifier).function_name
        try:
            given = json.loads(body or b"{}")
            answer = _do(name, given, self.region_name)
        except (KeyError, ValueError, TypeError) as error:
            response_headers["x-amz-function-error"] = "Unhandled"
            answer = {"errorMessage": str(error), "errorType": type(error).__name__}
        return json.dumps(answer).encode()


def _do(name: str, given: dict[str, t.Any], region: str) -> dict[str, t.Any]:
    from codeblue.lab.aws.server.behaviour import backend

    if name == ENDPOINTS:
        endpoint = str(given["new_endpoint"])
        known = backend("ssm", region).get_parameter(_PARAMETER)
        if known is None:
            raise KeyError(f"there is no parameter {_PARAMETER}")
        changed = known.value != endpoint
        if changed:
            backend("ssm", region)._parameters[_PARAMETER].append(_next(known, endpoint))
        return {"statusCode": 200, "changed": changed, "parameter": _PARAMETER}
    if name == RECOVERY:
        return {"statusCode": 200, "scenario": str(given["scenario"]), "status": "started"}
    return {"statusCode": 200}


def _next(known: t.Any, value: str) -> t.Any:
    """The next version of a parameter."""
    import copy

    made = copy.copy(known)
    made.value, made.version = value, known.version + 1
    return made
