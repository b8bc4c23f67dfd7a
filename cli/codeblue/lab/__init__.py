"""The lab: a small clinic on loopback that can be broken and healed.

`Lab` is the way in; the rest is loaded when it is used, so that the command starts fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codeblue.lab.lab import Lab, UpResult

__all__ = ["Lab", "UpResult"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from codeblue.lab import lab

        return getattr(lab, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
