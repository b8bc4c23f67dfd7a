# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keeps what Ansible builds to send to machines from one run to the next.

Ansible packs a module with all that it imports the first time a play uses it. That takes 0.1 to 0.25 s of a core
per module, at the very moment when the first change is waited for; an emergency uses five of them before it has
changed anything. Ansible keeps its packages for the length of one playbook in a directory of its own; here they
are copied from there when a run ends and put back when the next one begins.

A package is kept a second time with the bytecode of what it holds, for the controller's version of Python: reading it
takes 160 ms without and 90 ms with it. It is three times as large, and of no use to another version of Python, so it is
given only to machines that need no line to be reached.

A package is used again only for exactly the same files: the name of the directory is a digest over size and times
of every file that could be in it, and the versions of Ansible and Python. Ansible loads packages with pickle, so
a directory that belongs to somebody else, or that others may write to, is not looked at.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import importlib.util
import io
import marshal
import os
import pickle
import shutil
import stat
import sys
import tempfile
import zipfile
from pathlib import Path

import ansible.release
from ansible import constants as C
from ansible.executor import module_common

_OURS = ("ansible_collections.codeblue.recovery", "ansible.modules.slurp", "ansible.builtin.slurp")
# Every package takes 150 to 250 kB, with bytecode 600; there are some forty.
_MOST_BYTES = 40 * 1024 * 1024
_COMPILED = "compiled"
# PEP 552: "checked" is not set, so that the machine does not look for the source to compare it with.
_UNCHECKED_HASH = (0b01).to_bytes(4, "little")
# How Ansible keeps a package is its own affair, and may be another way tomorrow.
_OTHER_FORMAT = (TypeError, ValueError, AttributeError, SyntaxError, pickle.UnpicklingError, zipfile.BadZipFile)


def put_back(local: bool) -> set[str]:
    """Give Ansible the packages of an earlier run; the names of those that it has now.

    :param local: every machine is this very host.
    """
    kept, used = _kept_directory(), _used_directory()
    if not _is_private(kept):
        return set()
    used.mkdir(parents=True, exist_ok=True)
    for package in kept.iterdir():
        place = used / package.name
        if not place.exists() and package.is_file():
            compiled = kept / _COMPILED / package.name
            _write((compiled if local and compiled.exists() else package).read_bytes(), place)
    return {package.name for package in used.iterdir()}


def keep() -> None:
    """Keep the packages that this run has built. A cache that cannot be written is no reason to fail a recovery."""
    used, kept = _used_directory(), _kept_directory()
    if not used.is_dir():
        return
    try:
        kept.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_private(kept):
            return
        compiled: dict[tuple[str, bytes], bytes] = {}
        (kept / _COMPILED).mkdir(mode=0o700, exist_ok=True)
        room = _MOST_BYTES - sum(package.stat().st_size for package in kept.rglob("*") if package.is_file())
        for package in sorted(used.iterdir()):
            if (
                package.name.startswith(_OURS)
                and not package.name.endswith(".lock")
                and not (kept / package.name).exists()
            ):
                content = larger = package.read_bytes()
                # Of another form, it is kept as Ansible made it.
                with contextlib.suppress(*_OTHER_FORMAT):
                    larger = _with_bytecode(content, compiled)
                room -= len(content) + len(larger)
                if room >= 0:
                    _write(larger, kept / _COMPILED / package.name)
                    _write(content, kept / package.name)
        _remove_others(kept)
    except OSError:
        # A full disk, for one: the next run builds its packages again.
        return


def _with_bytecode(content: bytes, compiled: dict[tuple[str, bytes], bytes]) -> bytes:
    """The package with a compiled file beside each source in it; as it was when its format is another one.

    :param compiled: what other packages of this run had in common with it, by name and source.
    """
    form = getattr(module_common, "_CachedModule", None)
    if form is None:
        # Before ansible-core 2.19 a package is no pickle.
        return content
    package = pickle.loads(content)
    if not isinstance(package, form):
        return content
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(package.zip_data))) as archive:
        files = {entry: archive.read(entry) for entry in archive.infolist()}
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, source in files.items():
            archive.writestr(entry, source)
            if entry.filename.endswith(".py"):
                beside = zipfile.ZipInfo(f"{entry.filename}c", entry.date_time)
                beside.compress_type = zipfile.ZIP_DEFLATED
                key = (entry.filename, source)
                if key not in compiled:
                    compiled[key] = _bytecode(*key)
                archive.writestr(beside, compiled[key])
    return pickle.dumps(dataclasses.replace(package, zip_data=base64.b64encode(target.getvalue())))


def _bytecode(name: str, source: bytes) -> bytes:
    """What Python would write into a `.pyc` file that is valid whatever the time of its source."""
    code = marshal.dumps(compile(source, name, "exec", dont_inherit=True))
    return importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH + importlib.util.source_hash(source) + code


def _write(content: bytes, place: Path) -> None:
    """Whole or not at all: others may read the directory meanwhile."""
    handle, name = tempfile.mkstemp(prefix=".", dir=place.parent)
    try:
        with open(handle, "wb") as file:
            file.write(content)
        Path(name).replace(place)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def _remove_others(kept: Path) -> None:
    """Packages of files that are no longer so are never used again."""
    for directory in kept.parent.iterdir():
        if directory != kept and directory.is_dir():
            shutil.rmtree(directory, ignore_errors=True)


def _is_private(directory: Path) -> bool:
    try:
        status = directory.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077


def _used_directory() -> Path:
    return Path(C.DEFAULT_LOCAL_TMP) / "ansiballz_cache"


def _kept_directory() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "codeblue" / "payloads" / _digest_of_sources()


def _digest_of_sources() -> str:
    plugins = Path(__file__).resolve().parent.parent
    sources = [path for folder in ("modules", "module_utils") for path in sorted((plugins / folder).glob("*.py"))]
    digest = hashlib.sha256(f"{ansible.release.__version__} {sys.version}".encode())
    # One file of ansible-core stands for all of them, and this one says what is kept of a package.
    basic = Path(ansible.release.__file__).parent / "module_utils" / "basic.py"
    for source in [*sources, basic, Path(__file__)]:
        status = source.stat()
        digest.update(f"{source} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}\n".encode())
    return digest.hexdigest()[:32]
