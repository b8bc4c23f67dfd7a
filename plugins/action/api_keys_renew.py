# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Replaces API keys while services call each other: accepted first, then used, the old one refused last."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_api_keys import ApiKey
from ansible_collections.codeblue.recovery.plugins.plugin_utils._rotation_action import (
    INTERRUPTION,
    HandOver,
    RotationAction,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._secret_consumers import secrets_of
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._api_keys import ApiKeyProof, new_key

    _MISSING: ImportError | None = None
except ImportError as error:
    _MISSING = error

_Files = Mapping[tuple[str, str], str]


class ActionModule(RotationAction):
    """See plugins/modules/api_keys_renew.py."""

    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "names": {"type": "list", "elements": "str", "default": []},
        "interruption": INTERRUPTION,
        "reason": {"type": "str", "default": ""},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        known = service.require_host().api_keys
        names = arguments["names"] or list(known)
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            raise BadInput(
                f"{self.target}: codeblue_host.api_keys has no {', '.join(unknown) or 'key'}",
                "name there who accepts it and who uses it",
            )
        self._every = self.every_service()
        self._reason = arguments["reason"][:200] or "a planned rotation"
        consumers = [each for name in names for each in known[name].consumers]
        self.refuse_missing_consumers([each for each in secrets_of(service) if each.what.startswith("API key ")])
        interrupted = self.check_interruption(consumers, self._every, arguments["interruption"])
        for name in names:
            ApiKeyProof(self.target, known[name]).check_addresses()
            self._used(known[name], self.read_files(known[name].consumers))
            if not self.check_mode:
                self._renew(known[name])
        verb = "would renew" if self.check_mode else "renewed"
        said = f"{verb} the API key of {', '.join(names)}" + ("" if self.check_mode else "; the old one is refused")
        said += f"; interrupts {', '.join(interrupted)}" if interrupted else ""
        return {"changed": True, "renewed": names, "codeblue": {"summary": said}}

    def _used(self, key: ApiKey, files: _Files) -> list[str]:
        """The keys that callers have now.

        :raises CodeblueError: one of them is accepted by nobody, so that nothing can be planned on it.
        """
        accepted = [set(files[each.machine, each.secret_file].split()) for each in key.accepted_by]
        for each in key.used_by:
            used = files[each.machine, each.secret_file].split()
            if len(used) != 1 or not all(used[0] in one for one in accepted):
                raise CodeblueError(
                    f"{self.target}: {each.machine}: {each.secret_file} does not hold one key that everybody accepts:"
                    " nothing was changed",
                    "replace it whole by the entry point api_keys of the role rotate_secrets",
                )
        return sorted({files[each.machine, each.secret_file].strip() for each in key.used_by})

    def _renew(self, key: ApiKey) -> None:
        prefix = f"api_renew_{key.name}_"
        attempt = self.next_attempt(prefix)
        proof = ApiKeyProof(self.target, key)

        def work(_run: OpenRun) -> dict[str, t.Any]:
            files = self.read_files(key.consumers)
            value = new_key()
            self._secrets.add(value)
            old = sorted({each for one in key.accepted_by for each in files[one.machine, one.secret_file].split()})
            both = {
                (one.machine, one.secret_file): "\n".join([*files[one.machine, one.secret_file].split(), value, ""])
                for one in key.accepted_by
            }
            accepting = [
                HandOver(one, both[one.machine, one.secret_file], files[one.machine, one.secret_file])
                for one in key.accepted_by
            ]
            using = [HandOver(one, f"{value}\n", files[one.machine, one.secret_file]) for one in key.used_by]
            alone = [HandOver(one, f"{value}\n", both[one.machine, one.secret_file]) for one in key.accepted_by]
            self.roll(f"{prefix}accept", attempt, accepting, self._every, self._reason)
            proof.prove(value)
            self.roll(f"{prefix}use", attempt, using, self._every, self._reason)
            self._all_use(key, value)
            self.roll(f"{prefix}refuse", attempt, alone, self._every, self._reason)
            proof.prove(value, tuple(old))
            return {"changed": True, "refused": len(old)}

        decision = {"name": key.name, "reason": self._reason}
        # The name of the step has to be the same in a run that goes on, so that what is done is not done again.
        self.local_change(f"renewal_of_{key.name}", decision, work)

    def _all_use(self, key: ApiKey, value: str) -> None:
        """Found out, before the old one is refused: each caller's file holds the new one and was read since.

        :raises CodeblueError: somebody wrote it again meanwhile.
        """
        files = self.read_files(key.used_by)
        for (machine, path), text in files.items():
            if text.strip() != value:
                raise CodeblueError(
                    f"{self.target}: {machine}: {path} was written by somebody else meanwhile; both keys are accepted",
                    "see what manages that file, and run this again",
                )
