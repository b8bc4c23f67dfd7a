#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Takes patient data out of logs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: log_scrub
short_description: Close logs that hold protected health information, then replace them by masked copies
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - V(closed) renames the log and what rotation has put aside into O(protected_dir), which only its owner may enter. The
    program that writes the log goes on writing into the file that it has open; a program that opens the log anew finds
    an empty one with the same owner and mode.
  - V(scrubbed) writes a copy with C([kind]) in place of each identifier to C(<log>.1), where rotation would have put
    it, and removes the originals, each only when O(evidence) says that it was kept as it is now.
  - Restart the program that writes the log in between, so that it writes into the new one.
  - Never returns a line or a value.
options:
  log_files:
    description: Paths of live logs.
    type: list
    elements: path
    required: true
  state:
    description: How far to go.
    type: str
    choices: [closed, scrubbed]
    required: true
  protected_dir:
    description: Directory for the originals, on the file system of the logs. Removed at the end of V(scrubbed).
    type: path
    required: true
  evidence:
    description: Path in O(protected_dir) to the SHA-256 of what was kept of it, encrypted, elsewhere.
    type: dict
    default: {}
  identifiers:
    description: The site's own identifiers of patients, name to regular expression.
    type: dict
    default: {}
  fields:
    description: Names of fields in logs to the kind of data in them.
    type: dict
    default: {}
  ignore:
    description: Regular expressions of values that are no patient's.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds for reading and writing.
    type: float
    default: 60.0
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.step
seealso:
  - module: codeblue.recovery.phi_scan
"""

EXAMPLES = r"""
- name: See which files would be taken out of reach
  codeblue.recovery.log_scrub:
    log_files: [/var/log/records/service.log]
    protected_dir: /var/log/records/.protected
    state: closed
  check_mode: true
"""

RETURN = r"""
before:
  description: Files that lay in the open, files that are protected, and their size.
  returned: success
  type: dict
  sample: {open: [/var/log/records/service.log], protected: [], bytes: 0}
after:
  description: The same afterwards.
  returned: success
  type: dict
  sample: {open: [], protected: [/var/log/records/service.log], bytes: 48211}
kept:
  description: Where the originals lie now, for reading them as evidence.
  returned: success
  type: list
  elements: str
  sample: [/var/log/records/.protected/000-000-service.log]
scrubbed:
  description: For each log how many lines were copied and how many of them were masked.
  returned: with O(state=scrubbed)
  type: dict
  sample: {/var/log/records/service.log: {lines: 812, masked: 3}}
stale:
  description: Originals that O(evidence) does not speak of as they are now. Nothing was removed.
  returned: when that is why it failed
  type: list
  elements: str
accepted_at:
  description: Unix time of the first changing call that the target accepted, V(null) when nothing was changed.
  returned: success
  type: float
  sample: 1795225858.2
already_done:
  description: This very step was finished here before; its result is returned again.
  returned: success
  type: bool
"""

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import (
    StepContext,
    StepFailed,
    StepOutcome,
    run_step_module,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._phi import PhiDetector
from ansible_collections.codeblue.recovery.plugins.module_utils._phi_scrub import ProtectedLogs


def perform(params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    """Close or scrub."""
    logs = ProtectedLogs(params["protected_dir"])
    return _close(logs, params, context) if params["state"] == "closed" else _scrub(logs, params, context)


def _close(logs: ProtectedLogs, params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    found = logs.unfinished() + logs.to_close(params["log_files"])
    before = {"open": [each.path for each in found], **logs.describe()}
    if not found or context.check_mode:
        after = {"open": [], "protected": sorted({*before["protected"], *before["open"]}), "bytes": before["bytes"]}
        return StepOutcome(bool(found), before, after if found else before, {"kept": logs.kept_paths()})
    context.accept(before)
    logs.close(found)
    return StepOutcome(True, before, {"open": [], **logs.describe()}, {"kept": logs.kept_paths()})


def _scrub(logs: ProtectedLogs, params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    before = {"open": [], **logs.describe()}
    if not logs.originals:
        return StepOutcome(False, before, before, {"kept": [], "scrubbed": {}})
    if context.check_mode:
        return StepOutcome(True, before, {"open": [], "protected": [], "bytes": 0}, {"kept": [], "scrubbed": {}})
    stale = logs.stale(params["evidence"])
    if stale:
        raise StepFailed(
            "%d originals are not kept as evidence as they are now" % len(stale),
            "keep them once more, after the program that wrote them has ended",
            {"changed": False, "before": before, "after": before, "stale": stale},
        )
    context.accept(before)
    detector = PhiDetector(params["identifiers"], params["fields"], params["ignore"])
    scrubbed = logs.scrub(detector, Deadline(params["timeout"]))
    return StepOutcome(True, before, {"open": [], **logs.describe()}, {"kept": [], "scrubbed": scrubbed})


def main() -> None:
    """Entry point."""
    run_step_module(
        {
            "log_files": {"type": "list", "elements": "path", "required": True},
            "state": {"type": "str", "required": True, "choices": ["closed", "scrubbed"]},
            "protected_dir": {"type": "path", "required": True},
            "evidence": {"type": "dict", "default": {}},
            "identifiers": {"type": "dict", "default": {}},
            "fields": {"type": "dict", "default": {}},
            "ignore": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "float", "default": 60.0},
        },
        perform,
    )


if __name__ == "__main__":
    main()
