"""What the prober can ask from outside in addition to the four services, one file for each question.

A file has `make(settings)`, which returns a function that is called ten times a second and answers with an empty text
when all is as it should be, else with a few words; neither secrets nor patient data. An exposure that stays open is an
outage of the probe that looks for it. A fault names the probes that matter to it in `watches`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

Probe = Callable[[], str]


def make_probe(name: str, settings: dict[str, Any]) -> Probe:
    """The probe of a name.

    :param settings: those of the prober: `root`, the lab's directory; `ports` of the fronts by name; files of secrets.
    """
    module = importlib.import_module(f"{__name__}.{name}")
    probe: Probe = module.make(settings)
    return probe
