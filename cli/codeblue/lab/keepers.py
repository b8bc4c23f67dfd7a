"""Two reconcilers beside the clinic: one puts files back, one starts units again. Both are off until somebody starts
them.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codeblue.lab.files import make_directory, write_json
from codeblue.lab.layout import (
    FILE_KEEPER_UNIT,
    SERVICES,
    UNIT_KEEPER_UNIT,
    Layout,
    unit,
)
from codeblue.lab.supervisor import Program

#: The machine that both work on.
MACHINE = "app1"


class Keepers:
    """The two keepers of a lab."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    @property
    def _directory(self) -> Path:
        return self.layout.machine(MACHINE) / "keepers"

    def _config(self, name: str) -> Path:
        return self._directory / f"{name}.json"

    def write_configs(self) -> None:
        """Nothing is kept at first."""
        make_directory(self._directory)
        write_json(self._config(FILE_KEEPER_UNIT), {"files": {}})
        socket = str(self.layout.supervisor_socket)
        write_json(self._config(UNIT_KEEPER_UNIT), {"units": [], "supervisor_socket": socket})

    def keep_files(self, places: Sequence[Path]) -> None:
        """Take these files and links into the repository as they are now; the keeper puts them back so."""
        repository = self._directory / "repository"
        make_directory(repository)
        kept = {}
        for number, place in enumerate(places):
            source = repository / f"{number}-{place.name}"
            source.unlink(missing_ok=True)
            shutil.copy2(place, source, follow_symlinks=False)
            kept[str(place)] = str(source)
        write_json(self._config(FILE_KEEPER_UNIT), {"files": kept})

    def keep_units(self, units: Sequence[str]) -> None:
        """Have these units started again when they were stopped."""
        socket = str(self.layout.supervisor_socket)
        write_json(self._config(UNIT_KEEPER_UNIT), {"units": list(units), "supervisor_socket": socket})

    def programs(self, python: str) -> list[Program]:
        script = Path(__file__).parent / "clinic" / "keeper.py"
        return [
            Program(
                name=name,
                command=[python, str(script), str(self._config(name))],
                directory=str(self._directory),
                log_file=str(self._config(name).with_suffix(".log")),
                start_seconds=0,
            )
            for name in (FILE_KEEPER_UNIT, UNIT_KEEPER_UNIT)
        ]

    def inventory(self) -> list[dict[str, Any]]:
        """`codeblue_reconcilers` of the machine."""
        releases = [str(self.layout.release_root(MACHINE, service)) for service in SERVICES]
        socket = str(self.layout.supervisor_socket)
        return [
            {
                "name": FILE_KEEPER_UNIT,
                "owns": [str(self.layout.flags), *releases],
                "process": {"manager": "supervisor", "socket": socket, "unit": FILE_KEEPER_UNIT},
            },
            {
                "name": UNIT_KEEPER_UNIT,
                "restarts": [unit(service, MACHINE) for service in SERVICES],
                "process": {"manager": "supervisor", "socket": socket, "unit": UNIT_KEEPER_UNIT},
            },
        ]

    def forget(self) -> None:
        """What recoveries have suspended and held is so no more, and nothing is kept."""
        for machine in self.layout.root.glob("machines/*"):
            for name in ("suspended", "held"):
                shutil.rmtree(self.layout.lock_dir(machine.name) / name, ignore_errors=True)
        self.write_configs()
