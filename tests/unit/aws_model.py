# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An account that answers as a test has it, held to the services' own models: what is asked and what is answered.

What stands in for AWS elsewhere differs from it here and there. botocore's models of the services do not.
"""

from __future__ import annotations

import functools
import typing as t
from collections.abc import Callable

import botocore.session
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_actions import is_change
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import Call, error_of
from botocore import xform_name
from botocore.validate import ParamValidator

Answer = dict[str, t.Any]
Answers = Answer | Callable[[Answer], Answer] | Exception


@functools.cache
def _operations(service: str) -> dict[str, t.Any]:
    model = botocore.session.get_session().get_service_model(service)
    return {xform_name(name): model.operation_model(name) for name in model.operation_names}


def refusal(operation: str, code: str) -> Exception:
    """As the service says it."""
    return error_of(Call(operation, "us-east-1"), code, "no")


class ModelAccount(AwsAccount):
    """Answers by service and operation; one that is not there is not expected.

    :ivar asked: what was asked, in order.
    """

    def __init__(self, answers: dict[str, Answers], read_only: bool = False) -> None:
        self.region = "us-east-1"
        self.answers = answers
        self.asked: list[tuple[str, Answer]] = []
        self.calls = self.writes = 0
        self._read_only = read_only

    def within(self, seconds: float) -> AwsAccount:
        return self

    def ask(  # type: ignore[override]
        self,
        service: str,
        operation: str,
        /,
        region: str | None = None,
        about: str = "",
        patience: float | None = None,
        repeat: bool = True,
        **parameters: t.Any,
    ) -> Answer:
        model = _operations(service)[operation]
        problems = ParamValidator().validate(parameters, model.input_shape).generate_report()
        assert not problems, f"{operation}: {problems}"
        assert not (self._read_only and is_change(operation)), f"{operation} changes something"
        self.calls += 1
        self.writes += is_change(operation)
        self.asked.append((operation, parameters))
        answer = self.answers[f"{service}.{operation}"]
        if callable(answer):
            answer = answer(parameters)
        if isinstance(answer, Exception):
            raise answer
        problems = ParamValidator().validate(answer, model.output_shape).generate_report()
        assert not problems, f"the answer to {operation}: {problems}"
        return dict(answer)

    def named(self, operation: str) -> list[Answer]:
        """With what an operation was asked."""
        return [parameters for name, parameters in self.asked if name == operation]
