# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Asks a database in SQL: `query('clinic_sql', statement, port=…, user=…, password_file=…)` gives its rows as lists.

A statement or a login that the server refuses gives one row with the SQLSTATE, as `[['refused', '25006']]`. Only for
the scenarios: nothing of the collection takes part.
"""

from __future__ import annotations

import typing as t
from pathlib import Path

import psycopg
from ansible.plugins.lookup import LookupBase

_REFUSED_LOGIN = "28P01"


class LookupModule(LookupBase):
    """As the administrator by `passfile`, as anybody by `password_file`, or as a consumer by its `conninfo_file`.

    What the clinic's services hold is a connection string as libpq reads it, with the login and its password.
    """

    def run(self, terms: list[str], variables: t.Any = None, **options: t.Any) -> list[list[t.Any]]:
        login: dict[str, t.Any] = {
            "host": "127.0.0.1",
            "port": int(options["port"]),
            "dbname": str(options.get("database", "clinic")),
            "connect_timeout": 3,
            "autocommit": True,
        }
        known = ""
        if "user" in options:
            login["user"] = str(options["user"])
        if "conninfo_file" in options:
            known = Path(str(options["conninfo_file"])).read_text(encoding="utf-8").strip()
        if "passfile" in options:
            login["passfile"] = str(options["passfile"])
        if "password_file" in options:
            login["password"] = Path(str(options["password_file"])).read_text(encoding="utf-8").strip()
        try:
            with psycopg.connect(known, **login) as connection:
                return [list(row) for row in connection.execute(str(terms[0]).encode()).fetchall()]
        except psycopg.Error as error:
            # A refused login carries no SQLSTATE in the client's library.
            refused = "password authentication failed" in str(error)
            return [["refused", error.sqlstate or (_REFUSED_LOGIN if refused else type(error).__name__)]]
