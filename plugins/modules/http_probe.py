#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Asks a service from its own machine."""

from __future__ import annotations

DOCUMENTATION = r"""
module: http_probe
short_description: Ask an instance of a service over HTTP from its own machine, and measure how long it takes
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Makes each request several times, one after the other on a connection of its own, and all requests side by side.
  - Past the gateway and from the machine itself, so that a slow or failing instance is told from a slow or failing way.
  - Returns figures only. What was answered is compared and not kept.
options:
  requests:
    description: What is asked.
    type: list
    elements: dict
    required: true
    suboptions:
      id:
        description: Name of the request in RV(answers).
        type: str
        required: true
      url:
        description: Absolute, C(http) or C(https).
        type: str
        required: true
      method:
        description: HTTP method.
        type: str
        default: GET
      headers:
        description: An object of names and values. Never returned.
        type: json
        default: "{}"
      body:
        description: Sent as it stands, with the content type C(application/json). Never returned.
        type: json
      status:
        description: The right status codes.
        type: list
        elements: int
        default: [200]
      body_has:
        description: A text that a right answer holds.
        type: str
  count:
    description: How many times each request is made, from 1 to 50.
    type: int
    default: 3
  timeout:
    description: Seconds for one request. After the first one that ran out, that request is not made again.
    type: float
    default: 5.0
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
"""

EXAMPLES = r"""
- name: Measure three inferences on the instance itself
  codeblue.recovery.http_probe:
    requests:
      - id: predict
        method: POST
        url: http://127.0.0.1:8103/predict
        body: '{"note": "severe chest pain"}'
        body_has: urgent
"""

RETURN = r"""
answers:
  description:
    - For each request by its C(id), how many times it was C(asked) and answered C(right), the C(problems) by kind
      (C(refused), C(closed), C(timeout), C(network), C(status), C(body)), the C(statuses) that came, and
      C(median_seconds) and C(slowest_seconds) of the right answers.
    - C(median_seconds_of_all) counts failed answers with the time that they took.
  returned: success
  type: dict
  sample:
    predict:
      asked: 3
      right: 3
      problems: {}
      statuses: [200]
      median_seconds: 0.012
      slowest_seconds: 0.02
      median_seconds_of_all: 0.012
"""

import json
import typing as t
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import run_look_module
from ansible_collections.codeblue.recovery.plugins.module_utils._http_probe import (
    ProbeAnswer,
    ProbeRequest,
    probe,
    summary,
)

_MOST_AT_ONCE = 8


def look(params: t.Dict[str, t.Any]) -> t.Dict[str, t.Any]:
    """Ask everything."""
    if not 1 <= params["count"] <= 50:
        raise BadInput("count: %d is not between 1 and 50" % params["count"])
    requests = [_request(options) for options in params["requests"]]
    with ThreadPoolExecutor(max_workers=_MOST_AT_ONCE) as pool:
        answered = list(pool.map(lambda request: _ask(request, params["count"], params["timeout"]), requests))
    return {"answers": {request.name: summary(answers) for request, answers in zip(requests, answered)}}  # noqa: B905


def _ask(request: ProbeRequest, count: int, seconds: float) -> t.List[ProbeAnswer]:
    answers: t.List[ProbeAnswer] = []
    while len(answers) < count and not (answers and answers[-1].problem == "timeout"):
        answers.append(probe(request, seconds))
    return answers


def _request(options: t.Dict[str, t.Any]) -> ProbeRequest:
    headers = json.loads(options["headers"])
    if not isinstance(headers, dict):
        raise BadInput("requests.%s: headers must be an object of names and values" % options["id"])
    return ProbeRequest(
        name=options["id"],
        method=options["method"],
        url=options["url"],
        headers={str(name): str(value) for name, value in headers.items()},
        body=options["body"],
        status=tuple(options["status"]),
        body_has=options["body_has"],
    )


def main() -> None:
    """Entry point."""
    run_look_module(
        {
            "requests": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "id": {"type": "str", "required": True},
                    "url": {"type": "str", "required": True},
                    "method": {"type": "str", "default": "GET"},
                    "headers": {"type": "json", "default": "{}", "no_log": True},
                    "body": {"type": "json", "no_log": True},
                    "status": {"type": "list", "elements": "int", "default": [200]},
                    "body_has": {"type": "str"},
                },
            },
            "count": {"type": "int", "default": 3},
            "timeout": {"type": "float", "default": 5.0},
        },
        look,
    )


if __name__ == "__main__":
    main()
