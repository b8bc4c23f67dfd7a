"""Where the collection is, and which runbooks it and others bring."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput

from codeblue.runner.ansible_cfg import configured
from codeblue.runner.nearest import nearest

OWN_COLLECTION = "codeblue.recovery"
# Where ansible-core looks when nothing is configured (COLLECTIONS_PATHS in its config/base.yml).
_DEFAULT_PATHS = ("~/.ansible/collections", "/usr/share/ansible/collections")
_NAME = re.compile(r"\A[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*)?\Z")


@dataclass(frozen=True)
class Runbook:
    """A runbook that can be run.

    :param name: as it is typed: `id`, or `namespace.collection.id` when it comes from another collection.
    :param playbook: the name that ansible-playbook takes.
    :param root: the directory of its collection.
    """

    name: str
    playbook: str
    root: Path

    @property
    def id(self) -> str:
        return self.playbook.rpartition(".")[2]

    @property
    def card_path(self) -> Path:
        return self.root / "runbooks" / self.id / "runbook.yml"

    @property
    def document_path(self) -> Path:
        return self.root / "runbooks" / self.id / "README.md"


def collection_root() -> Path:
    """The directory of this collection: the one whose Python is imported here, in a checkout and in a wheel.

    :raises BadInput: it is not installed beside the command.
    """
    spec = importlib.util.find_spec("ansible_collections.codeblue.recovery")
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (Path(place) / "plugins").is_dir():
            return Path(place)
    raise BadInput(
        f"the collection {OWN_COLLECTION} is not installed beside the command", "pip install codeblue-recovery"
    )


def collection_version(root: Path) -> str:
    """The version from `galaxy.yml` (checkout, wheel) or `MANIFEST.json` (installed by ansible-galaxy)."""
    for name, pattern in (("galaxy.yml", r"^version:\s*(\S+)"), ("MANIFEST.json", r'"version":\s*"([^"]+)"')):
        path = root / name
        if path.is_file():
            match = re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)
            if match:
                return match.group(1)
    return "unknown"


def collections_path(environment: Mapping[str, str], directory: Path) -> str:
    """The value of ANSIBLE_COLLECTIONS_PATH for a run: this collection first, then what the operator configured.

    Without it a stale copy in ~/.ansible/collections would be run instead of the one that belongs to this command.

    :param directory: the current directory, where an ansible.cfg may be.
    """
    own = collection_root().parent.parent.parent
    places = [str(own), *configured_paths(environment, directory)]
    return os.pathsep.join(dict.fromkeys(places))


def configured_paths(environment: Mapping[str, str], directory: Path) -> list[str]:
    """Where the operator has Ansible look for collections."""
    text = environment.get("ANSIBLE_COLLECTIONS_PATH") or environment.get("ANSIBLE_COLLECTIONS_PATHS")
    base = directory
    if not text:
        setting = configured(environment, directory, "defaults", "collections_path", "collections_paths")
        if setting is not None:
            text, base = setting.value.replace("{{CWD}}", str(Path.cwd())), setting.file.parent
    places = text.split(os.pathsep) if text else list(_DEFAULT_PATHS)
    return [str((base / Path(place.strip()).expanduser()).absolute()) for place in places if place.strip()]


def own_runbooks() -> list[Runbook]:
    """The runbooks of this collection by name: those that have a card."""
    root = collection_root()
    return [
        Runbook(card.parent.name, f"{OWN_COLLECTION}.{card.parent.name}", root)
        for card in sorted(root.glob("runbooks/*/runbook.yml"))
    ]


def find_runbook(name: str, collections: str) -> Runbook:
    """The runbook of that name.

    :param name: `database_connection_failure`, also with dashes, or the full name of one in another collection.
    :param collections: where to look for other collections, as ANSIBLE_COLLECTIONS_PATH.
    :raises BadInput: there is none; the closest name is suggested.
    """
    wanted = name.replace("-", "_").removeprefix(f"{OWN_COLLECTION}.")
    if not _NAME.match(wanted):
        raise BadInput(f"{name!r} is no name of a runbook", "codeblue list shows them")
    namespace, _, rest = wanted.partition(".")
    if rest:
        collection, _, runbook_id = rest.partition(".")
        for place in collections.split(os.pathsep):
            root = Path(place) / "ansible_collections" / namespace / collection
            if _has_playbook(root, runbook_id):
                return Runbook(wanted, wanted, root)
        raise BadInput(f"there is no playbook {wanted}", "is its collection installed? ansible-galaxy collection list")
    root = collection_root()
    if _has_playbook(root, wanted):
        return Runbook(wanted, f"{OWN_COLLECTION}.{wanted}", root)
    close = nearest(wanted, (runbook.name for runbook in own_runbooks()))
    hint = f"did you mean {close}?" if close else "codeblue list shows them"
    raise BadInput(f"there is no runbook {name!r}", hint)


def _has_playbook(root: Path, runbook_id: str) -> bool:
    return any((root / "playbooks" / f"{runbook_id}{suffix}").is_file() for suffix in (".yml", ".yaml"))
