# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Argument specifications that several modules share. Their documentation is in plugins/doc_fragments."""

from __future__ import annotations

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.module_utils._target_guard import Step

Spec = t.Dict[str, t.Any]


def reconcilers_argument() -> Spec:
    """`reconcilers`: who of the site's own keeps what on this machine, see `_reconcilers.Declared`."""
    words = {"type": "list", "elements": "str", "default": []}
    return {
        "reconcilers": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "name": {"type": "str", "required": True},
                "owns": words,
                "restarts": words,
                "process": {
                    "type": "dict",
                    "options": process_options(),
                    "required_if": [("manager", "supervisor", ["socket"])],
                },
                "status_command": words,
                "suspend_command": words,
                "resume_command": words,
                "advice": {"type": "str"},
            },
        },
    }


def step_argument() -> Spec:
    """`step`: which step of which run this is; needed unless in check mode. And `reconcilers`."""
    return {
        **reconcilers_argument(),
        "step": {
            "type": "dict",
            "options": {
                "run_id": {"type": "str", "required": True},
                "target": {"type": "str", "required": True},
                # Names the step; it is no key to anything.
                "key": {"type": "str", "required": True, "no_log": False},
                "generation": {"type": "int", "required": True},
                "lock_dir": {"type": "path", "default": "/var/lib/codeblue"},
                "yields": {"type": "bool", "default": False},
            },
        },
    }


def step_from(params: t.Mapping[str, t.Any]) -> Step:
    """The step that was given.

    :raises BadInput: there is none, or a part of it cannot be used.
    """
    if params["step"] is None:
        raise BadInput(
            "step is missing: nothing was changed",
            "start the runbook whole: codeblue run RUNBOOK; by itself this module runs in check mode only",
        )
    return Step(**params["step"])


def process_options() -> Spec:
    """What says which process manager runs a unit."""
    return {
        "manager": {"type": "str", "required": True, "choices": ["supervisor", "systemd"]},
        "socket": {"type": "path"},
        "unit": {"type": "str", "required": True},
    }


def process_argument(required: bool = True) -> Spec:
    """`process`: the unit of one member."""
    return {
        "process": {
            "type": "dict",
            "required": required,
            "options": process_options(),
            "required_if": [("manager", "supervisor", ["socket"])],
        },
    }


def login_arguments() -> Spec:
    """How SQL is spoken with a member."""
    return {
        "bin_dir": {"type": "path", "required": True},
        "os_user": {"type": "str", "default": "postgres"},
        "address": {"type": "str", "default": "127.0.0.1"},
        "port": {"type": "int", "default": 5432},
        "socket_dir": {"type": "path"},
        "database": {"type": "str", "default": "postgres"},
        "admin_user": {"type": "str", "default": "postgres"},
        # A path, not what is in it.
        "admin_passfile": {"type": "path", "no_log": False},
    }


def member_arguments(process_required: bool = True) -> Spec:
    """A member: its login, its files and its process."""
    return {
        **login_arguments(),
        "data_dir": {"type": "path", "required": True},
        "config_file": {"type": "path"},
        **process_argument(process_required),
    }
