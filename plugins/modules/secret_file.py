#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes a secret into the file of its consumer."""

from __future__ import annotations

DOCUMENTATION = r"""
module: secret_file
short_description: Replace a secret in its consumer's file at once
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Replaces the file by a rename, with the owner and group that it had, or that its directory has. Its owner reads and
    writes it; its group reads it where it could before. A new file has mode C(0600).
  - The value is never returned, logged or kept anywhere else; results tell values apart by keyed digests.
options:
  path:
    description:
      - Absolute path of the file. Its directory has to exist, see O(make_directory). A symbolic link is refused.
    type: path
    required: true
  value:
    description: What the file is to hold, exactly.
    type: str
    required: true
  digest_salt:
    description: A random text of the run by which the digests are keyed, so that they tell nothing outside it.
    type: str
    required: true
  kind:
    description:
      - V(secret) is read by nobody but its owner and, where it was before, its group.
      - V(public) is the public half of a key, for example. Others read it where they could before.
    type: str
    choices: [secret, public]
    default: secret
  make_directory:
    description: Make directories that are missing, each with mode C(0700), instead of failing.
    type: bool
    default: false
  keep_previous:
    description: Keep the earlier value beside the file in C(<path>.previous), mode C(0600).
    type: bool
    default: false
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
- name: See whether the consumer has the new password already
  codeblue.recovery.secret_file:
    path: /etc/records/database.password
    value: "{{ new_password }}"
    digest_salt: "{{ run_salt }}"
  check_mode: true
  no_log: true
"""

RETURN = r"""
before:
  description: Whether there was a file, its mode, and a keyed digest of its content.
  returned: success
  type: dict
  sample: {exists: true, digest: 5f0c9a2b7d41, mode: "0600"}
after:
  description: The same afterwards.
  returned: success
  type: dict
  sample: {exists: true, digest: 91be03c7d2aa, mode: "0600"}
left:
  description: What it leaves behind, for C(reconcilers_look) to see later whether it is still so.
  returned: success
  type: list
  elements: dict
  sample: [{kind: identity, path: /etc/records/password, value: "131:43:1795225858200000000"}]
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

from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import (
    StepContext,
    StepOutcome,
    run_step_module,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._left_behind import identity_left
from ansible_collections.codeblue.recovery.plugins.module_utils._reconcilers import Touched
from ansible_collections.codeblue.recovery.plugins.module_utils._secret_file import (
    KINDS,
    SECRET,
    SecretFile,
    secret_digest,
)


def perform(params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    """Write it unless it is there already."""
    path, salt = params["path"], params["digest_salt"]
    content = params["value"].encode()
    found = SecretFile.read(path, params["make_directory"])
    before = found.describe(salt)
    mode = "%04o" % found.mode_for(params["kind"])
    wished = {"exists": True, "digest": secret_digest(content, salt), "mode": mode}
    if before == wished:
        return StepOutcome(False, before, before)
    if context.check_mode:
        return StepOutcome(True, before, wished)
    context.accept(before)
    found.replace(content, params["keep_previous"], params["kind"])
    return StepOutcome(True, before, SecretFile.read(path).describe(salt))


def main() -> None:
    """Entry point."""
    run_step_module(
        {
            "path": {"type": "path", "required": True},
            "value": {"type": "str", "required": True, "no_log": True},
            "digest_salt": {"type": "str", "required": True, "no_log": True},
            "kind": {"type": "str", "choices": list(KINDS), "default": SECRET},
            "make_directory": {"type": "bool", "default": False},
            "keep_previous": {"type": "bool", "default": False},
        },
        perform,
        touches=lambda params: Touched(files=(params["path"],)),
        leaves=lambda params: [identity_left(params["path"])],
    )


if __name__ == "__main__":
    main()
