#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Finds out who was given patient data."""

from __future__ import annotations

DOCUMENTATION = r"""
module: access_extract
short_description: Extract from access logs who was given protected health information
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Reads access logs and the files that rotation has put aside, and counts answers that held data of patients by who
    asked, with the span of time and the number of people concerned. Changes nothing.
  - An accessor and a patient appear as keyed digests, an address as its network only.
  - With O(content=true) returns the matching lines compressed as well. They name patients, so the controller has to
    encrypt them before it keeps them.
options:
  log_files:
    description: Paths of access logs.
    type: list
    elements: path
    required: true
  form:
    description: V(json) is one object a line, V(combined) the NCSA format of web servers.
    type: str
    choices: [json, combined]
    default: json
  names:
    description: >-
      For O(form=json) the log's own names of C(time), C(subject), C(client), C(method), C(path), C(status) and
      C(patients), where they differ.
    type: dict
    default: {}
  resource:
    description: >-
      For logs that name no patients, a regular expression with a group C(resource) for what in a path tells them apart.
    type: str
  unauthenticated:
    description: Only answers to callers whom the service did not know.
    type: bool
    default: false
  since:
    description: Only from this moment on, in UTC as C(2026-01-31T14:00:00Z).
    type: str
  digest_key:
    description: Key of the digests.
    type: str
    required: true
  content:
    description: Also return the lines.
    type: bool
    default: false
  content_bytes:
    description: At most so many bytes of lines, before compression.
    type: int
    default: 16777216
  most_people:
    description: How many digests of patients are returned.
    type: int
    default: 50000
  timeout:
    description: Seconds. What was not read in time is named in RV(left_out).
    type: float
    default: 30.0
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
- name: See who read records without logging in
  codeblue.recovery.access_extract:
    log_files: [/var/log/records/access.log]
    unauthenticated: true
    digest_key: "{{ lookup('ansible.builtin.file', '/etc/codeblue/phi-digest.key') }}"
  no_log: true
"""

RETURN = r"""
disclosures:
  description: How many answers held data of patients.
  returned: success
  type: int
  sample: 42
paths:
  description: Path, with C({n}) for numbers, to how many of them.
  returned: success
  type: dict
  sample: {/patients: 42}
accessors:
  description: Who asked, the most frequent first.
  returned: success
  type: list
  elements: dict
  sample: [{accessor: 3f1c0a9b77d2e410, authenticated: false, network: 203.0.113.0/24, requests: 42, people: 17,
            first: "2026-01-31T14:04:59.998Z", last: "2026-01-31T14:06:10.118Z"}]
people:
  description: Keyed digests of the patients.
  returned: success
  type: list
  elements: str
truncated:
  description: There are more accessors or patients than were kept.
  returned: success
  type: bool
first:
  description: Time of the first of them.
  returned: success
  type: str
last:
  description: Time of the last of them.
  returned: success
  type: str
left_out:
  description: What could not be read, and why.
  returned: success
  type: list
  elements: str
content:
  description: The lines, compressed by gzip, in base64; V(null) without O(content).
  returned: success
  type: str
content_cut:
  description: There were more lines than O(content_bytes).
  returned: success
  type: bool
"""

import base64
import gzip
import re
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._access_log import AccessExtract, read_access
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import run_look_module
from ansible_collections.codeblue.recovery.plugins.module_utils._phi_files import files_of_log, read_lines


def look(params: t.Dict[str, t.Any]) -> t.Dict[str, t.Any]:
    """Extract once."""
    resource = _resource(params["resource"])
    deadline = Deadline(params["timeout"])
    extract = AccessExtract(params["digest_key"].encode(), params["most_people"])
    lines: t.List[str] = []
    size, cut = 0, False
    left_out = []
    for path in [file.path for log in params["log_files"] for file in files_of_log(log)]:
        try:
            for line in read_lines(path, deadline):
                access = read_access(line, params["form"], params["names"], resource)
                if access is None or not access.disclosed or (params["unauthenticated"] and access.subject):
                    continue
                if params["since"] and access.time < params["since"]:
                    continue
                extract.add(access)
                size += len(line)
                cut = cut or size > params["content_bytes"]
                if params["content"] and not cut:
                    lines.append(line)
        except FileNotFoundError:
            continue
        except (CodeblueError, OSError, EOFError) as error:
            left_out.append("%s: %s" % (path, getattr(error, "message", type(error).__name__)))
    content = None
    if params["content"]:
        whole = "".join(lines).encode("utf-8", "surrogateescape")
        content = base64.b64encode(gzip.compress(whole, compresslevel=6, mtime=0)).decode()
    return {**extract.as_dict(), "left_out": left_out, "content": content, "content_cut": params["content"] and cut}


def _resource(expression: t.Optional[str]) -> t.Optional[t.Pattern[str]]:
    if not expression:
        return None
    try:
        compiled = re.compile(expression)
    except re.error as error:
        raise BadInput("resource is no regular expression: %s" % error) from error
    if "resource" not in compiled.groupindex:
        raise BadInput("resource has no group of that name", "write it like /records/(?P<resource>[0-9]+)")
    return compiled


def main() -> None:
    """Entry point."""
    run_look_module(
        {
            "log_files": {"type": "list", "elements": "path", "required": True},
            "form": {"type": "str", "default": "json", "choices": ["json", "combined"]},
            "names": {"type": "dict", "default": {}},
            "resource": {"type": "str"},
            "unauthenticated": {"type": "bool", "default": False},
            "since": {"type": "str"},
            "digest_key": {"type": "str", "required": True, "no_log": True},
            "content": {"type": "bool", "default": False},
            "content_bytes": {"type": "int", "default": 16777216},
            "most_people": {"type": "int", "default": 50000},
            "timeout": {"type": "float", "default": 30.0},
        },
        look,
        verbatim=("content",),
    )


if __name__ == "__main__":
    main()
