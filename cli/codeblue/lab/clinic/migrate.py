"""The clinic's migration tool: plain SQL files beside it, and a table of what is applied.

    migrate.py CONFIG status | up VERSION | down VERSION

A migration is `<version>_<name>.up.sql`, its way back `<version>_<name>.down.sql`. Comments at the top of the former
say what the latter costs and whose rows are touched: `-- way_back: clean`, `-- tables: records`.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

_DIRECTORY = Path(__file__).parent
_HEADER = re.compile(r"^-- (\w+): (.*)$", re.MULTILINE)


def migration(version: str, direction: str) -> Path | None:
    """The file of a migration."""
    return next(iter(sorted(_DIRECTORY.glob(f"{version}_*.{direction}.sql"))), None)


def described(version: str) -> dict[str, Any]:
    """What the comments of a migration say."""
    up, down = migration(version, "up"), migration(version, "down")
    said = dict(_HEADER.findall(up.read_text(encoding="utf-8"))) if up is not None else {}
    tables = [name.strip() for name in said.get("tables", "").split(",") if name.strip()]
    return {
        "description": said.get("description", ""),
        "way_back": said.get("way_back", "data_loss") if down is not None else "none",
        "tables": tables if "tables" in said else None,
    }


def status(connection: Any) -> list[dict[str, Any]]:
    rows = connection.execute("select version, applied_at from schema_migrations order by applied_at, version")
    return [{"version": row[0], "applied_at": row[1].isoformat(), **described(row[0])} for row in rows.fetchall()]


def up(connection: Any, version: str) -> None:
    path = migration(version, "up")
    if path is None:
        raise SystemExit(f"there is no migration {version}")
    # The row first: of two at once the second waits here, and finds that it is done.
    connection.execute("insert into schema_migrations (version) values (%s)", (version,))
    connection.execute(path.read_text(encoding="utf-8"))


def down(connection: Any, version: str) -> None:
    path = migration(version, "down")
    if path is None:
        raise SystemExit(f"migration {version} has no way back")
    gone = connection.execute("delete from schema_migrations where version = %s", (version,))
    if gone.rowcount != 1:
        raise SystemExit(f"migration {version} is not applied")
    connection.execute(path.read_text(encoding="utf-8"))


def main(arguments: list[str]) -> None:
    import psycopg

    config = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    # One transaction, with the limits of PGOPTIONS.
    with psycopg.connect(**config, application_name="migrate", connect_timeout=3) as connection:
        if arguments[1] == "status":
            print(json.dumps(status(connection)))
        elif arguments[1] == "up":
            up(connection, arguments[2])
        elif arguments[1] == "down":
            down(connection, arguments[2])
        else:
            raise SystemExit(f"there is no command {arguments[1]}")


if __name__ == "__main__":
    main(sys.argv[1:])
