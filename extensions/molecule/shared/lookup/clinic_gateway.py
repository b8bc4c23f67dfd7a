# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Asks HAProxy itself: `lookup('clinic_gateway', 'records', socket=…)` gives its servers with status and weight.

Only for the scenarios: nothing of the collection takes part.
"""

from __future__ import annotations

import csv
import socket
import typing as t

from ansible.plugins.lookup import LookupBase

_SECONDS = 3.0


class LookupModule(LookupBase):
    """One mapping for each backend named."""

    def run(self, terms: list[str], variables: t.Any = None, **options: t.Any) -> list[dict[str, dict[str, t.Any]]]:
        rows = list(csv.DictReader(_said(str(options["socket"])).removeprefix("# ").splitlines()))
        return [
            {
                row["svname"]: {"status": row["status"], "weight": int(row["weight"])}
                for row in rows
                if row["pxname"] == str(backend) and row["svname"] not in ("FRONTEND", "BACKEND")
            }
            for backend in terms
        ]


def _said(path: str) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_SECONDS)
        connection.connect(path)
        connection.sendall(b"show stat\n")
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts).decode()
