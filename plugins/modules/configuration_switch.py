#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Puts configuration files back as they were in an earlier revision."""

from __future__ import annotations

DOCUMENTATION = r"""
module: configuration_switch
short_description: Go back to an earlier state of configuration files
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Reads the history of some files from a git repository on the machine, as C(etckeeper) keeps one, and puts them back
    as they were in one of its revisions. Other files in the repository are left alone.
  - A version is a digest of all the files' contents, so that the same contents are the same version whenever they were
    committed, and a state that nobody committed is one too.
  - Each file is replaced by a rename and keeps its mode and owner. What is put back is committed.
  - Contents are never returned.
options:
  work_tree:
    description: The directory that the repository's paths are relative to, such as C(/etc).
    type: path
    required: true
  git_dir:
    description: The repository, when it is not C(.git) in O(work_tree).
    type: path
  files:
    description: Absolute paths of the files.
    type: list
    elements: path
    required: true
  mode:
    description: V(list) only shows the history.
    type: str
    choices: [switch, list]
    default: switch
  version:
    description: The version to go back to, from the history.
    type: str
  reason:
    description: Why, for the commit.
    type: str
  history_entries:
    description: How many revisions to look at.
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
- name: See which states the configuration had
  codeblue.recovery.configuration_switch:
    work_tree: /etc
    files: [/etc/records/config.json]
    mode: list
"""

RETURN = r"""
before:
  description: The version that lay there.
  returned: success
  type: dict
  sample: {current: 5f0c9a2b7d4191be}
after:
  description: The version that lies there now.
  returned: success
  type: dict
  sample: {current: 03c7d2aa5f0c9a2b}
history:
  description: The versions, the present one first. RV(ignore:commit) is V(null) for what nobody committed.
  returned: success
  type: list
  elements: dict
  sample: [{version: 5f0c9a2b7d4191be, commit: null, deployed_at: "2026-01-02T09:00:00.000000Z", by: uncommitted}]
files_changed:
  description: The files that were put back.
  returned: with O(mode=switch)
  type: list
  elements: str
  sample: [/etc/records/config.json]
left:
  description: What it leaves behind, for C(reconcilers_look) to see later whether it is still so.
  returned: success
  type: list
  elements: dict
  sample: [{kind: content, path: /etc/records/config.json, value: 5f0c9a2b}]
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

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._configuration_history import ConfigurationHistory
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import (
    StepContext,
    StepOutcome,
    run_step_module,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._left_behind import content_left
from ansible_collections.codeblue.recovery.plugins.module_utils._reconcilers import Touched

_MOST_REVISIONS = 200


def perform(params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    """Switch or list."""
    entries = params["history_entries"]
    if not 1 <= entries <= _MOST_REVISIONS:
        raise BadInput("history_entries: %d is not between 1 and %d" % (entries, _MOST_REVISIONS))
    kept = ConfigurationHistory(params["work_tree"], params["git_dir"], params["files"])
    history = kept.history(entries)
    shown = {"history": [each.as_dict() for each in history]}
    before = {"current": kept.present()}
    version = params["version"]
    if params["mode"] == "list":
        return StepOutcome(False, before, before, shown)
    if version not in {each.version for each in history}:
        raise BadInput("version: %r is not in the history" % version, "list the history to see which there are")
    changed = before["current"] != version
    files: t.List[str] = []
    note = "Rolled back by codeblue, run %s" % (params["step"] or {}).get("run_id")
    if changed and not context.check_mode:
        context.accept(before)
        # What lies there uncommitted is worth keeping: it is the evidence of what was wrong.
        kept.commit("Before a rollback by codeblue: the state that was found")
        files = kept.restore(version, history, "%s: %s" % (note, params["reason"] or "no reason given"))
    elif context.before_first_attempt is not None and not context.check_mode:
        # The attempt before was cut off between the files and the commit.
        kept.commit(note)
    after = {"current": version if context.check_mode else kept.present()}
    return StepOutcome(changed, before, after, {**shown, "files_changed": files})


def main() -> None:
    """Entry point."""
    run_step_module(
        {
            "work_tree": {"type": "path", "required": True},
            "git_dir": {"type": "path"},
            "files": {"type": "list", "elements": "path", "required": True},
            "mode": {"type": "str", "default": "switch", "choices": ["switch", "list"]},
            "version": {"type": "str"},
            "reason": {"type": "str"},
            "history_entries": {"type": "int", "default": 20},
        },
        perform,
        touches=lambda params: Touched(files=tuple(params["files"])),
        leaves=lambda params: [content_left(path) for path in params["files"]],
        only_looks=lambda params: params["mode"] == "list",
        required_if=[("mode", "switch", ["version"])],
    )


if __name__ == "__main__":
    main()
