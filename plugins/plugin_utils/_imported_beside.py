# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Imports that ansible-playbook does while a worker of it is busy, and that all later workers find done.

All workers are forks of ansible-playbook and find there what it has imported. At the top of an action's file the time
would pass before anybody looks, and in the workers once per task.
"""

from __future__ import annotations

import importlib
import os


def import_beside_next_worker(module: str) -> None:
    """Have this process import a module as soon as it has forked its next worker.

    :param module: by its full name; one that cannot be imported is said by the action that needs it.
    """
    owner = os.getpid()
    left = [module]

    def after_fork() -> None:
        # Forks inherit this hook, and are not meant.
        if left and os.getpid() == owner:
            try:
                importlib.import_module(left.pop())
            except ImportError:
                return  # the action that needs it says so

    os.register_at_fork(after_in_parent=after_fork)
