# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a service can be used on the way that clients take, by its own checks."""

from __future__ import annotations

import time

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import run_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import plan_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service

_PAUSE = 0.1


def wait_until_usable(service: Service, seconds: float, hint: str) -> None:
    """Wait until its shallow and deep checks pass.

    :param hint: what to look at when they do not.
    :raises CodeblueError: they do not in time.
    """
    deadline = time.monotonic() + seconds
    plan = plan_checks({service.name: service.checks}, "deep")
    while True:
        failing = [result for result in run_checks(plan) if not result.ok]
        if not failing:
            return
        if time.monotonic() >= deadline:
            first = failing[0]
            raise CodeblueError(
                f"{service.name}: {first.id} still fails after {seconds:g} s ({first.error_class}): {first.detail}",
                hint,
            )
        time.sleep(_PAUSE)
