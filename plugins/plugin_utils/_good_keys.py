# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The last signing key that was proven to be good, kept where only root of a signer's machine can read it.

It is written after a key was proven at everybody who verifies, and never before; the one before it is not kept. It
lies apart from the file that services read, so that whatever writes a wrong key there leaves it alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_sessions import SessionKeys
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change


def kept_path(lock_dir: str, target: str) -> str:
    """Where a signer's machine keeps it."""
    return f"{lock_dir}/kept/{target}/signing.pem"


def keeping(
    keys: SessionKeys, private: str, lock_dirs: dict[str, str], target: str, salt: str, action: str
) -> Sequence[Change]:
    """The changes that keep a key at every signer.

    :param lock_dirs: of the signers' machines.
    :param action: the part of the step key, with `{number}` in it.
    """
    machines = dict.fromkeys(each.machine for each in keys.signing)
    return [
        Change(
            action=action.format(number=number),
            machine=machine,
            module="secret_file",
            arguments={
                "path": kept_path(lock_dirs[machine], target),
                "value": private,
                "digest_salt": salt,
                "make_directory": True,
            },
            decision={"reason": "it was proven at everybody who verifies"},
        )
        for number, machine in enumerate(machines)
    ]
