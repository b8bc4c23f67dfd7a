"""Whether patients' records hold what was written: asked of the database, which answers with numbers only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# Damage that shows as an error of the server: a table or column is missing, a page cannot be read.
_DAMAGE = ("42P01", "42703", "XX001", "XX002")


def look(service: str, config: dict[str, Any]) -> str:
    # Not at the top: the monitoring of a site starts without its database driver in the way.
    import psycopg

    integrity = config["integrity"].get(service)
    if integrity is None:
        return ""
    database = integrity["database"]
    problems = []
    try:
        with psycopg.connect(
            host=database["host"],
            port=database["port"],
            dbname=database["dbname"],
            user=database["user"],
            password=Path(database["password_file"]).read_text(encoding="utf-8").strip(),
            application_name="monitor",
            connect_timeout=2,
            sslmode="disable",
            gssencmode="disable",
            options="-c statement_timeout=1500 -c lock_timeout=500",
            autocommit=True,
        ) as connection:
            for query in integrity["violations"]:
                row = connection.execute(query).fetchone()
                if row is not None and row[0]:
                    problems.append(f"{row[0]} violations")
    except psycopg.Error as error:
        # Silence is an outage and no damage: other checks tell of it.
        return f"SQLSTATE {error.sqlstate}" if error.sqlstate in _DAMAGE else ""
    return ", ".join(problems)
