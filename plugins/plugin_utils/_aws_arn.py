# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Names of resources in AWS that say where the resource is."""

from __future__ import annotations

import re

from ansible_collections.codeblue.recovery.plugins.plugin_utils._typed_mapping import TypedMapping, quote

# arn:partition:service:region:account:resource
_ARN = re.compile(r"arn:aws[-a-z]*:(?P<service>[-a-z0-9]+):(?P<region>[-a-z0-9]*):(?P<account>\d*):(?P<resource>\S+)")


def read_arn(values: TypedMapping, key: str, text: str, service: str, resource: str) -> str:
    """An ARN as it is; what is wrong with it goes to the problems of the mapping.

    :param service: that it has to be of, as `elasticloadbalancing`.
    :param resource: what its last part has to begin with, as `listener/`.
    """
    found = _ARN.fullmatch(text)
    if text and (found is None or found["service"] != service or not found["resource"].startswith(resource)):
        values.problem(key, f"{quote(text)} is no ARN of {service}, write it like arn:aws:{service}:…:{resource}…")
    return text


def region_of_arn(arn: str) -> str:
    """The region in which a resource is; empty for what is in none."""
    found = _ARN.fullmatch(arn)
    return found["region"] if found is not None else ""


def name_of_arn(arn: str) -> str:
    """The last part that people know it by: `web` of `…:targetgroup/web/0123456789abcdef`."""
    parts = arn.rpartition(":")[2].split("/")
    return parts[1] if parts[0] in ("targetgroup", "cluster") and len(parts) > 1 else parts[-1]
