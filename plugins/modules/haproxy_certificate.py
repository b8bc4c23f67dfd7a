#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Gives a running HAProxy another certificate."""

from __future__ import annotations

DOCUMENTATION = r"""
module: haproxy_certificate
short_description: Replace a certificate of a running HAProxy
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Gives the running HAProxy the new certificate over its runtime socket, so that no connection is dropped, and writes
    it into the file that HAProxy reads at its next start.
  - HAProxy itself checks that key and certificate belong together before anything changes.
  - The key is never returned, logged or written anywhere else. Results tell certificates apart by serial numbers.
options:
  socket:
    description: Runtime socket with the level C(admin).
    type: path
    required: true
  file:
    description: The file, as the configuration of HAProxy names it.
    type: path
    required: true
  bundle:
    description: Certificate, chain and private key, PEM.
    type: str
    required: true
  serial:
    description: Serial number of the new certificate, hexadecimal, by which it is known whether it is shown.
    type: str
    required: true
  timeout:
    description: Seconds for all questions to the socket.
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
- name: See which certificate would be replaced
  codeblue.recovery.haproxy_certificate:
    socket: /run/haproxy/admin.sock
    file: /etc/haproxy/certs/login.pem
    bundle: "{{ new_bundle }}"
    serial: 5F0C9A2B7D41
  check_mode: true
  no_log: true
"""

RETURN = r"""
before:
  description: The certificate that clients were shown.
  returned: success
  type: dict
  sample: {serial: 1A2B3C, not_after: "Jan 31 14:05:00 2026 GMT"}
after:
  description: The one that they are shown now.
  returned: success
  type: dict
  sample: {serial: 5F0C9A2B7D41, not_after: "May  1 14:05:00 2026 GMT"}
left:
  description: What it leaves behind, for C(reconcilers_look) to see later whether it is still so.
  returned: success
  type: list
  elements: dict
  sample: [{kind: identity, path: /etc/haproxy/login.pem, value: "131:3012:1795225858200000000"}]
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

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._haproxy import HaproxyRuntime
from ansible_collections.codeblue.recovery.plugins.module_utils._haproxy_certificate import (
    LoadedCertificate,
    holds,
    write_bundle,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import (
    StepContext,
    StepOutcome,
    run_step_module,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._left_behind import identity_left
from ansible_collections.codeblue.recovery.plugins.module_utils._reconcilers import Touched


def perform(params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    """Show it to clients first, then keep it for the next start."""
    path, bundle, serial = params["file"], params["bundle"], params["serial"].lstrip("0").upper()
    loaded = LoadedCertificate(HaproxyRuntime(params["socket"], Deadline(params["timeout"])), path)
    before = loaded.describe()
    kept = holds(path, bundle)
    if before["serial"].upper() == serial and kept:
        return StepOutcome(False, before, before)
    if context.check_mode:
        return StepOutcome(True, before, {"serial": serial, "not_after": ""})
    context.accept(before)
    if before["serial"].upper() != serial:
        loaded.replace(bundle)
    if not kept:
        write_bundle(path, bundle)
    after = loaded.describe()
    if after["serial"].upper() != serial:
        raise CodeblueError("HAProxy took the new certificate for %s and does not show it" % path, "look at its log")
    return StepOutcome(True, before, after)


def main() -> None:
    """Entry point."""
    run_step_module(
        {
            "socket": {"type": "path", "required": True},
            "file": {"type": "path", "required": True},
            "bundle": {"type": "str", "required": True, "no_log": True},
            "serial": {"type": "str", "required": True},
            "timeout": {"type": "float", "default": 10.0},
        },
        perform,
        touches=lambda params: Touched(files=(params["file"],)),
        leaves=lambda params: [identity_left(params["file"])],
    )


if __name__ == "__main__":
    main()
