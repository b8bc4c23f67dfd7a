# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The library of the controller. Its files are imported from their bytecode.

Ansible's loader of collections compiles every file from its source each time it is imported. Of this library that is a
tenth of a second before the first change, so its private files go by Python's own loader.
"""

from __future__ import annotations

import sys
import typing as t
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader

_PLUGINS = __name__.rpartition(".")[0]
_LIBRARIES = (f"{_PLUGINS}.plugin_utils._", f"{_PLUGINS}.module_utils._")
_ANSIBLES_FINDER = "_AnsibleCollectionFinder"


class _CompiledLibrary(MetaPathFinder):
    """Finds the files of the two libraries, and nothing else."""

    @staticmethod
    def find_spec(fullname: str, path: Sequence[str] | None, target: t.Any = None) -> ModuleSpec | None:
        if path is None or not fullname.startswith(_LIBRARIES):
            return None
        finders = (FileFinder(place, (SourceFileLoader, SOURCE_SUFFIXES)) for place in path)
        return next((spec for spec in (each.find_spec(fullname, target) for each in finders) if spec), None)


if any(type(each).__name__ == _ANSIBLES_FINDER for each in sys.meta_path):
    sys.meta_path.insert(0, _CompiledLibrary())
