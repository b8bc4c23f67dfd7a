# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Replaces API keys at once, because somebody else knows them, and proves that the old ones are refused."""

from __future__ import annotations

import base64
import secrets
import typing as t
from collections.abc import Sequence

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_api_keys import ApiKey
from ansible_collections.codeblue.recovery.plugins.plugin_utils._rotation_action import RotationAction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change, OpenRun

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._api_keys import ApiKeyProof, new_key

    _MISSING: ImportError | None = None
except ImportError as error:
    _MISSING = error

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import Consumer

_READ_SECONDS = 20.0
_RESTART_SECONDS = 20.0


class ActionModule(RotationAction):
    """See plugins/modules/api_keys_rotate.py."""

    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "names": {"type": "list", "elements": "str", "default": []},
        "known_to": {"type": "list", "elements": "str", "default": []},
        "reason": {"type": "str", "default": ""},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        known = self.service().require_host().api_keys
        unknown = [name for name in arguments["names"] if name not in known]
        if unknown or not known:
            raise BadInput(
                f"{self.target}: codeblue_host.api_keys has no {', '.join(unknown) or 'key'}",
                "name there who accepts it and who uses it",
            )
        names = arguments["names"] or self._known_to(known.values(), arguments["known_to"])
        if not names:
            said = f"{', '.join(arguments['known_to']) or 'nobody'} has no API key of {self.target}"
            return {"changed": False, "rotated": [], "codeblue": {"summary": said}}
        silent: list[str] = []
        if not self.check_mode:
            for name in names:
                silent += self._rotate(known[name], arguments["reason"][:200])
        verb = "would replace" if self.check_mode else "replaced"
        said = f"{verb} the API key of {', '.join(names)} at once"
        said += "" if self.check_mode else "; the old one is refused"
        said += f"; not proven at {', '.join(silent)}, which did not answer before" if silent else ""
        return {"changed": True, "rotated": names, "codeblue": {"summary": said}}

    def _known_to(self, keys: t.Iterable[ApiKey], services: Sequence[str]) -> list[str]:
        """The keys that a process of one of these services reads, to call with or to accept."""
        units = {
            (instance.machine, instance.process)
            for service in self.services(services).values()
            for instance in service.require_host().instances.values()
        }
        return [key.name for key in keys if any((each.machine, each.process) in units for each in key.consumers)]

    def _rotate(self, key: ApiKey, reason: str) -> list[str]:
        """The whole rotation is one step: a key that was lost with its process is replaced by another.

        Returns the addresses that could not be asked.
        """
        prefix = f"api_key_{key.name}_"
        attempt = self.next_attempt(prefix)
        proof = ApiKeyProof(self.target, key)

        def work(_run: OpenRun) -> dict[str, t.Any]:
            old, silent = self._old(key), proof.silent()
            value, salt = new_key(), secrets.token_hex(16)
            self._secrets.add(value)
            files = {(each.machine, each.secret_file): each for each in key.consumers}
            written = [
                Change(
                    action=f"{prefix}write_{number}_{attempt}",
                    machine=machine,
                    module="secret_file",
                    arguments={"path": path, "value": f"{value}\n", "digest_salt": salt},
                    decision={"file": path, "reason": reason},
                )
                for number, (machine, path) in enumerate(files)
            ]
            # At once: whoever has the new one is refused by who has not, and the other way round.
            for changes in (written, self._restarts(key.consumers, prefix, attempt)):
                for ended in self.changes(changes):
                    ended.checked()
            proof.prove(value, tuple(old), silent)
            return {"changed": True, "refused": len(old), "silent": sorted(silent)}

        # The name of the step has to be the same in a run that goes on, so that what is done is not done again.
        done = self.local_change(f"api_keys_{key.name}", {"name": key.name, "reason": reason}, work)
        return list(done.get("silent", []))

    def _old(self, key: ApiKey) -> list[str]:
        """What was accepted or used until now, as far as it can be read: to be seen refused."""
        places = list(dict.fromkeys((each.machine, each.secret_file) for each in key.consumers))
        calls = [
            MachineCall(machine, "ansible.builtin.slurp", {"src": path}, _READ_SECONDS, check_mode=True)
            for machine, path in places
        ]
        found: set[str] = set()
        for answer in self.look(calls):
            if answer.result is not None:
                found.update(base64.b64decode(answer.result.get("content", "")).decode("utf-8", "replace").split())
        self._secrets.update(found)
        return sorted(found)

    def _restarts(self, consumers: Sequence[Consumer], prefix: str, attempt: int) -> list[Change]:
        units = dict.fromkeys((each.machine, each.process) for each in consumers if each.reload == "restart")
        return [
            Change(
                action=f"{prefix}reload_{number}_{attempt}",
                machine=machine,
                module="process_state",
                arguments={"units": [{**process.as_arguments(), "state": "restarted"}], "timeout": _RESTART_SECONDS},
                decision={"unit": process.unit, "reason": "it reads its key when it starts"},
                seconds=_RESTART_SECONDS + 5.0,
            )
            for number, (machine, process) in enumerate(units)
        ]
