"""The lab on a cluster: the same clinic in a namespace of its own, that can be broken and healed.

`KubernetesLab` is the way in; the rest is loaded when it is used, so that the command starts fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codeblue.lab.kubernetes.lab import KubernetesLab

__all__ = ["KubernetesLab"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from codeblue.lab.kubernetes import lab

        return getattr(lab, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
