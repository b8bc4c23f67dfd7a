# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Gives signers back the last signing key that was proven to be good, when it is the one that verifiers know."""

from __future__ import annotations

import base64
import secrets
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_sessions import SessionKeys
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change, OpenRun, StepAction

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._good_keys import kept_path
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._session_proof import prove_change
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._session_tokens import SessionProof, key_digests

    _MISSING: ImportError | None = None
except ImportError as error:
    _MISSING = error

_READ_SECONDS = 20.0
_RESTART_SECONDS = 20.0


class ActionModule(StepAction):
    """See plugins/modules/session_keys_put_back.py."""

    STAGE = "rotate_secrets"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {"reason": {"type": "str", "default": ""}}

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        keys = service.require_host().session_keys
        if keys is None:
            raise BadInput(
                f"{self.target}: codeblue_host.session_keys is missing", "name there who signs and verifies tokens"
            )
        machines = sorted({each.machine for each in keys.signing})
        key, problem = self._good_key(keys)
        if self.check_mode:
            said = f"would put the last good key back on {', '.join(machines)}" if key else f"would not: {problem}"
            return {"changed": key is not None, "put_back": key is not None, "codeblue": {"summary": said}}

        def work(_run: OpenRun) -> dict[str, t.Any]:
            if key is None:
                return {"changed": False, "put_back": False}
            proof = SessionProof(service, keys, self._secrets.add)
            before = proof.log_in()
            if before is not None and proof.is_taken(before):
                # Of a signer that has the good key, as after an attempt that was cut off half-way: it stays good.
                before = None
            self._hand_back(keys, key)
            # A token of the wrong key was worth nothing at those who verify, and still is.
            prove_change(proof, before, self.target)
            return {"changed": True, "put_back": True}

        decision = {
            "choice": "the last good key" if key else "not the last good key",
            "why": problem or "everybody who verifies knows it, so that sessions were signed with it",
            "sessions": "go on" if key else "end with new keys",
            "reason": arguments["reason"][:200],
        }
        done = self.local_change("put_back_good_key" if key else "no_good_key", decision, work)
        said = f"put the last good key back on {', '.join(machines)}; sessions go on" if key else f"not done: {problem}"
        return {"changed": done["changed"], "put_back": done["put_back"], "codeblue": {"summary": said}}

    def _good_key(self, keys: SessionKeys) -> tuple[str | None, str]:
        """The private key that was kept and that every verifier knows, or why there is none."""
        signers = list(dict.fromkeys(each.machine for each in keys.signing))
        verifiers = list(dict.fromkeys((each.machine, each.secret_file) for each in keys.verification))
        asked = [(machine, kept_path(self._lock_dir(machine), self.target)) for machine in signers]
        answers = self.look(
            [
                MachineCall(machine, "ansible.builtin.slurp", {"src": path}, _READ_SECONDS, check_mode=True)
                for machine, path in [*verifiers, *asked]
            ]
        )
        known: set[str] | None = None
        for answer in answers[: len(verifiers)]:
            held = key_digests(base64.b64decode(answer.result_or_raise().get("content", "")))
            known = held if known is None else known & held
        found = False
        for answer in answers[len(verifiers) :]:
            if answer.result is None:
                # Never kept there, or the machine is silent: another one may have it.
                continue
            private = base64.b64decode(answer.result.get("content", ""))
            self._secrets.add(private.decode("ascii", "replace"))
            found = True
            if len(key_digests(private)) == 1 and key_digests(private) <= (known or set()):
                return private.decode("ascii"), ""
        return None, "the key that was kept is not known to all who verify" if found else "no good key was kept"

    def _hand_back(self, keys: SessionKeys, private: str) -> None:
        salt = secrets.token_hex(16)
        written = [
            Change(
                action=f"put_back_{number}",
                machine=machine,
                module="secret_file",
                arguments={"path": path, "value": private, "digest_salt": salt},
                decision={"file": path, "reason": "the last good key"},
            )
            for number, (machine, path) in enumerate(
                dict.fromkeys((each.machine, each.secret_file) for each in keys.signing)
            )
        ]
        units = dict.fromkeys((each.machine, each.process) for each in keys.signing if each.reload == "restart")
        restarted = [
            Change(
                action=f"put_back_reload_{number}",
                machine=machine,
                module="process_state",
                arguments={"units": [{**process.as_arguments(), "state": "restarted"}], "timeout": _RESTART_SECONDS},
                decision={"unit": process.unit, "reason": "it reads its key when it starts"},
                seconds=_RESTART_SECONDS + 5.0,
            )
            for number, (machine, process) in enumerate(units)
        ]
        for changes in (written, restarted):
            for ended in self.changes(changes):
                ended.checked()
