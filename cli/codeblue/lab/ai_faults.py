"""Faults of the AI service: a release that crashes, a damaged model, and one that answers too late."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError

from codeblue.lab.faults import Fault, Injection
from codeblue.lab.layout import APPLICATION_MACHINES, unit
from codeblue.lab.parts import Parts
from codeblue.lab.releases import BAD_INFERENCE, GOOD, SLOW_INFERENCE

_SERVICE = "ai"
_UNITS = tuple(unit(_SERVICE, machine) for machine in APPLICATION_MACHINES)


class _BadRelease(Fault):
    """A deployment to both instances, as it would come from a pipeline."""

    hits: ClassVar[tuple[str, ...]] = ("ai",)
    watches: ClassVar[tuple[str, ...]] = ("record_entry",)
    version: ClassVar[str]

    def inject(self, parts: Parts) -> Injection:
        for machine in APPLICATION_MACHINES:
            parts.releases.deploy(_SERVICE, machine, self.version, by="deployment")
        injection = self.strike(version=self.version)
        parts.supervisor.stop(*_UNITS)
        parts.supervisor.start(*_UNITS)
        return injection


class AiReleaseCrashing(_BadRelease):
    name: ClassVar[str] = "ai_release_crashing"
    summary: ClassVar[str] = f"release {BAD_INFERENCE} of ai starts, looks healthy, and ends with every inference"
    rto_target: ClassVar[float | None] = 15.0
    version: ClassVar[str] = BAD_INFERENCE


class AiSlow(_BadRelease):
    name: ClassVar[str] = "ai_slow"
    summary: ClassVar[str] = f"release {SLOW_INFERENCE} of ai answers rightly, a second and a half later"
    hits: ClassVar[tuple[str, ...]] = ("ai", "record_entry")
    rto_target: ClassVar[float | None] = 20.0
    version: ClassVar[str] = SLOW_INFERENCE


class AiModelDamaged(Fault):
    name: ClassVar[str] = "ai_model_damaged"
    summary: ClassVar[str] = "the model in the current release of ai loses its second half; no instance starts with it"
    hits: ClassVar[tuple[str, ...]] = ("ai",)
    watches: ClassVar[tuple[str, ...]] = ("record_entry",)
    rto_target: ClassVar[float | None] = 15.0

    def inject(self, parts: Parts) -> Injection:
        models = [_current_release(parts, machine) / "model.json" for machine in APPLICATION_MACHINES]
        # A model is read when a process starts, so damage on the disk strikes with the next restart.
        parts.supervisor.stop(*_UNITS)
        injection = self.strike(version=models[0].parent.name)
        for model in models:
            content = model.read_bytes()
            model.write_bytes(content[: len(content) // 2])
        parts.supervisor.start(*_UNITS)
        return injection

    def heal(self, parts: Parts, facts: dict[str, Any]) -> None:
        for machine in APPLICATION_MACHINES:
            parts.releases.mend(_SERVICE, machine, str(facts.get("version") or GOOD))


AI_FAULTS: tuple[type[Fault], ...] = (AiReleaseCrashing, AiModelDamaged, AiSlow)


def _current_release(parts: Parts, machine: str) -> Path:
    version = parts.releases.current(_SERVICE, machine)
    if version is None:
        raise CodeblueError(f"{_SERVICE} on {machine} has no release", "begin anew: codeblue lab down")
    return parts.layout.release_root(machine, _SERVICE) / "releases" / version
