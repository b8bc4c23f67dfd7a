#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Sets feature flags."""

from __future__ import annotations

DOCUMENTATION = r"""
module: feature_flag
short_description: Set feature flags of a service at once, and see whether they stay so
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Sets flags in a JSON file, replaced by a rename, or by a command of the machine. All other flags stay as they are.
  - Looks again after O(settle). When somebody puts a flag back, such as a configuration management that owns the file,
    it fails and says so, because the flag cannot be relied on.
  - A file that holds no JSON object is never overwritten.
  - Tells which states the flags had since when, where one of O(history_file), O(history_command) and O(work_tree) says
    where that is kept. To O(history_file) it adds what it sets.
options:
  path:
    description:
      - A file that holds one JSON object with all flags. Made when it is missing and its directory is there.
      - Owner and mode are kept. A symbolic link is followed.
    type: path
  read_command:
    description: Program and arguments that print all flags as one JSON object.
    type: list
    elements: str
  write_command:
    description: Program and arguments that take one JSON object with the changes on standard input. Null takes away.
    type: list
    elements: str
  flags:
    description:
      - Name to value, which is true, false, a number or a text. Null takes the flag away.
      - Without any, the module only tells what there is and needs no O(step).
    type: dict
    default: {}
  expect:
    description: Refuse unless these flags have these values right now, for whoever builds on what it set before.
    type: dict
    default: {}
  history_file:
    description:
      - A file that holds one JSON object a line with C(changed_at), C(flags) and C(by), the newest at its end.
      - Made when it is missing. Deployments that set flags add a line as well; a state that nobody wrote down counts as
        of the last change of O(path).
    type: path
  history_command:
    description: Program and arguments that print the states as a JSON list of objects with C(changed_at) and C(flags).
    type: list
    elements: str
  work_tree:
    description: Work tree of a git repository that holds O(path).
    type: path
  git_dir:
    description: The repository, when it is not C(.git) in O(work_tree).
    type: path
  history_entries:
    description: How many states to look at.
    type: int
    default: 20
  reason:
    description: Why the flags are set, for O(history_file).
    type: str
  settle:
    description: Seconds after which it looks whether the flags are still as they were set.
    type: float
    default: 0.5
  timeout:
    description: Seconds for the commands, all together.
    type: float
    default: 10.0
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
- name: See what switching the suggestions off would change
  codeblue.recovery.feature_flag:
    path: /etc/records/flags.json
    flags: {ai_enabled: false}
  check_mode: true
  diff: true

- name: See the flags of a service that keeps them with a tool
  codeblue.recovery.feature_flag:
    read_command: [/usr/local/bin/flagctl, dump, records]
    write_command: [/usr/local/bin/flagctl, patch, records]

- name: See which states the flags had
  codeblue.recovery.feature_flag:
    path: /etc/records/flags.json
    history_file: /etc/records/flags.history.jsonl
"""

RETURN = r"""
before:
  description: The flags named in O(flags), or all when none is. V(null) for one that was not there.
  returned: success
  type: dict
  sample: {ai_enabled: true}
after:
  description: The same afterwards.
  returned: success
  type: dict
  sample: {ai_enabled: false}
history:
  description:
    - The states, the present one first. RV(ignore:version) is a digest of the flags, so that equal flags are the same
      version. RV(ignore:changed_at) is V(null) when nobody knows.
  returned: when no flag is set and a history is named
  type: list
  elements: dict
  sample: [{version: 5f0c9a2b7d4191be, changed_at: "2026-01-02T09:00:00.000000Z", by: ops, flags: {ai_enabled: true}}]
kept:
  description: How many other flags there are.
  returned: success
  type: int
left:
  description: What it leaves behind, for C(reconcilers_look) to see later whether it is still so.
  returned: success
  type: list
  elements: dict
  sample: [{kind: flags, path: /etc/records/flags.json, value: {ai_enabled: false}}]
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
import time
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, Refused
from ansible_collections.codeblue.recovery.plugins.module_utils._feature_flag import (
    FlagProvider,
    check_names,
    flag_provider,
    same,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._flag_history import FlagHistory
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import (
    StepContext,
    StepFailed,
    StepOutcome,
    run_step_module,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._left_behind import flags_left
from ansible_collections.codeblue.recovery.plugins.module_utils._reconcilers import Touched

_MOST_STATES = 200


def perform(params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    """Set what is not so yet."""
    wanted, expected = params["flags"], params["expect"]
    check_names(wanted)
    deadline = Deadline(params["timeout"])
    provider = flag_provider(params, deadline)
    history = FlagHistory(params, deadline)
    found = provider.read()
    if not wanted and history.kept:
        return StepOutcome(False, found, found, {"kept": len(found), "history": _states(history, found, params)})
    before = {name: found.get(name) for name in wanted} if wanted else dict(found)
    extra = {"kept": len(set(found) - set(wanted))}
    needed = {name: value for name, value in wanted.items() if not same(found.get(name), value)}
    if not needed:
        return StepOutcome(False, before, before, extra)
    # A flag that an earlier, interrupted attempt of this step has set is as expected too.
    expected = {name: value for name, value in expected.items() if name not in wanted or name in needed}
    _refuse_unexpected(found, expected)
    if context.check_mode:
        return StepOutcome(True, before, dict(wanted), extra)
    since = history.modified_at()
    context.accept(before)
    provider.write(needed)
    said = "codeblue, run %s: %s" % ((params["step"] or {}).get("run_id"), params["reason"] or "no reason given")
    history.record(found, provider.read(), since, said)
    after = _settled(provider, wanted, params["settle"], before)
    return StepOutcome(True, before, after, extra)


def _states(
    history: FlagHistory, found: t.Dict[str, t.Any], params: t.Mapping[str, t.Any]
) -> t.List[t.Dict[str, t.Any]]:
    entries = params["history_entries"]
    if not 1 <= entries <= _MOST_STATES:
        raise BadInput("history_entries: %d is not between 1 and %d" % (entries, _MOST_STATES))
    return [state.as_dict() for state in history.states(found, entries)]


def _refuse_unexpected(found: t.Mapping[str, t.Any], expected: t.Mapping[str, t.Any]) -> None:
    for name, value in expected.items():
        if not same(found.get(name), value):
            raise Refused(
                "flag %s is %r and not %r any more: somebody else has changed it" % (name, found.get(name), value),
                "find out who changes it before it is changed again",
            )


def _settled(
    provider: FlagProvider, wanted: t.Mapping[str, t.Any], seconds: float, before: t.Mapping[str, t.Any]
) -> t.Dict[str, t.Any]:
    """The flags after a moment.

    :raises StepFailed: somebody has put one of them back.
    """
    time.sleep(max(0.0, min(seconds, 30.0)))
    flags = provider.read()
    after = {name: flags.get(name) for name in wanted}
    lost = sorted(name for name, value in wanted.items() if not same(after[name], value))
    if lost:
        raise StepFailed(
            "flag %s was put back to %r within %.1f s: somebody else keeps it" % (lost[0], after[lost[0]], seconds),
            "change it where its owner takes it from, such as the configuration management",
            {"changed": True, "before": dict(before), "after": after, "put_back": lost},
        )
    return after


def _files(params: t.Dict[str, t.Any]) -> t.Tuple[str, ...]:
    """The file, and what a link of that name points to."""
    path = params["path"]
    return tuple(dict.fromkeys([path, os.path.realpath(path)])) if path else ()


def main() -> None:
    """Entry point."""
    run_step_module(
        {
            "path": {"type": "path"},
            "read_command": {"type": "list", "elements": "str"},
            "write_command": {"type": "list", "elements": "str"},
            "flags": {"type": "dict", "default": {}},
            "expect": {"type": "dict", "default": {}},
            "history_file": {"type": "path"},
            "history_command": {"type": "list", "elements": "str"},
            "work_tree": {"type": "path"},
            "git_dir": {"type": "path"},
            "history_entries": {"type": "int", "default": 20},
            "reason": {"type": "str"},
            "settle": {"type": "float", "default": 0.5},
            "timeout": {"type": "float", "default": 10.0},
        },
        perform,
        touches=lambda params: Touched(files=_files(params)),
        leaves=lambda params: [flags_left(path, params["flags"]) for path in _files(params)[:1]],
        only_looks=lambda params: not params["flags"],
        required_one_of=[("path", "read_command")],
        mutually_exclusive=[("path", "read_command"), ("path", "write_command")],
        required_together=[("read_command", "write_command")],
    )


if __name__ == "__main__":
    main()
