# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Log sequence numbers: positions in the write-ahead log, written as two hexadecimal halves."""

from __future__ import annotations

import re

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput

_PATTERN = re.compile(r"\A([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})\Z")

# Of the page headers in access/xlog_internal.h: XLogLongPHDData opens a segment, XLogPageHeaderData every other page.
_LONG_HEADER = 40
_SHORT_HEADER = 24
_ALIGNMENT = 8


def parse_lsn(text: str, name: str = "lsn") -> int:
    """Bytes from the start of the log.

    :raises BadInput: it is not written like 0/16EF458.
    """
    match = _PATTERN.match(text)
    if match is None:
        raise BadInput("%s: %r is not a position in the log" % (name, text), "write it like 0/16EF458")
    return (int(match.group(1), 16) << 32) + int(match.group(2), 16)


def format_lsn(position: int) -> str:
    """As PostgreSQL writes it: 0/16EF458."""
    return "%X/%X" % (position >> 32, position & 0xFFFFFFFF)


def end_of_record(start: int, length: int, segment_size: int, block_size: int = 8192) -> int:
    """Where the record after this one begins, page headers in between counted.

    :param start: of the record, past the header when it opens a page.
    :param length: total length of the record as pg_waldump prints it.
    """
    position = start
    left = length
    while left > 0:
        room = block_size - position % block_size
        if left <= room:
            position += left
            break
        left -= room
        position += room
        position += _LONG_HEADER if position % segment_size == 0 else _SHORT_HEADER
    position += -position % _ALIGNMENT
    # At the end of a page it stays there, as pg_current_wal_lsn() does; the header of the next page comes later.
    return position
