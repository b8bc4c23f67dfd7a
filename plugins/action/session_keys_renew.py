# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Replaces the keys of session tokens while people work: verified first, then signed with, the old one refused last."""

from __future__ import annotations

import base64
import secrets
import time
import typing as t
from collections.abc import Sequence

from ansible_collections.codeblue.recovery.plugins.module_utils._duration import parse_duration
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_sessions import SessionKeys
from ansible_collections.codeblue.recovery.plugins.plugin_utils._rotation_action import (
    INTERRUPTION,
    HandOver,
    RotationAction,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._good_keys import keeping, kept_path
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._process_identity import ProcessIdentity
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._secret_consumers import secrets_of
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._session_proof import (
        until_proven,
        who_refuses,
        who_takes,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._session_signatures import (
        blocks,
        is_signed_with,
        signed_anew,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._session_tokens import (
        SessionProof,
        key_digests,
        new_pair,
        public_of,
    )

    _MISSING: ImportError | None = None
except ImportError as error:
    _MISSING = error

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import Consumer

_PREFIX = "keys_renew_"
_FINISH = "finish_change_of_keys"
_LOOK_SECONDS = 20.0
_BEAT_SECONDS = 10.0
_EMERGENCY = "repair them first: codeblue run authentication_system_down"
_FORGOTTEN = "is a consumer missing in codeblue_host.session_keys?"


class ActionModule(RotationAction):
    """See plugins/modules/session_keys_renew.py."""

    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "overlap": {"type": "str", "default": ""},
        "wait_at_most": {"type": "str", "default": "20m"},
        "interruption": INTERRUPTION,
        "reason": {"type": "str", "default": ""},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        keys = service.require_host().session_keys
        if keys is None:
            raise BadInput(
                f"{self.target}: codeblue_host.session_keys is missing", "name there who signs and verifies tokens"
            )
        overlap = self._overlap(keys, arguments["overlap"])
        self._every = self.every_service()
        self._reason = arguments["reason"][:200] or "a planned rotation"
        files = self.read_files(keys.consumers)
        under_way = self._under_way(keys, files)
        ways = [each for each in secrets_of(service) if each.what in ("signing key", "verification key")]
        self.refuse_missing_consumers(ways)
        interrupted = self.check_interruption(keys.consumers, self._every, arguments["interruption"])
        machines = sorted({each.machine for each in keys.consumers})
        if self.check_mode:
            verb = "would finish the change of keys that is under way" if under_way else "would give new keys"
            what = f"{verb} on {', '.join(machines)}; a token of the old key is taken for {overlap:g} s from then on"
            what += f"; interrupts {', '.join(interrupted)}" if interrupted else ""
            return {"changed": True, "machines": machines, "codeblue": {"summary": what}}
        if self.done_earlier(_FINISH):
            said = f"the keys on {', '.join(machines)} were renewed before this run was cut off"
            return {"changed": False, "machines": machines, "old_refused": True, "codeblue": {"summary": said}}
        attempt = self.next_attempt(_PREFIX)
        proof = SessionProof(service, keys, self._secrets.add)
        since = self._last_signer_changed(keys)
        # The old one itself is needed for the proof; while it is taken it is the last one that was kept.
        old = self._kept(keys) if under_way else sorted({files[_place(each)] for each in keys.signing})
        if not under_way:
            files, since = self._change_over(keys, files, proof, attempt)
        left = since + overlap - time.time()
        if left > parse_duration(arguments["wait_at_most"]):
            until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since + overlap))
            said = f"everybody signs with a new key; the old one is taken until {until}: run this again then"
            return {"changed": True, "machines": machines, "old_refused": False, "codeblue": {"summary": said}}
        self._wait(left)
        proven = self._finish(keys, files, old, proof, attempt)
        said = f"renewed the keys on {', '.join(machines)}; a token of the old one is refused"
        said += "" if proven else ", by the files of all who verify: no such token could be had"
        return {"changed": True, "machines": machines, "old_refused": True, "codeblue": {"summary": said}}

    def _overlap(self, keys: SessionKeys, given: str) -> float:
        if given:
            return parse_duration(given)
        if keys.token_lifetime is None:
            raise BadInput(
                f"{self.target}: codeblue_host.session_keys.token_lifetime is missing",
                "say how long a token is valid; for so long the old key is taken beside the new one",
            )
        return keys.token_lifetime

    def _under_way(self, keys: SessionKeys, files: dict[tuple[str, str], str]) -> bool:
        """Everybody signs with one key, and verifiers know another: only the refusal of that is left.

        :raises CodeblueError: the keys do not fit, so that nothing can be planned on them.
        """
        signed = {_place(each): key_digests(files[_place(each)].encode()) for each in keys.signing}
        known = {_place(each): key_digests(files[_place(each)].encode()) for each in keys.verification}
        empty = [place for place, digests in signed.items() if len(digests) != 1]
        if empty:
            raise CodeblueError(f"{self.target}: {empty[0][0]}: {empty[0][1]} does not hold one key", _EMERGENCY)
        used = set().union(*signed.values())
        for (machine, path), digests in known.items():
            if not used <= digests:
                raise CodeblueError(
                    f"{self.target}: {machine}: {path} does not verify what everybody signs: nothing was changed",
                    _EMERGENCY,
                )
        if len(used) > 1 or all(digests == used for digests in known.values()):
            return False
        # Verifiers were written first: what came after them is a signer's new key.
        return self._last_signer_changed(keys) >= max(self._changed_at(keys.verification))

    def _change_over(
        self, keys: SessionKeys, files: dict[tuple[str, str], str], proof: SessionProof, attempt: int
    ) -> tuple[dict[tuple[str, str], str], float]:
        """New ones work, then everybody uses them; returns the files as they are afterwards and the time."""
        private, public = new_pair()
        self._secrets.add(private)
        added = {
            _place(each): "".join(dict.fromkeys([*blocks(files[_place(each)]), public])) for each in keys.verification
        }
        verifying = [HandOver(each, added[_place(each)], files[_place(each)], "public") for each in keys.verification]
        signing = [HandOver(each, private, files[_place(each)]) for each in keys.signing]

        def work(_run: OpenRun) -> dict[str, t.Any]:
            self.roll(f"{_PREFIX}verify", attempt, verifying, self._every, self._reason)
            token = proof.log_in()
            made = None if token is None else signed_anew(token, private, time.time())
            if made is not None:
                self._secrets.add(made)
                until_proven(lambda: _refused(who_refuses(proof, made, keys.use_urls)), self.target, _FORGOTTEN)
            self.roll(f"{_PREFIX}sign", attempt, signing, self._every, self._reason, lambda: self._taken(proof, keys))
            self._all_sign_with(proof, keys, public)
            return {"changed": True, "proven_before_use": made is not None}

        self.local_change("begin_change_of_keys", {"reason": self._reason}, work)
        after = {**files, **added, **{_place(each): private for each in keys.signing}}
        return after, time.time()

    def _taken(self, proof: SessionProof, keys: SessionKeys) -> None:
        """What signers give out now is taken; behind the gateway a login may meet any of them."""

        def problem() -> str:
            for _each in range(2 * len(keys.signing)):
                token = proof.log_in()
                if token is None:
                    return "nobody can log in"
                if url := who_refuses(proof, token, keys.use_urls):
                    return _refused(url)
            return ""

        until_proven(problem, self.target, _FORGOTTEN)

    def _all_sign_with(self, proof: SessionProof, keys: SessionKeys, public: str) -> None:
        """No login is answered with a token of another key, as far as tokens can be read."""

        def problem() -> str:
            tokens = [proof.log_in() for _each in range(3 * len(keys.signing))]
            if None in tokens:
                return "nobody can log in"
            others = [token for token in tokens if token and is_signed_with(token, public) is False]
            return "somebody still signs with the old key" if others else ""

        until_proven(problem, self.target, "is a signer missing in codeblue_host.session_keys?")

    def _finish(
        self,
        keys: SessionKeys,
        files: dict[tuple[str, str], str],
        old: Sequence[str],
        proof: SessionProof,
        attempt: int,
    ) -> bool:
        """The old one is refused; returns whether that was proven by a token."""
        private = files[_place(keys.signing[0])]
        public = public_of(private)
        alone = [HandOver(each, public, files[_place(each)], "public") for each in keys.verification]
        lock_dirs = {each.machine: self._lock_dir(each.machine) for each in keys.signing}

        def work(_run: OpenRun) -> dict[str, t.Any]:
            self._all_sign_with(proof, keys, public)
            token = proof.log_in()
            made = [signed_anew(token, each, time.time()) for each in old] if token is not None else []
            tokens = [each for each in made if each is not None]
            self._secrets.update(tokens)
            for each in tokens:
                if url := who_refuses(proof, each, keys.use_urls):
                    raise CodeblueError(f"{self.target}: {url} refused the old key before it was meant to", _FORGOTTEN)
            self.roll(f"{_PREFIX}forget", attempt, alone, self._every, self._reason, lambda: self._taken(proof, keys))
            for each in tokens:
                until_proven(lambda held=each: _took(who_takes(proof, held, keys.use_urls)), self.target, _FORGOTTEN)
            kept = keeping(
                keys, private, lock_dirs, self.target, secrets.token_hex(16), f"{_PREFIX}keep_{{number}}_{attempt}"
            )
            for ended in self.changes(kept):
                ended.checked()
            return {"changed": True, "old_refused": bool(tokens)}

        done = self.local_change(_FINISH, {"reason": self._reason}, work)
        return bool(done.get("old_refused"))

    def _changed_at(self, consumers: Sequence[Consumer]) -> list[float]:
        """When the files were written, Unix seconds of their machines."""
        calls = [
            MachineCall(
                machine,
                "ansible.builtin.stat",
                {"path": path, "get_checksum": False, "get_mime": False, "get_attributes": False},
                _LOOK_SECONDS,
                check_mode=True,
            )
            for machine, path in dict.fromkeys(_place(each) for each in consumers)
        ]
        return [float(answer.result_or_raise()["stat"]["mtime"]) for answer in self.look(calls)]

    def _kept(self, keys: SessionKeys) -> list[str]:
        """The last good key, unless everybody signs with it or no signer has kept one."""
        calls = [
            MachineCall(
                machine,
                "ansible.builtin.slurp",
                {"src": kept_path(self._lock_dir(machine), self.target)},
                _LOOK_SECONDS,
                check_mode=True,
            )
            for machine in dict.fromkeys(each.machine for each in keys.signing)
        ]
        contents = [base64.b64decode(answer.result["content"]).decode() for answer in self.look(calls) if answer.result]
        self._secrets.update(contents)
        files = self.read_files(keys.verification)
        known = set().union(*(key_digests(text.encode()) for text in files.values()))
        used = set().union(*(key_digests(text.encode()) for text in self.read_files(keys.signing).values()))
        return sorted({text for text in contents if (held := key_digests(text.encode())) and held <= known - used})

    def _last_signer_changed(self, keys: SessionKeys) -> float:
        return max(self._changed_at(keys.signing))

    def _wait(self, seconds: float) -> None:
        """Until every token of the old key has expired. The leases of this run are kept alive meanwhile."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, _BEAT_SECONDS))
            for lease in self.store.leases_held_by(ProcessIdentity.parent()):
                self.store.renew_lease(lease.target, lease.run_id, lease.generation)


def _place(consumer: Consumer) -> tuple[str, str]:
    return consumer.machine, consumer.secret_file


def _refused(url: str) -> str:
    return f"a token of the new key is not taken by {url}" if url else ""


def _took(url: str) -> str:
    return f"a token of the old key is still taken by {url}" if url else ""
