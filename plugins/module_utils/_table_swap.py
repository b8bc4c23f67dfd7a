# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Brings damaged tables back to their clean state, all of them in one transaction.

Other tables are not touched, so what people wrote there since stays. The integrity rules are asked inside of the
transaction: when one of them does not hold, nothing was changed. Where only rows differ, only rows are written, with
triggers off, because what triggers maintain is restored as well.
"""

from __future__ import annotations

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_integrity import Rule, qualified, quoted
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import (
    PsqlSession,
    identifier,
    literal,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._repair_bench import Bench, ScriptFailed
from ansible_collections.codeblue.recovery.plugins.module_utils._table_comparison import (
    RECREATE,
    REPLACE,
    ROWS,
    SCHEMA,
    Difference,
    TableShape,
    shape_of,
)

# Other objects depend on the table: it cannot be made anew without them.
_DEPENDENT_OBJECTS = "2BP01"
# TRUNCATE of a table that others refer to.
_REFERENCED = "0A000"
_RULE_BROKEN = "P0001"


def swap_tables(
    bench: Bench, differences: t.Sequence[Difference], rules: t.Sequence[Rule], pass_fds: t.Sequence[int] = ()
) -> None:
    """Bring the tables back.

    :param differences: of a comparison that was made just before, with writes stopped.
    :raises CodeblueError: it could not be done; the transaction was rolled back.
    """
    with PsqlSession(bench.clean, bench.deadline) as clean:
        shapes = {difference.table: t.cast(TableShape, shape_of(clean, difference.table)) for difference in differences}
        views, references = _dependents(clean, [each.table for each in differences if each.way == RECREATE])
    with PsqlSession(bench.damaged, bench.deadline) as damaged:
        damaged.execute("SET default_transaction_read_only = on")
        views = [view for view in views if damaged.value("to_regclass(%s) IS NULL" % literal(quoted(view))) == "t"]
    changed = [(number, each) for number, each in enumerate(differences) if not each.same]
    # What is written to the copy's disk for it; rows alone go through pipes.
    recreated = [each for _number, each in changed if each.way == RECREATE]
    bench.check_space(sum(2 * shapes[each.table].bytes for each in recreated) + (64 << 20))
    script = ["BEGIN;", "SET LOCAL session_replication_role = replica;"]
    for number, difference in changed:
        if difference.way == ROWS:
            script += _rows(bench, number, difference, shapes[difference.table])
        elif difference.way == REPLACE:
            script += _replace(bench, number, difference, shapes[difference.table])
        elif difference.exists:
            script.append("DROP TABLE %s;" % quoted(difference.table))
    if recreated:
        relations = [_pattern(each.table) for each in recreated] + [_pattern(view) for view in views]
        script.append("\\i %s" % bench.dump_clean("tables.sql", relations))
        # What pg_dump sets for its own session.
        script += ["SET LOCAL search_path TO DEFAULT;", "SET LOCAL row_security TO DEFAULT;"]
        script += _missing_references(references)
    script += [_assertion(rule) for rule in rules if rule.violations is not None or rule.minimum_rows is not None]
    script.append("COMMIT;")
    script += ["ANALYZE %s;" % quoted(difference.table) for _number, difference in changed]
    try:
        bench.run_damaged("swap", "\n".join(script) + "\n", pass_fds)
    except ScriptFailed as error:
        raise CodeblueError("the tables were not swapped, all is as it was: %s" % error.message, _hint(error)) from None


def _rows(bench: Bench, number: int, difference: Difference, shape: TableShape) -> t.List[str]:
    """Take out what was added or changed, put back what is missing or was changed."""
    table, staging = quoted(difference.table), "codeblue_keys_%d" % number
    key = [identifier(name) for name in shape.key]
    columns = ", ".join(identifier(column[0]) for column in shape.columns)
    same = " AND ".join("t.%s = k.%s" % (name, name) for name in key)
    listed = ", ".join(key)
    gone = bench.from_clean(
        "out_%d" % number, "SELECT %s FROM %s.diff_%d WHERE kind <> 'missing'" % (listed, SCHEMA, number)
    )
    back = bench.from_clean(
        "in_%d" % number,
        "SELECT %s FROM ONLY %s t WHERE EXISTS (SELECT FROM %s.diff_%d k WHERE kind <> 'added' AND %s)"
        % (columns, table, SCHEMA, number, same),
    )
    return [
        "LOCK TABLE %s IN EXCLUSIVE MODE;" % table,
        "CREATE TEMPORARY TABLE %s ON COMMIT DROP AS SELECT %s FROM ONLY %s WITH NO DATA;" % (staging, listed, table),
        "\\copy %s from %s" % (staging, gone),
        "DELETE FROM ONLY %s t USING %s k WHERE %s;" % (table, staging, same),
        "\\copy %s (%s) from %s" % (table, columns, back),
    ]


def _replace(bench: Bench, number: int, difference: Difference, shape: TableShape) -> t.List[str]:
    """All rows anew. A table that cannot be read is emptied without being read."""
    table = quoted(difference.table)
    columns = ", ".join(identifier(column[0]) for column in shape.columns)
    every = bench.from_clean("in_%d" % number, "SELECT %s FROM ONLY %s" % (columns, table))
    return [
        "LOCK TABLE %s IN ACCESS EXCLUSIVE MODE;" % table,
        "DELETE FROM ONLY %s;" % table if difference.readable else "TRUNCATE ONLY %s;" % table,
        "\\copy %s (%s) from %s" % (table, columns, every),
    ]


def _dependents(clean: PsqlSession, tables: t.Sequence[str]) -> t.Tuple[t.List[str], t.List[t.Dict[str, t.Any]]]:
    """Views upon the tables, and foreign keys of others that refer to them: what DROP … CASCADE takes along."""
    if not tables:
        return [], []
    listed = ", ".join("%s::regclass" % literal(quoted(table)) for table in tables)
    views = clean.rows(
        "WITH RECURSIVE upon(oid) AS (SELECT r.ev_class FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid"
        " WHERE d.classid = 'pg_rewrite'::regclass AND d.refobjid IN (%s) UNION SELECT r.ev_class FROM upon u"
        " JOIN pg_depend d ON d.refobjid = u.oid JOIN pg_rewrite r ON r.oid = d.objid"
        " WHERE d.classid = 'pg_rewrite'::regclass AND r.ev_class <> u.oid)"
        " SELECT n.nspname || '.' || c.relname AS name FROM upon u JOIN pg_class c ON c.oid = u.oid"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('v', 'm')" % listed
    )
    references = clean.rows(
        "SELECT n.nspname || '.' || c.relname AS \"table\", k.conname AS name,"
        " pg_get_constraintdef(k.oid) AS definition"
        " FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE k.contype = 'f' AND k.confrelid IN (%s) AND k.conrelid NOT IN (%s)" % (listed, listed)
    )
    return [row["name"] for row in views], references


def _missing_references(references: t.Sequence[t.Dict[str, t.Any]]) -> t.List[str]:
    statements = []
    for each in references:
        add = "ALTER TABLE %s ADD CONSTRAINT %s %s" % (
            quoted(each["table"]),
            identifier(each["name"]),
            each["definition"],
        )
        there = "SELECT FROM pg_constraint WHERE conname = %s AND conrelid = %s::regclass" % (
            literal(each["name"]),
            literal(quoted(each["table"])),
        )
        statements.append(_block("IF NOT EXISTS (%s) THEN EXECUTE %s; END IF;" % (there, literal(add))))
    return statements


def _assertion(rule: Rule) -> str:
    """The rule inside of the transaction."""
    if rule.violations is not None:
        condition = "(%s) <> 0" % rule.violations.strip().rstrip(";")
    else:
        condition = " OR ".join(
            "(SELECT count(*) FROM %s) < %d" % (quoted(table), t.cast(int, rule.minimum_rows)) for table in rule.tables
        )
    return _block("IF %s THEN RAISE EXCEPTION 'codeblue: integrity rule does not hold'; END IF;" % condition)


def _block(body: str) -> str:
    tag = "$codeblue$"
    return "DO %s BEGIN %s END %s;" % (tag, body, tag)


def _pattern(table: str) -> str:
    """As pg_dump takes names: quoted, so that no letter of it is a wildcard."""
    schema, name = qualified(table)
    return "%s.%s" % (identifier(schema), identifier(name))


def _hint(error: ScriptFailed) -> str:
    if error.sqlstate == _DEPENDENT_OBJECTS:
        return "something depends on a table that has to be made anew: restore the whole database"
    if error.sqlstate == _REFERENCED:
        return "others refer to a table that cannot be read: restore them together, or the whole database"
    if error.sqlstate == _RULE_BROKEN:
        return "an integrity rule does not hold with these tables alone: name the tables that belong together in it"
    return error.hint or "see the server's log; the clean copy is still there"
