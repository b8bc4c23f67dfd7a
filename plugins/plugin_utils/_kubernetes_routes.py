# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The selector by which a Service leads to the pods of its workload. Pure.

It is replaced whole. A merge keeps what the wrong one has too much: after `version: stable` was added by one patch and
`app: ai` given back by another, the Service leads nowhere still.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_templates import cleaned

#: Under this kind the store keeps the selectors that runs have seen working.
ROUTE_KIND = "kubernetes_selector"
#: Begins the keys of labels and annotations by which something is cut off on purpose.
CUT_OFF = "codeblue.recovery/quarantine"

Object = Mapping[str, t.Any]


@dataclass(frozen=True)
class Route:
    """A selector, and how it is known.

    :param text: as `selector_text` writes it.
    """

    text: str
    why: str

    @property
    def selector(self) -> dict[str, str]:
        return selector_of_text(self.text)


def selector_text(selector: Mapping[str, str] | None) -> str:
    """As `app=login,tier=api`: the same for the same selector. Neither keys nor values hold `,` or `=`."""
    return ",".join(f"{key}={value}" for key, value in sorted((selector or {}).items()))


def selector_of_text(text: str) -> dict[str, str]:
    """The selector that `selector_text` wrote."""
    parts = (each.partition("=") for each in text.split(",") if "=" in each)
    return {key: value for key, _equals, value in parts}


def last_good_route(workload: Object, proven: Sequence[str]) -> Route | None:
    """The selector that leads to the pods which the workload makes now; None when it labels none.

    :param proven: selectors that earlier runs have seen working, the latest first.
    """
    labels = cleaned(workload["spec"]["template"])["metadata"].get("labels") or {}
    for text in proven:
        if fits(selector_of_text(text), labels):
            return Route(text, "an earlier run saw it work")
    own = workload["spec"].get("selector") or {}
    # An expression cannot be said in a Service; all labels of the pods are narrow enough.
    narrow = labels if own.get("matchExpressions") else own.get("matchLabels") or {}
    return Route(selector_text(narrow), f"the selector of {workload['kind']} itself") if narrow else None


def fits(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether pods with these labels get traffic. A selector without keys selects none."""
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


def cut_off(*objects: Object | None) -> str:
    """By what key something of these is cut off on purpose; empty when nothing is.

    :param objects: a workload, a Service.
    """
    for each in objects:
        metadata = (each or {}).get("metadata") or {}
        selector = ((each or {}).get("spec") or {}).get("selector") or {}
        for part in (metadata.get("labels"), metadata.get("annotations"), selector):
            found = next((key for key in part or () if str(key).startswith(CUT_OFF)), None)
            if found is not None:
                return str(found)
    return ""
