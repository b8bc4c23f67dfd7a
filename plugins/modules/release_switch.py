#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Switches a service's release directory."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_switch
short_description: Point a service to another release at once, or list its releases
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Under O(release_root) lie C(releases/<version>/), a symbolic link C(current) and C(history.jsonl).
  - Reads every file of the release and compares it with its C(MANIFEST.sha256), in the format of C(sha256sum), before
    it switches. Compiled Python below C(__pycache__) is left aside.
  - Replaces the link by a rename and appends to the history, flushed to disk. Restarting the service is another step.
options:
  release_root:
    description: Absolute path.
    type: path
    required: true
  mode:
    description: V(switch) changes C(current). V(list) only tells what there is and needs no O(step).
    type: str
    choices: [switch, list]
    default: switch
  version:
    description: The version to switch to. Required with O(mode=switch).
    type: str
  manifest:
    description: V(required) refuses a release without a manifest, V(when_present) takes it as it is.
    type: str
    choices: [required, when_present]
    default: when_present
  manifest_sha256:
    description: What the manifest itself must hash to, as its publisher said.
    type: str
  reason:
    description: One line for the history.
    type: str
  needs_file:
    description: File inside of a release whose first word is the newest schema migration that the release needs.
    type: str
  history_entries:
    description: How many entries of the history are returned.
    type: int
    default: 20
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
"""

EXAMPLES = r"""
- name: See which releases there are
  codeblue.recovery.release_switch:
    release_root: /srv/records
    mode: list
"""

RETURN = r"""
before:
  description: The version that was current.
  returned: success
  type: dict
  sample: {current: 1.4.0}
after:
  description: The version that is current now.
  returned: success
  type: dict
  sample: {current: 1.3.2}
available:
  description: The versions there are.
  returned: success
  type: list
  elements: str
  sample: [1.3.2, 1.4.0]
needs:
  description: The newest schema migration that each version needs, of those that say it.
  returned: with O(needs_file)
  type: dict
  sample: {1.3.2: "0041", 1.4.0: "0042"}
history:
  description: What was current when, newest first.
  returned: success
  type: list
  elements: dict
  sample: [{version: 1.4.0, previous: 1.3.2, deployed_at: "2026-01-02T09:00:00.000000Z"}]
files_verified:
  description: How many files were compared with the manifest.
  returned: with O(mode=switch)
  type: int
left:
  description: What it leaves behind, for C(reconcilers_look) to see later whether it is still so.
  returned: success
  type: list
  elements: dict
  sample: [{kind: link, path: /srv/records/current, value: releases/1.4.2}]
reconcilers:
  description: Who else keeps what was changed and is only told of. In check mode also who would be suspended or asked.
  returned: when there is one
  type: list
  elements: dict
  sample: [{name: puppet, treatment: suspend, about: [/etc/records/config.json], evidence: its agent runs,
            undo: puppet agent --enable, advice: null}]
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

import os
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import (
    StepContext,
    StepOutcome,
    run_step_module,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._left_behind import link_left
from ansible_collections.codeblue.recovery.plugins.module_utils._reconcilers import Touched
from ansible_collections.codeblue.recovery.plugins.module_utils._release import ReleaseRoot


def perform(params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    """Switch or list."""
    root = ReleaseRoot(params["release_root"])
    before = {"current": root.current()}
    version = params["version"]
    if params["mode"] == "list":
        return StepOutcome(False, before, before, _told(root, params))
    verified = root.verify(version, params["manifest"] == "required", params["manifest_sha256"])
    changed = before["current"] != version
    if changed and not context.check_mode:
        context.accept(before)
        root.switch(version, _note(params))
    elif context.before_first_attempt is not None and _unrecorded(root, version):
        # The attempt before was cut off between the link and the history.
        root.record(version, context.before_first_attempt["current"], _note(params))
    after = {"current": version if context.check_mode else root.current()}
    return StepOutcome(changed, before, after, {**_told(root, params), "files_verified": verified})


def _unrecorded(root: ReleaseRoot, version: str) -> bool:
    newest = root.history(1)
    return not newest or newest[0]["version"] != version


def _note(params: t.Dict[str, t.Any]) -> t.Dict[str, t.Any]:
    note = {"by": "codeblue", "run_id": params["step"]["run_id"]}
    return {**note, "reason": params["reason"]} if params["reason"] else note


def _told(root: ReleaseRoot, params: t.Dict[str, t.Any]) -> t.Dict[str, t.Any]:
    if params["history_entries"] < 0:
        raise BadInput("history_entries: %d is negative" % params["history_entries"])
    told: t.Dict[str, t.Any] = {"available": root.available(), "history": root.history(params["history_entries"])}
    if params["needs_file"]:
        told["needs"] = {each: need for each in told["available"] if (need := root.needs(each, params["needs_file"]))}
    return told


def _link(params: t.Dict[str, t.Any]) -> str:
    return os.path.join(params["release_root"], "current")


def main() -> None:
    """Entry point."""
    run_step_module(
        {
            "release_root": {"type": "path", "required": True},
            "mode": {"type": "str", "default": "switch", "choices": ["switch", "list"]},
            "version": {"type": "str"},
            "manifest": {"type": "str", "default": "when_present", "choices": ["required", "when_present"]},
            "manifest_sha256": {"type": "str"},
            "reason": {"type": "str"},
            "needs_file": {"type": "str"},
            "history_entries": {"type": "int", "default": 20},
        },
        perform,
        touches=lambda params: Touched(files=(_link(params),)),
        leaves=lambda params: [link_left(_link(params))],
        only_looks=lambda params: params["mode"] == "list",
        required_if=[("mode", "switch", ["version"])],
    )


if __name__ == "__main__":
    main()
