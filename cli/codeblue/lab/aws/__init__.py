"""The lab on AWS: the platform of a clinic in two regions of an account that is moto's, or of a marked one.

`AwsLab` is the way in; the rest is loaded when it is used, so that the command starts fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codeblue.lab.aws.lab import AwsLab

__all__ = ["AwsLab"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from codeblue.lab.aws import lab

        return getattr(lab, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
