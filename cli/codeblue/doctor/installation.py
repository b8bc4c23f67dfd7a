"""Versions, and whether the collection that is run is the one that belongs to this command."""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput

from codeblue.doctor.finding import Finding, failed, ok, warning
from codeblue.runner.collection import (
    OWN_COLLECTION,
    collection_root,
    collection_version,
    configured_paths,
    own_runbooks,
)

_PACKAGES = ("ansible-core", "ansible-runner")


def check_versions() -> Iterator[Finding]:
    """Python and Ansible, against what the package asks for."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    yield ok("python", f"Python {version}")
    wanted = _requirements()
    for package in _PACKAGES:
        try:
            found = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            yield failed(package, f"{package} is not installed", f"pip install {package}")
            continue
        specifier = wanted.get(package, "")
        if specifier and not _fits(found, specifier):
            yield failed(package, f"{package} {found} does not fit {specifier}", f"pip install '{package}{specifier}'")
        else:
            yield ok(package, f"{package} {found}")
    beside = Path(sys.executable).parent / "ansible-playbook"
    if not beside.is_file():
        yield warning("ansible-playbook", f"not beside {sys.executable}: the one on PATH is used")


def check_collection(directory: Path) -> Iterator[Finding]:
    """Found, and not shadowed by another copy."""
    try:
        root = collection_root()
    except BadInput as error:
        yield failed("collection", error.message, error.hint)
        return
    version = collection_version(root)
    yield ok("collection", f"{OWN_COLLECTION} {version} in {root}")
    others = [
        place / "ansible_collections" / "codeblue" / "recovery"
        for place in map(Path, configured_paths(os.environ, directory))
    ]
    for other in others:
        if other.is_dir() and other.resolve() != root.resolve():
            found = collection_version(other)
            yield warning(
                "collection copies",
                f"another copy, {found}, is in {other}: ansible-playbook by itself runs that one",
                f"rm -r {other} (codeblue run uses its own copy)",
            )


def check_cards() -> Iterator[Finding]:
    """Every card against the schema, and a playbook for every card."""
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import check_card

    root = collection_root()
    schema = root / "runbooks" / "schema.json"
    runbooks = own_runbooks()
    sound = 0
    for runbook in runbooks:
        problems = check_card(runbook.card_path, schema)
        if not (root / "playbooks" / f"{runbook.id}.yml").is_file():
            problems.append("has no playbook")
        for problem in problems:
            yield failed("cards", f"{runbook.name}: {problem}", str(runbook.card_path))
        sound += not problems
    if sound == len(runbooks):
        yield ok("cards", f"{sound} runbooks")


def _requirements() -> dict[str, str]:
    """Package -> version specifier, from the metadata of this package."""
    found = {}
    for line in importlib.metadata.requires("codeblue-recovery") or []:
        match = re.match(r"([A-Za-z0-9._-]+)\s*\(?([<>=!~0-9.,\s]*)\)?(?!.*extra)", line)
        if match and "extra ==" not in line:
            found[match.group(1).lower()] = match.group(2).replace(" ", "")
    return found


def _fits(version: str, specifier: str) -> bool:
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(specifier).contains(version, prereleases=True)
