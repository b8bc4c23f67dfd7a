# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes kept rows into their tables again, as far as nothing there stands against them.

A row that was added is inserted unless its key is taken. A row that was changed is changed again only while the row is
still as it was brought back. Everything else is counted as a conflict, for a person. The rows reach the server by COPY,
so that no statement with what they hold is ever written to its log.
"""

from __future__ import annotations

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_integrity import quoted
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Login
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import (
    PsqlSession,
    identifier,
    literal,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._run_command import run_command
from ansible_collections.codeblue.recovery.plugins.module_utils._table_comparison import TableShape, shape_of

_SQLSTATE_LINE = "ERROR:"
_PSQL = ("-X", "-q", "-A", "-t", "-w", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=sqlstate", "-f", "-")


def replay_rows(
    login: Login, tables: t.Sequence[str], lines: bytes, keep: bool, deadline: Deadline, pass_fds: t.Sequence[int] = ()
) -> t.Dict[str, t.Dict[str, int]]:
    """Write the rows in one transaction; by table, how many there were and what became of them.

    :param lines: one JSON object a line, with `table`, `kind`, `row` and, for changed ones, `clean`.
    :param keep: False rolls back at the end: a dry run, exact to the last trigger and constraint.
    :raises BadInput: a table is gone or has no primary key.
    :raises CodeblueError: the server refused; nothing was written.
    """
    with PsqlSession(login, deadline) as sql:
        shapes = {table: shape_of(sql, table) for table in tables}
    for table, shape in shapes.items():
        if shape is None or not shape.key:
            raise BadInput("%s is gone or has no primary key" % table, "write its rows again by hand")
    script = _script(t.cast("t.Dict[str, TableShape]", shapes), lines.decode(), keep)
    answer = run_command(
        [login.tool("psql"), *_PSQL],
        deadline,
        user=login.os_user,
        environment=login.environment(),
        # Through the pipe, so that no file with patient data is ever on this machine.
        stdin=script,
        pass_fds=pass_fds,
    )
    if not answer.ok:
        # Never the whole text: what follows the SQLSTATE may repeat a row.
        at = answer.stderr.find(_SQLSTATE_LINE)
        state = answer.stderr[at + len(_SQLSTATE_LINE) :].split()[:1] if at >= 0 else ["none"]
        raise CodeblueError(
            "the rows were not written: SQLSTATE %s" % state[0].rstrip(":"), "see the constraints of their tables"
        )
    return _counted(answer.stdout)


def _script(shapes: t.Mapping[str, TableShape], lines: str, keep: bool) -> str:
    script = [
        "BEGIN;",
        "SET LOCAL client_min_messages = error;",
        # As the copy wrote moments.
        "SET LOCAL timezone = 'UTC';",
        "CREATE TEMPORARY TABLE codeblue_kept (line jsonb) ON COMMIT DROP;",
        # Each line as it is: neither of these characters stands in JSON.
        "COPY codeblue_kept FROM STDIN WITH (FORMAT csv, QUOTE e'\\x01', DELIMITER e'\\x02');",
        lines.rstrip("\n"),
        "\\.",
    ]
    for table, shape in shapes.items():
        names = [identifier(column[0]) for column in shape.columns]
        values = {
            "t": quoted(table),
            "name": literal(table),
            "columns": ", ".join(names),
            "new": ", ".join("r." + name for name in names),
            # The key is the same, and an identity cannot be set at all.
            "set": ", ".join(
                "%s = r.%s" % (identifier(column[0]), identifier(column[0]))
                for column in shape.columns
                if column[0] not in shape.key
            ),
            "key": ", ".join(identifier(name) for name in shape.key),
            "same": " AND ".join("t.%s = r.%s" % (identifier(name), identifier(name)) for name in shape.key),
            "rows": "codeblue_kept k, jsonb_populate_record(NULL::%s, k.line->'row') r WHERE k.line->>'table' = %s"
            % (quoted(table), literal(table)),
        }
        # A table that is all key has nothing that could be changed.
        values["change"] = (
            (
                "UPDATE {t} t SET {set} FROM {rows} AND k.line->>'kind' = 'changed' AND {same}"
                " AND to_jsonb(t) = k.line->'clean' AND to_jsonb(t) <> to_jsonb(r) RETURNING 1"
            ).format(**values)
            if values["set"]
            else "SELECT 1 WHERE false"
        )
        script.append(
            (
                "WITH had AS (SELECT count(*) AS n FROM {rows} AND EXISTS"
                " (SELECT FROM {t} t WHERE {same} AND to_jsonb(t) = to_jsonb(r))),"
                " inserted AS (INSERT INTO {t} ({columns}) OVERRIDING SYSTEM VALUE SELECT {new} FROM {rows}"
                " AND k.line->>'kind' = 'added' ON CONFLICT ({key}) DO NOTHING RETURNING 1),"
                " changed AS ({change})"
                " SELECT {name}, (SELECT count(*) FROM {rows}), (SELECT count(*) FROM inserted)"
                " + (SELECT count(*) FROM changed), (SELECT n FROM had);"
            ).format(**values)
        )
    script.append("COMMIT;" if keep else "ROLLBACK;")
    return "\n".join(script) + "\n"


def _counted(text: str) -> t.Dict[str, t.Dict[str, int]]:
    found = {}
    for line in text.splitlines():
        table, rows, written, already = line.rsplit("|", 3)
        left = int(rows) - int(written) - int(already)
        found[table] = {"rows": int(rows), "written": int(written), "already": int(already), "conflicts": left}
    return found
