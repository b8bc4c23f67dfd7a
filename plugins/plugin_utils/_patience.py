# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How long a service that was just started gets to work."""

from __future__ import annotations

from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service

# In intervals of its own checks, so that the lab's time scale holds here too: 2 s between checks, as production
# has it by default, make a minute; the lab's 100 ms make 3 s.
_INTERVALS = 30


def patience(service: Service, given: float | None = None) -> float:
    """Seconds; what was asked for, or what fits the pace of the service's checks."""
    return given if given is not None else service.checks.interval * _INTERVALS
