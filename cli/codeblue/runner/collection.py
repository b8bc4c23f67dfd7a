"""Where the collection is, and which runbooks it and others bring."""

from __future__ import annotations

import configparser
import importlib.util
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput

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
        configuration = _configuration_file(environment, directory)
        if configuration is not None:
            text, base = _path_setting(configuration), configuration.parent
    places = text.split(os.pathsep) if text else list(_DEFAULT_PATHS)
    return [str((base / Path(place.strip()).expanduser()).absolute()) for place in places if place.strip()]


def _configuration_file(environment: Mapping[str, str], directory: Path) -> Path | None:
    """The ansible.cfg that ansible-core will read (find_ini_config_file in its config/manager.py)."""
    named = environment.get("ANSIBLE_CONFIG")
    candidates = [Path(named).expanduser()] if named else []
    if candidates and candidates[0].is_dir():
        candidates = [candidates[0] / "ansible.cfg"]
    if not directory.stat().st_mode & stat.S_IWOTH:
        candidates.append(directory / "ansible.cfg")
    candidates += [Path("~/.ansible.cfg").expanduser(), Path("/etc/ansible/ansible.cfg")]
    return next((path.absolute() for path in candidates if path.is_file() and os.access(path, os.R_OK)), None)


def _path_setting(configuration: Path) -> str | None:
    parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=(";",))
    try:
        parser.read(configuration, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0]
        raise BadInput(
            f"{configuration}: cannot be read: {first}", "mend it, or name another by ANSIBLE_CONFIG"
        ) from error
    for key in ("collections_path", "collections_paths"):
        if parser.has_option("defaults", key):
            return parser.get("defaults", key).replace("{{CWD}}", str(Path.cwd()))
    return None


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
