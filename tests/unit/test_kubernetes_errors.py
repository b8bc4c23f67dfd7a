"""What an API server refuses becomes one line that names the verb, the object or the namespace."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import (
    Conflict,
    Forbidden,
    KubernetesError,
    NamespaceGoing,
    NotFound,
    Request,
    error_of,
)

REQUEST = Request("PATCH", "patch", "deployments.apps", "records", "clinic")


def status(message: str, **more: t.Any) -> str:
    return json.dumps({"kind": "Status", "message": message, **more})


RIGHTS = 'deployments.apps "records" is forbidden: User "u" cannot patch resource "deployments" in API group "apps"'
GOING = "forbidden: unable to create new content in namespace clinic because it is being terminated"


@pytest.mark.parametrize(
    ("code", "body", "kind", "line"),
    [
        (403, status(RIGHTS), Forbidden, "the account may not patch deployments.apps records in namespace clinic"),
        (403, status("exceeded quota: pods, used: pods=5"), KubernetesError, "refused to patch deployments.apps rec"),
        (403, status(GOING), NamespaceGoing, "namespace clinic is being deleted"),
        (
            403,
            status("no", details={"causes": [{"reason": "NamespaceTerminating"}]}),
            NamespaceGoing,
            "namespace clinic is being deleted",
        ),
        (404, status("not found"), NotFound, "there is no deployments.apps records in namespace clinic"),
        (409, status("the object has been modified"), Conflict, "changed by somebody else meanwhile: the object has"),
        (422, "<html>\nproxy\n</html>", KubernetesError, "refused to patch deployments.apps records in namespace"),
    ],
)
def test_each_answer_is_told(code: int, body: str, kind: type[KubernetesError], line: str) -> None:
    error = error_of(REQUEST, code, body)
    assert type(error) is kind and line in error.message
    assert "\n" not in str(error) and len(str(error)) < 600


def test_a_value_that_the_server_repeats_is_not_shown() -> None:
    causes = [{"field": "spec.template.spec.containers[0].env[0].value", "message": 'Invalid value: "s3cret"'}]
    body = status('invalid: Invalid value: "s3cret"', reason="Invalid", details={"causes": causes})
    found = str(error_of(REQUEST, 422, body))
    assert "s3cret" not in found and "invalid spec.template.spec.containers[0].env[0].value" in found


def test_a_missing_right_is_told_with_what_to_grant() -> None:
    hint = error_of(REQUEST, 403, status(RIGHTS)).hint
    assert hint is not None and hint.startswith("grant the verb patch on deployments.apps in namespace clinic")
