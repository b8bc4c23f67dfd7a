# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What became of damaged tables since their clean state: rows that are missing, changed or added, by key.

The damaged rows are loaded into the copy, beside the clean ones, and compared there. Rows that were written by others
than the transaction that did the damage are writes of people that came later: they are kept apart, to be written
again when somebody has looked at them.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_integrity import qualified, quoted
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import (
    PsqlSession,
    identifier,
    literal,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._repair_bench import Bench, ScriptFailed

SCHEMA = "codeblue_damaged"
KEPT_NAME = "kept.jsonl"

#: How a table is brought back.
ROWS = "rows"
REPLACE = "replace"
RECREATE = "recreate"

_KEYS_NAMED = 20
# Unreadable pages, a broken index or TOAST: the rows cannot be had, the table is replaced as a whole.
_UNREADABLE = ("XX000", "XX001", "XX002")


@dataclass(frozen=True)
class TableShape:
    """How a table is built.

    :param columns: name, type and whether null is refused, in order; without generated ones.
    :param key: columns of the primary key, empty when there is none.
    """

    columns: t.Tuple[t.Tuple[str, str, bool], ...]
    key: t.Tuple[str, ...]
    bytes: int


@dataclass(frozen=True)
class Difference:
    """One table, clean against damaged.

    :param way: `rows` (only rows that differ), `replace` (all rows, the table stays), `recreate` (the table itself).
    :param missing: rows that are gone.
    :param changed: rows with the same key that differ; None where there is no key.
    :param added: rows that the clean state did not have.
    :param later: those of changed and added that others wrote after the damage.
    :param later_keys: the first of their keys.
    """

    table: str
    way: str
    exists: bool
    readable: bool
    clean_rows: int
    damaged_rows: t.Optional[int]
    missing: int
    changed: t.Optional[int]
    added: int
    later: int
    later_keys: t.Tuple[str, ...]

    @property
    def same(self) -> bool:
        """There is nothing to bring back."""
        return (
            self.exists and self.readable and self.way != RECREATE and not (self.missing or self.changed or self.added)
        )

    def as_dict(self) -> t.Dict[str, t.Any]:
        """For results: counts and keys, no rows."""
        return {
            "table": self.table,
            "way": self.way,
            "exists": self.exists,
            "readable": self.readable,
            "clean_rows": self.clean_rows,
            "damaged_rows": self.damaged_rows,
            "missing": self.missing,
            "changed": self.changed,
            "added": self.added,
            "later": self.later,
            "later_keys": list(self.later_keys),
        }


def shape_of(sql: PsqlSession, table: str) -> t.Optional[TableShape]:
    """How a table is built; None when it is not there.

    :raises BadInput: it is no plain table.
    """
    schema, name = qualified(table)
    rows = sql.rows(
        "SELECT c.relkind, pg_total_relation_size(c.oid) AS bytes,"
        " (SELECT json_agg(json_build_array(a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull)"
        "  ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
        "  AND a.attgenerated = '') AS columns,"
        " (SELECT json_agg(a.attname ORDER BY k.i) FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS k(number, i),"
        "  pg_attribute a WHERE i.indrelid = c.oid AND i.indisprimary AND a.attrelid = c.oid"
        "  AND a.attnum = k.number) AS key"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s"
        " AND c.relkind IN ('r', 'p', 'f', 'v', 'm')" % (literal(schema), literal(name))
    )
    if not rows:
        return None
    if rows[0]["relkind"] != "r":
        raise BadInput("%s is no plain table" % table, "name the partitions, or the tables below a view")
    columns = tuple((column[0], column[1], bool(column[2])) for column in rows[0]["columns"] or ())
    return TableShape(columns, tuple(rows[0]["key"] or ()), int(rows[0]["bytes"]))


class Comparison:
    """Compares tables at the bench.

    :param culprit_xids: of the transaction that did the damage; empty when it is not known, and then every row that
        was added or changed counts as written later.
    """

    def __init__(self, bench: Bench, tables: t.Sequence[str], culprit_xids: t.Sequence[int]) -> None:
        self._bench = bench
        self._tables = list(tables)
        self._culprits = sorted(set(culprit_xids))

    def run(self) -> t.List[Difference]:
        """Load and compare all of them.

        :raises BadInput: the clean state has no such table either.
        """
        bench = self._bench
        with PsqlSession(bench.clean, bench.deadline) as clean, PsqlSession(bench.damaged, bench.deadline) as damaged:
            damaged.execute("SET default_transaction_read_only = on")
            shapes = {table: (shape_of(clean, table), shape_of(damaged, table)) for table in self._tables}
            for table, (before, _now) in shapes.items():
                if before is None:
                    raise BadInput("the clean state has no table %s" % table, "see the integrity rules' tables")
            # The damaged rows and what differs, beside the clean ones.
            bench.check_space(sum(2 * (now.bytes if now else 0) for _before, now in shapes.values()) + (64 << 20))
            clean.execute("DROP SCHEMA IF EXISTS %s CASCADE" % SCHEMA, "CREATE SCHEMA %s" % SCHEMA)
            return [
                self._compare(clean, number, table, t.cast(TableShape, before), now)
                for number, (table, (before, now)) in enumerate(shapes.items())
            ]

    def keep_later(self, differences: t.Sequence[Difference]) -> t.Optional[str]:
        """Write what others wrote later into one file of JSON lines; None when there is nothing.

        :return: the path; the file holds rows and is for encryption at once.
        """
        parts = [
            "SELECT json_build_object('table', %s, 'kind', l.kind, 'xid', l.xid, 'row', l.now, 'clean', l.was)::text"
            " FROM %s.later_%d l" % (literal(difference.table), SCHEMA, number)
            for number, difference in enumerate(differences)
            if difference.later
        ]
        if not parts:
            return None
        return self._bench.export_clean(KEPT_NAME, " UNION ALL ".join(parts))

    def _compare(
        self, clean: PsqlSession, number: int, table: str, before: TableShape, now: t.Optional[TableShape]
    ) -> Difference:
        rows = int(clean.value("count(*) FROM ONLY %s" % quoted(table)))
        if now is None:
            return Difference(table, RECREATE, False, True, rows, None, rows, 0, 0, 0, ())
        common = [column for column in before.columns if column in now.columns]
        names = [column[0] for column in common]
        way = ROWS if before.columns == now.columns and before.key == now.key else RECREATE
        try:
            self._load(number, table, names)
        except ScriptFailed as error:
            if not self._unreadable(error, table):
                raise
            return Difference(table, REPLACE, True, False, rows, None, 0, None, 0, 0, ())
        key = before.key if before.key and before.key == now.key and set(before.key) <= set(names) else ()
        if not key and way == ROWS:
            way = REPLACE
        self._bench.run_clean("diff_%d" % number, self._difference_script(number, table, names, key))
        counts = clean.row(
            "SELECT (SELECT count(*) FROM {s}.rows_{n}) AS damaged,"
            " count(*) FILTER (WHERE kind = 'missing') AS missing, count(*) FILTER (WHERE kind = 'changed') AS changed,"
            " count(*) FILTER (WHERE kind = 'added') AS added, (SELECT count(*) FROM {s}.later_{n}) AS later,"
            " (SELECT json_agg(key) FROM (SELECT key FROM {s}.later_{n} ORDER BY key LIMIT {k}) q) AS keys"
            " FROM {s}.diff_{n}".format(s=SCHEMA, n=number, k=_KEYS_NAMED)
        )
        return Difference(
            table=table,
            way=way,
            exists=True,
            readable=True,
            clean_rows=rows,
            damaged_rows=int(counts["damaged"]),
            missing=int(counts["missing"]),
            changed=int(counts["changed"]) if key else None,
            added=int(counts["added"]),
            later=int(counts["later"]),
            later_keys=tuple(str(each) for each in counts["keys"] or ()),
        )

    def _load(self, number: int, table: str, names: t.Sequence[str]) -> None:
        listed = ", ".join(identifier(name) for name in names)
        source = self._bench.from_damaged(
            "load_%d" % number, "SELECT xmin::text::bigint, %s FROM ONLY %s" % (listed, quoted(table))
        )
        self._bench.run_clean(
            "load_into_%d" % number,
            "CREATE UNLOGGED TABLE {s}.rows_{n} AS SELECT 0::bigint AS codeblue_xmin, {c} FROM ONLY {t} WITH NO DATA;\n"
            "\\copy {s}.rows_{n} from {p}\n"
            "ANALYZE {s}.rows_{n};\n".format(s=SCHEMA, n=number, c=listed, t=quoted(table), p=source),
        )

    def _unreadable(self, error: ScriptFailed, table: str) -> bool:
        """Whether the rows cannot be read; what psql says of the other side has to be asked again there."""
        if error.sqlstate in _UNREADABLE:
            return True
        try:
            self._bench.run_damaged("read", "SELECT count(r::text) FROM ONLY %s r \\g /dev/null\n" % quoted(table))
        except ScriptFailed as again:
            return again.sqlstate in _UNREADABLE
        return False

    def _difference_script(self, number: int, table: str, names: t.Sequence[str], key: t.Sequence[str]) -> str:
        listed = [identifier(name) for name in names]
        later = "NOT (d.codeblue_xmin = ANY (ARRAY[%s]::bigint[]))" % ", ".join(map(str, self._culprits))
        values = {
            "s": SCHEMA,
            "n": number,
            "t": quoted(table),
            "later": later,
            "columns": ", ".join(listed),
        }
        now = "to_jsonb(d) - 'codeblue_xmin'"
        if key:
            values["join"] = " AND ".join("c.%s = d.%s" % (identifier(each), identifier(each)) for each in key)
            values["key"] = ", ".join("coalesce(c.{0}, d.{0}) AS {0}".format(identifier(each)) for each in key)
            values["text"] = "concat_ws('/', %s)" % ", ".join("d.%s::text" % identifier(each) for each in key)
            first = identifier(key[0])
            values["kind"] = (
                "CASE WHEN d.codeblue_xmin IS NULL THEN 'missing' WHEN c.%s IS NULL THEN 'added' ELSE 'changed' END"
                % first
            )
            values["c"] = "ROW(%s)" % ", ".join("c." + each for each in listed)
            values["d"] = "ROW(%s)" % ", ".join("d." + each for each in listed)
            return (
                "CREATE UNLOGGED TABLE {s}.diff_{n} AS SELECT {key}, {kind} AS kind FROM ONLY {t} c"
                " FULL JOIN {s}.rows_{n} d ON {join}"
                " WHERE {kind} <> 'changed' OR {c}::text IS DISTINCT FROM {d}::text;\n"
                "CREATE UNLOGGED TABLE {s}.later_{n} AS SELECT {kind} AS kind, d.codeblue_xmin AS xid, {text} AS key,"
                " " + now + " AS now, CASE WHEN {kind} = 'changed' THEN to_jsonb(c) END AS was"
                " FROM {s}.rows_{n} d LEFT JOIN ONLY {t} c ON {join}"
                " WHERE ({kind} = 'added' OR {c}::text IS DISTINCT FROM {d}::text) AND {later};\n"
            ).format(**values)
        return (
            "CREATE UNLOGGED TABLE {s}.diff_{n} AS"
            " (SELECT 'missing' AS kind, q.* FROM (SELECT ROW({columns})::text FROM ONLY {t} EXCEPT ALL"
            "  SELECT ROW({columns})::text FROM {s}.rows_{n}) q) UNION ALL"
            " (SELECT 'added', q.* FROM (SELECT ROW({columns})::text FROM {s}.rows_{n} EXCEPT ALL"
            "  SELECT ROW({columns})::text FROM ONLY {t}) q);\n"
            "CREATE UNLOGGED TABLE {s}.later_{n} AS SELECT 'added' AS kind, d.codeblue_xmin AS xid, ''::text AS key,"
            " " + now + " AS now, NULL::jsonb AS was FROM {s}.rows_{n} d WHERE {later} AND EXISTS"
            " (SELECT FROM {s}.diff_{n} x WHERE x.kind = 'added' AND x.row = ROW({columns})::text);\n"
        ).format(**values)
