"""The System V segment that a killed PostgreSQL leaves behind when its data directory is thrown away."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

_IPC_RMID = 0


def remove_leftover_segment(data_dir: Path) -> None:
    """Remove the small segment by which PostgreSQL notices a second server on one data directory.

    A clean stop removes it, and so does the next start after a crash; without a next start it would stay
    until the machine reboots. The caller has made sure that no process of this data directory is left.
    """
    pid_file = data_dir / "postmaster.pid"
    try:
        lines = pid_file.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return
    # The seventh line: key and id of the segment (PostgreSQL's miscadmin.h, LOCK_FILE_LINE_SHMEM_KEY).
    words = lines[6].split() if len(lines) > 6 else []
    if len(words) != 2:
        return
    library = ctypes.CDLL(None, use_errno=True)
    if library.shmctl(int(words[1]), _IPC_RMID, None) != 0:
        number = ctypes.get_errno()
        # EINVAL, EIDRM: gone already. EPERM: the id belongs to somebody else's segment by now.
        if number not in (errno.EINVAL, errno.EIDRM, errno.EPERM):
            raise OSError(number, os.strerror(number), str(pid_file))
