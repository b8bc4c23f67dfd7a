# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Stands for AnsibleModule in a module that the controller has sent by itself, see `_machine_payload.py` there.

It has what the adapter in `_host_module.py` uses, and the same results come of it.
"""

from __future__ import annotations

import json
import sys
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._arguments import read_arguments
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput

_CHECK_MODE, _DIFF = "_ansible_check_mode", "_ansible_diff"


class SentModule:
    """A module's arguments and its way to answer.

    :param given: the arguments as they were sent, check mode and diff among them.
    :param spec: the argument spec; `rules` are those between arguments.
    """

    def __init__(self, given: t.Mapping[str, t.Any], spec: t.Mapping[str, t.Any], rules: t.Mapping[str, t.Any]) -> None:
        self.check_mode = bool(given.get(_CHECK_MODE))
        self._diff = bool(given.get(_DIFF))
        self.no_log_values: t.FrozenSet[str] = frozenset()
        own = {name: value for name, value in given.items() if not name.startswith("_ansible_")}
        try:
            read = read_arguments(spec, own, rules)
        except BadInput as error:
            self.fail_json(msg=error.message, hint=error.hint, exit_code=error.exit_code)
        self.params = read.values
        self.no_log_values = read.secrets

    def exit_json(self, **result: t.Any) -> t.NoReturn:
        """Answer, and end well."""
        _answer(result)
        raise SystemExit(0)

    def fail_json(self, msg: str, **result: t.Any) -> t.NoReturn:
        """Answer that it failed, and end so."""
        _answer({**result, "msg": msg, "failed": True})
        raise SystemExit(1)


def _answer(result: t.Mapping[str, t.Any]) -> None:
    # One line: a shell may have said something before it.
    sys.stdout.write("\n%s\n" % json.dumps(result))
    sys.stdout.flush()


#: What was sent; set by the program that the controller sends.
ARGUMENTS: t.Optional[t.Mapping[str, t.Any]] = None


def sent_arguments() -> t.Optional[t.Mapping[str, t.Any]]:
    """What was sent; None where Ansible itself runs the module."""
    return ARGUMENTS
