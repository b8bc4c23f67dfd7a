# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""New values of secrets that files on the controller give: only their owner may read them, and nobody else has to."""

from __future__ import annotations

import stat
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput


def value_of_file(target: str, file: str, what: str, largest: int) -> str:
    """What a file holds, without the end of its last line.

    :param what: it is the new value of, for messages.
    :param largest: bytes that it may have.
    :raises BadInput: it cannot be read, others can read it, or it is empty, too large or no text.
    """
    path = Path(file)
    try:
        mode, content = path.stat().st_mode, path.read_bytes()[: largest + 1]
    except OSError as error:
        raise BadInput(
            f"{target}: {path}, for {what}: {error.strerror}", "put the new value there, run again"
        ) from None
    if stat.S_IMODE(mode) & 0o077:
        raise BadInput(f"{path}: can be read by others", f"chmod 600 {path}")
    if len(content) > largest:
        raise BadInput(f"{path}: is larger than {what} may be")
    try:
        value = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise BadInput(f"{path}: is no text") from None
    if not value:
        raise BadInput(f"{path}: is empty")
    return value
