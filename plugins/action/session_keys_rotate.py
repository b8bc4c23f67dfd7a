# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ends all sessions: a new pair of keys at every consumer, and proof that a token from before is refused."""

from __future__ import annotations

import secrets
import typing as t
from collections.abc import Sequence

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_sessions import SessionKeys
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change, OpenRun, StepAction

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._good_keys import keeping
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._session_proof import prove_change
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._session_tokens import SessionProof, new_pair

    _MISSING: ImportError | None = None
except ImportError as error:
    _MISSING = error

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import Consumer

_RESTART_SECONDS = 20.0


class ActionModule(StepAction):
    """See plugins/modules/session_keys_rotate.py."""

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
        machines = sorted({each.machine for each in keys.consumers})
        if self.check_mode:
            said = f"would end all sessions by new keys on {', '.join(machines)}"
            return {"changed": True, "machines": machines, "codeblue": {"summary": said}}
        proven = self._once(service, keys, machines, arguments["reason"])
        old = "a token from before is refused" if proven["old_refused"] else "no token from before was to be had"
        return {
            "changed": bool(proven.get("changed", True)),
            "machines": machines,
            "old_refused": proven["old_refused"],
            "codeblue": {"summary": f"ended all sessions by new keys on {', '.join(machines)}; {old}"},
        }

    def _once(self, service: Service, keys: SessionKeys, machines: Sequence[str], reason: str) -> dict[str, t.Any]:
        """The whole rotation is one step: a key that was lost with its process is replaced by another."""
        run = self.open_run()
        earlier = [
            step for step in run.store.steps(run.run_id) if step.target == self.target and step.stage == self.STAGE
        ]
        parts = ("key_signing_", "key_verification_", "key_reload_", "key_keep_")
        attempt = 1 + max(
            (int(step.action.rsplit("_", 1)[1]) for step in earlier if step.action.startswith(parts)), default=0
        )
        for step in earlier:
            if step.finished_at is None and step.action.startswith(parts):
                # Whatever came of it, its key is lost with its process; this attempt makes another one.
                lost = {"error": f"its key is lost, attempt {attempt} replaces it"}
                run.store.finish_step(step, "failed", lost, changed=True)

        def work(_run: OpenRun) -> dict[str, t.Any]:
            return self._rotate(service, keys, attempt)

        decision = {"machines": list(machines), "sessions": "end", "reason": reason[:200]}
        return self.local_change("session_keys", decision, work)

    def _rotate(self, service: Service, keys: SessionKeys, attempt: int) -> dict[str, t.Any]:
        proof = SessionProof(service, keys, self._secrets.add)
        before = proof.log_in()
        private, public = new_pair()
        salt = secrets.token_hex(16)
        self._secrets.add(private)
        hand_overs = [
            *self._hand_overs("signing", keys.signing, private, salt, attempt),
            *self._hand_overs("verification", keys.verification, public, salt, attempt),
        ]
        for ended in self.changes(hand_overs):
            ended.checked()
        # At once: for as long as one has the new key and another one the old, nobody's session works.
        for ended in self.changes(self._restarts(keys.consumers, attempt)):
            ended.checked()
        prove_change(proof, before, self.target)
        # The one before may be known to somebody else: what was kept of it goes with this.
        lock_dirs = {each.machine: self._lock_dir(each.machine) for each in keys.signing}
        for ended in self.changes(
            keeping(keys, private, lock_dirs, self.target, salt, f"key_keep_{{number}}_{attempt}")
        ):
            ended.checked()
        return {"changed": True, "old_refused": before is not None}

    def _hand_overs(
        self, kind: str, consumers: Sequence[Consumer], value: str, salt: str, attempt: int
    ) -> list[Change]:
        return [
            Change(
                action=f"key_{kind}_{number}_{attempt}",
                machine=consumer.machine,
                module="secret_file",
                arguments={
                    "path": consumer.secret_file,
                    "value": value,
                    "digest_salt": salt,
                    "kind": "secret" if kind == "signing" else "public",
                },
                decision={"file": consumer.secret_file, "reason": "all sessions end"},
            )
            for number, consumer in enumerate({(each.machine, each.secret_file): each for each in consumers}.values())
        ]

    def _restarts(self, consumers: Sequence[Consumer], attempt: int) -> list[Change]:
        units = {(each.machine, each.process): each for each in consumers if each.reload == "restart"}
        return [
            Change(
                action=f"key_reload_{number}_{attempt}",
                machine=machine,
                module="process_state",
                arguments={"units": [{**process.as_arguments(), "state": "restarted"}], "timeout": _RESTART_SECONDS},
                decision={"unit": process.unit, "reason": "it reads its key when it starts"},
                seconds=_RESTART_SECONDS + 5.0,
            )
            for number, (machine, process) in enumerate(units)
        ]
