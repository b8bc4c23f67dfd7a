# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Calls a function of Lambda once, and judges what it answers."""

from __future__ import annotations

import base64
import json
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

import botocore.exceptions
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import AwsUnavailable
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_functions import RecoveryFunction

# Lambda answers with up to 6 MB; what an answer is judged by is small.
_LARGEST_ANSWER = 256 * 1024
_LONGEST_MESSAGE = 300


@dataclass(frozen=True)
class Answered:
    """What a function answered.

    :param problem: what is wrong with it, for people; empty when nothing is.
    :param size: bytes.
    :param answer: None when it may hold secrets, or is no JSON.
    """

    status: int
    problem: str
    size: int
    answer: t.Any = None


def invoke(account: AwsAccount, function: RecoveryFunction, region: str, run_id: str, target: str) -> Answered:
    """Call it and wait for its answer.

    :param run_id: the function finds it in its client context, as `codeblue_run`.
    :raises AwsUnavailable: no answer came; its `sent` says whether the function may have been called all the same.
    :raises AwsError: it was not called.
    """
    context = {"custom": {"codeblue_run": run_id, "codeblue_target": target}}
    answer = account.ask(
        "lambda",
        "invoke",
        region,
        str(function),
        function.timeout,
        function.repeatable,
        FunctionName=function.function,
        InvocationType="RequestResponse",
        ClientContext=base64.b64encode(json.dumps(context).encode()).decode(),
        Payload=json.dumps(function.payload).encode(),
    )
    try:
        content = answer["Payload"].read(_LARGEST_ANSWER + 1)
    except botocore.exceptions.BotoCoreError as error:
        lost = AwsUnavailable(
            f"{function} in {region} was called, its answer was lost: {type(error).__name__}", "look at its log"
        )
        lost.sent = True
        raise lost from None
    return judged(function, int(answer.get("StatusCode") or 0), answer.get("FunctionError"), content)


def judged(function: RecoveryFunction, status: int, error: str | None, content: bytes) -> Answered:
    """An answer, held against what is expected.

    :param error: of Lambda: the function ended by an exception, or was ended.
    """
    size = len(content)
    if size > _LARGEST_ANSWER:
        return Answered(status, f"{function} answered with more than {_LARGEST_ANSWER // 1024} KiB", size)
    try:
        answer = json.loads(content) if content else None
        readable = True
    except ValueError:
        answer, readable = None, False
    shown = None if function.sensitive else answer
    if error:
        said = answer if isinstance(answer, Mapping) else {}
        kind = str(said.get("errorType") or error)
        text = "" if function.sensitive else f": {str(said.get('errorMessage') or '')[:_LONGEST_MESSAGE]}"
        return Answered(status, f"{function} failed with {kind}{text}", size, shown)
    if status != 200:
        return Answered(status, f"{function} was answered with status {status}, wanted 200", size, shown)
    if function.expects and not readable:
        return Answered(status, f"{function} answered with no JSON", size)
    for name, wanted in function.expects.items():
        found = _at(answer, name)
        if found != wanted:
            seen = "another value" if function.sensitive else repr(found)[:80]
            return Answered(status, f"{function} answered {name} with {seen}, wanted {wanted!r}"[:400], size, shown)
    return Answered(status, "", size, shown)


def _at(answer: t.Any, path: str) -> t.Any:
    """The value at `a.b` of nested mappings; None when there is none."""
    for name in path.split("."):
        answer = answer.get(name) if isinstance(answer, Mapping) else None
    return answer
