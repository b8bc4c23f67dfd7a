# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Mends damaged files of a release from intact copies of the same version, each proven by the release's manifest."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import stat
import typing as t
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._atomic_file import sync_directory
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.module_utils._release import (
    LARGEST_MANIFEST,
    MANIFEST,
    ReleaseRoot,
    file_digest,
    files_of,
    manifest_files,
)

# What may travel through the controller in one answer, before encoding.
LARGEST_CONTENT = 4 * 1024 * 1024

_LEFTOVER = re.compile(r"\.restored\.[0-9]+\Z")


@dataclass(frozen=True)
class Inspection:
    """One release, compared with its manifest.

    :param listed: file to the digest that it should have.
    :param damaged: files that differ from it or are missing.
    :param added: files that it does not know.
    :param manifest_sha256: of the manifest itself, so that machines can be compared.
    """

    version: str
    directory: str
    listed: t.Mapping[str, str]
    damaged: t.Tuple[str, ...]
    added: t.Tuple[str, ...]
    manifest_sha256: str

    @property
    def intact(self) -> bool:
        """Every file is as it was released."""
        return not self.damaged and not self.added

    def as_dict(self) -> t.Dict[str, t.Any]:
        """For results; the names of a hundred files at most."""
        return {
            "version": self.version,
            "files": len(self.listed),
            "damaged": list(self.damaged[:100]),
            "added": list(self.added[:100]),
            "manifest_sha256": self.manifest_sha256,
        }


def inspect(root: ReleaseRoot, version: str) -> Inspection:
    """Read every file of the release and compare.

    :raises Refused: the release or its manifest is missing, or the manifest itself is damaged: then nothing can be
        proven here.
    """
    directory = root.release(version)
    path = os.path.join(directory, MANIFEST)
    try:
        with open(path, "rb") as stream:
            content = stream.read(LARGEST_MANIFEST)
    except OSError as error:
        raise Refused(
            "release %s: %s: %s" % (version, MANIFEST, error.strerror), "what is not listed cannot be proven"
        ) from error
    listed = manifest_files(content, path)
    damaged = [name for name, digest in sorted(listed.items()) if file_digest(os.path.join(directory, name)) != digest]
    added = sorted(set(files_of(directory)) - set(listed) - {MANIFEST})
    digest = hashlib.sha256(content).hexdigest()
    return Inspection(version, directory, listed, tuple(damaged), tuple(added), digest)


def find_copies(inspection: Inspection, sources: t.Sequence[str]) -> t.Dict[str, str]:
    """For each damaged file the path of an intact copy below one of the sources, where there is one.

    :param sources: directories that hold a directory named like the version.
    """
    found: t.Dict[str, str] = {}
    for source in sources:
        if not os.path.isabs(source):
            raise BadInput("sources: %r is not absolute" % source)
        directory = os.path.join(source, inspection.version)
        if os.path.realpath(directory) == os.path.realpath(inspection.directory):
            continue
        for name in inspection.damaged:
            path = os.path.join(directory, name)
            if name not in found and file_digest(path) == inspection.listed[name]:
                found[name] = path
    return found


def read_files(inspection: Inspection, names: t.Sequence[str]) -> t.Dict[str, str]:
    """The content of files of an intact release, in base 64, for another machine.

    :raises Refused: one is not listed, damaged, or all together are too large for an answer.
    """
    contents: t.Dict[str, str] = {}
    left = LARGEST_CONTENT
    for name in names:
        if name not in inspection.listed or name in inspection.damaged:
            raise Refused("release %s has no intact %s here" % (inspection.version, name))
        with open(os.path.join(inspection.directory, name), "rb") as stream:
            content = stream.read(left + 1)
        left -= len(content)
        if left < 0:
            raise Refused("the files are larger than %d MB together" % (LARGEST_CONTENT >> 20), "copy them by hand")
        contents[name] = base64.b64encode(content).decode("ascii")
    return contents


def remove_leftovers(inspection: Inspection) -> None:
    """Temporary files that an interrupted attempt has left; they would be files that the manifest does not know."""
    for name in inspection.added:
        if _LEFTOVER.search(name):
            os.unlink(os.path.join(inspection.directory, name))


def restore_files(
    inspection: Inspection, copies: t.Mapping[str, str], contents: t.Mapping[str, str]
) -> t.Dict[str, str]:
    """Replace each damaged file by a proven copy, through a temporary file beside it.

    :param contents: files in base 64 that came from another machine.
    :returns: file to where its copy came from.
    :raises Refused: a copy is not what the manifest lists; the damaged file stays as it is.
    """
    restored: t.Dict[str, str] = {}
    for name in inspection.damaged:
        if name not in copies and name not in contents:
            continue
        target = os.path.join(inspection.directory, name)
        temporary = "%s.restored.%d" % (target, os.getpid())
        try:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            _write_copy(temporary, copies.get(name), contents.get(name))
            _like(temporary, target, copies.get(name))
            # Read back what is on the disk: a copy can be damaged like the file was.
            if file_digest(temporary) != inspection.listed[name]:
                raise Refused("release %s: the copy of %s is damaged too" % (inspection.version, name))
            os.replace(temporary, target)
        except OSError as error:
            raise CodeblueError("%s cannot be restored: %s" % (target, error.strerror)) from error
        finally:
            if os.path.lexists(temporary):
                os.unlink(temporary)
        sync_directory(os.path.dirname(target))
        restored[name] = copies.get(name) or "another machine"
    return restored


def _write_copy(path: str, copy: t.Optional[str], content: t.Optional[str]) -> None:
    with open(path, "xb") as stream:
        if copy is not None:
            with open(copy, "rb") as source:
                shutil.copyfileobj(source, stream, 1 << 20)
        else:
            stream.write(base64.b64decode(content or ""))
        stream.flush()
        os.fsync(stream.fileno())


def _like(path: str, target: str, copy: t.Optional[str]) -> None:
    """Owner and mode of the file that is replaced, else of the copy, else of the directory."""
    model = next(
        (os.stat(each) for each in (target, copy) if each is not None and os.path.exists(each)),
        os.stat(os.path.dirname(target)),
    )
    mode = stat.S_IMODE(model.st_mode) if stat.S_ISREG(model.st_mode) else 0o644
    os.chmod(path, mode)
    if os.geteuid() == 0:
        os.chown(path, model.st_uid, model.st_gid)
