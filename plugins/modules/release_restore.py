#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Restores damaged files of a release."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_restore
short_description: Compare a release with its manifest, and restore what is damaged from an intact copy
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Reads every file of a release and compares it with the release's C(MANIFEST.sha256). Compiled Python below
    C(__pycache__) is left aside.
  - Replaces each damaged or missing file by a copy of the same version that has the digest of the manifest, by a
    rename, and compares the whole release again. A copy that is damaged too is not used.
  - Restarting the service is another step.
options:
  release_root:
    description: Absolute path, with C(releases/<version>/) and the symbolic link C(current).
    type: path
    required: true
  mode:
    description:
      - V(inspect) only compares, and says for which damaged files there are intact copies.
      - V(read) returns the content of O(names) in base 64 for a release on another machine; use it with C(no_log).
      - V(restore) restores. The other two need no O(step).
    type: str
    choices: [inspect, read, restore]
    default: inspect
  version:
    description: The version. The current one when it is left out.
    type: str
  sources:
    description: Directories of this machine that hold copies of releases as C(<version>/).
    type: list
    elements: path
    default: []
  contents:
    description: File to content in base 64, from another machine. Used where O(sources) have no intact copy.
    type: dict
    default: {}
  names:
    description: What V(read) returns, relative to the release. 4 MB together at most.
    type: list
    elements: str
    default: []
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
- name: See whether the release of the AI service is as it was released
  codeblue.recovery.release_restore:
    release_root: /srv/ai
    sources: [/var/cache/releases/ai]
"""

RETURN = r"""
before:
  description:
    - The C(version), how many C(files) its manifest lists, which of them are C(damaged) or missing, files C(added) that
      it does not list, and the digest of the manifest itself.
  returned: success
  type: dict
  sample: {version: 1.4.0, files: 31, damaged: [model.json], added: [], manifest_sha256: 5f0c9a2b7d41}
after:
  description: The same afterwards.
  returned: success
  type: dict
  sample: {version: 1.4.0, files: 31, damaged: [], added: [], manifest_sha256: 5f0c9a2b7d41}
copies:
  description: Damaged file to the intact copy of it on this machine, where there is one.
  returned: with O(mode=inspect) or O(mode=restore)
  type: dict
  sample: {model.json: /var/cache/releases/ai/1.4.0/model.json}
restored:
  description: Restored file to where its copy came from.
  returned: with O(mode=restore)
  type: dict
  sample: {model.json: /var/cache/releases/ai/1.4.0/model.json}
contents:
  description: File to content in base 64.
  returned: with O(mode=read)
  type: dict
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
    StepFailed,
    StepOutcome,
    run_step_module,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._reconcilers import Touched
from ansible_collections.codeblue.recovery.plugins.module_utils._release import ReleaseRoot
from ansible_collections.codeblue.recovery.plugins.module_utils._release_restore import (
    find_copies,
    inspect,
    read_files,
    remove_leftovers,
    restore_files,
)


def perform(params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    """Compare, and restore what can be."""
    root = ReleaseRoot(params["release_root"])
    version = params["version"] or root.current()
    if version is None:
        raise BadInput("release_root: %s has no current release" % root.path, "name the version")
    found = inspect(root, version)
    before = found.as_dict()
    if params["mode"] == "read":
        return StepOutcome(False, before, before, {"contents": read_files(found, params["names"])})
    copies = find_copies(found, params["sources"])
    if params["mode"] == "inspect":
        return StepOutcome(False, before, before, {"copies": copies})
    usable = [name for name in found.damaged if name in copies or name in params["contents"]]
    if context.check_mode or not usable:
        left = [name for name in found.damaged if name not in usable]
        after = {**before, "damaged": left[:100]}
        _fail_if_damaged(after, before, changed=False)
        return StepOutcome(bool(usable), before, after, {"copies": copies, "restored": dict.fromkeys(usable, "")})
    context.accept(before)
    remove_leftovers(found)
    restored = restore_files(found, copies, params["contents"])
    after = inspect(root, version).as_dict()
    _fail_if_damaged(after, before, changed=True)
    return StepOutcome(True, before, after, {"copies": copies, "restored": restored})


def _fail_if_damaged(after: t.Dict[str, t.Any], before: t.Dict[str, t.Any], changed: bool) -> None:
    if after["damaged"]:
        raise StepFailed(
            "release %s: there is no intact copy of %s" % (after["version"], after["damaged"][0]),
            "release it anew, or roll back to the version before",
            {"changed": changed, "before": before, "after": after},
        )


def main() -> None:
    """Entry point."""
    run_step_module(
        {
            "release_root": {"type": "path", "required": True},
            "mode": {"type": "str", "default": "inspect", "choices": ["inspect", "read", "restore"]},
            "version": {"type": "str"},
            "sources": {"type": "list", "elements": "path", "default": []},
            "contents": {"type": "dict", "default": {}},
            "names": {"type": "list", "elements": "str", "default": []},
        },
        perform,
        touches=lambda params: Touched(files=(os.path.join(params["release_root"], "releases"),)),
        only_looks=lambda params: params["mode"] != "restore",
        required_if=[("mode", "read", ["names"])],
    )


if __name__ == "__main__":
    main()
