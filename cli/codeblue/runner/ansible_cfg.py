"""What the operator's ansible.cfg says, where the command has to know it before Ansible is started."""

from __future__ import annotations

import configparser
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput

# Ansible's own choice and order (INVENTORY_ENABLED in its config/base.yml) but for `yaml`, which comes first: `auto`
# would read and copy a whole inventory only to see that it is no configuration of a plugin. One that is, `yaml` leaves
# to `auto`.
_INVENTORY_PLUGINS = "yaml,host_list,script,auto,ini,toml"


@dataclass(frozen=True)
class Setting:
    """A setting and the file that it stands in."""

    value: str
    file: Path


def configured(environment: Mapping[str, str], directory: Path, section: str, *names: str) -> Setting | None:
    """The first of the settings that the operator's file has; None when it has none.

    :param directory: the current directory, where an ansible.cfg may be.
    :raises BadInput: the file cannot be read.
    """
    file = _configuration_file(environment, directory)
    if file is None:
        return None
    parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=(";",))
    try:
        parser.read(file, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0]
        raise BadInput(f"{file}: cannot be read: {first}", "mend it, or name another by ANSIBLE_CONFIG") from error
    found = (parser.get(section, name) for name in names if parser.has_option(section, name))
    return next((Setting(value, file) for value in found), None)


def inventory_plugins(environment: Mapping[str, str], directory: Path) -> str | None:
    """The value of ANSIBLE_INVENTORY_ENABLED for a run; None when the operator has chosen."""
    if "ANSIBLE_INVENTORY_ENABLED" in environment or configured(environment, directory, "inventory", "enable_plugins"):
        return None
    return _INVENTORY_PLUGINS


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
