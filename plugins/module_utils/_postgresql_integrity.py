# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether the data in a database are whole, by the rules that its inventory gives.

A rule is one of four: a query that counts violations (checksums of rows, sentinels, sums that must agree), a least
number of rows, the constraints of the tables evaluated again, or every page read once, so that PostgreSQL verifies
its checksums. A rule never says more than a number: what rows hold stays in the database.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import (
    PsqlSession,
    SqlError,
    identifier,
    literal,
)

RULE_KINDS = ("violations", "minimum_rows", "constraints", "readable")

VIOLATED = "violated"
MISSING = "missing"
UNREADABLE = "unreadable"
LOCKED = "locked"
FAILED = "failed"

# SQLSTATE to what it says about the data; appendix A of PostgreSQL's manual.
_PROBLEMS = {
    "42P01": MISSING,
    "42703": MISSING,
    "42883": MISSING,
    "3F000": MISSING,
    "XX001": UNREADABLE,
    "XX002": UNREADABLE,
    # An index or a page of TOAST that was lost surfaces as an internal error.
    "XX000": UNREADABLE,
    "55P03": LOCKED,
}
DEFAULT_LOCK_SECONDS = 2.0


@dataclass(frozen=True)
class Rule:
    """One rule.

    :param tables: that it speaks for, as `schema.table` or `table` (in `public`); they are restored together.
    :param violations: a query with one number, 0 when all is well.
    :param minimum_rows: each table has at least so many.
    :param constraints: CHECK, NOT NULL and FOREIGN KEY of the tables hold for every row.
    :param readable: every row of the tables can be read.
    """

    id: str
    tables: t.Tuple[str, ...]
    violations: t.Optional[str] = None
    minimum_rows: t.Optional[int] = None
    constraints: bool = False
    readable: bool = False

    def __post_init__(self) -> None:
        given = (
            self.violations is not None,
            self.minimum_rows is not None,
            self.constraints,
            self.readable,
        )
        if sum(given) != 1:
            raise BadInput("integrity rule %s: exactly one of %s is needed" % (self.id, ", ".join(RULE_KINDS)))
        if not self.tables:
            raise BadInput("integrity rule %s: tables is empty" % self.id, "name the tables that it speaks for")

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> Rule:
        """From one element of the option `rules`."""
        return cls(
            id=params["id"],
            tables=tuple(params["tables"]),
            violations=params.get("violations"),
            minimum_rows=params.get("minimum_rows"),
            constraints=bool(params.get("constraints")),
            readable=bool(params.get("readable")),
        )


@dataclass(frozen=True)
class Finding:
    """What a rule found.

    :param problem: None when the data are whole; else `violated`, `missing`, `unreadable`, `locked` (nobody could
        look: the rule says nothing) or `failed`.
    :param violations: how many, where they were counted.
    """

    rule: str
    tables: t.Tuple[str, ...]
    problem: t.Optional[str]
    violations: t.Optional[int] = None
    sqlstate: t.Optional[str] = None

    @property
    def ok(self) -> bool:
        """The data are whole, as far as this rule can tell."""
        return self.problem is None

    def as_dict(self) -> t.Dict[str, t.Any]:
        """For results."""
        return {
            "rule": self.rule,
            "tables": list(self.tables),
            "ok": self.ok,
            "problem": self.problem,
            "violations": self.violations,
            "sqlstate": self.sqlstate,
        }


def rules_argument() -> t.Dict[str, t.Any]:
    """`rules`, as modules take it."""
    return {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "id": {"type": "str", "required": True},
            "tables": {"type": "list", "elements": "str", "required": True},
            "violations": {"type": "str"},
            "minimum_rows": {"type": "int"},
            "constraints": {"type": "bool", "default": False},
            "readable": {"type": "bool", "default": False},
        },
    }


def qualified(table: str) -> t.Tuple[str, str]:
    """Schema and name of a table as rules write it."""
    schema, dot, name = table.partition(".")
    return (schema, name) if dot else ("public", table)


def quoted(table: str) -> str:
    """The table's name for SQL."""
    schema, name = qualified(table)
    return "%s.%s" % (identifier(schema), identifier(name))


def check_rules(
    sql: PsqlSession, rules: t.Sequence[Rule], lock_seconds: float = DEFAULT_LOCK_SECONDS
) -> t.List[Finding]:
    """Ask every rule, in a session of its own that cannot write.

    :param lock_seconds: how long a rule waits for a table that somebody holds.
    """
    sql.execute(
        "SET default_transaction_read_only = on",
        "SET lock_timeout = %d" % int(lock_seconds * 1000),
        "SET max_parallel_workers_per_gather = 0",
    )
    return [_check(sql, rule) for rule in rules]


def _check(sql: PsqlSession, rule: Rule) -> Finding:
    try:
        count = _violations(sql, rule)
    except SqlError as error:
        # Never the server's text: it may repeat what a row holds.
        problem = _PROBLEMS.get(error.sqlstate, FAILED)
        return Finding(rule.id, rule.tables, problem, sqlstate=error.sqlstate)
    return Finding(rule.id, rule.tables, VIOLATED if count else None, violations=count)


def _violations(sql: PsqlSession, rule: Rule) -> int:
    if rule.violations is not None:
        return _number(sql.query(rule.violations), rule.id)
    if rule.minimum_rows is not None:
        return sum(
            max(0, rule.minimum_rows - _number(sql.query("SELECT count(*) FROM %s" % quoted(table)), rule.id))
            for table in rule.tables
        )
    if rule.readable:
        for table in rule.tables:
            # As text, so that values that lie outside of the row are fetched as well.
            sql.query("SELECT count(r::text) FROM ONLY %s r" % quoted(table))
        return 0
    return sum(_number(sql.query(query), rule.id) for table in rule.tables for query in constraint_queries(sql, table))


def _number(text: str, rule: str) -> int:
    value = text.strip()
    if not value.lstrip("-").isdigit():
        raise BadInput("integrity rule %s: its query gives no single number" % rule, "write it as SELECT count(*) …")
    return abs(int(value))


def constraint_queries(sql: PsqlSession, table: str) -> t.List[str]:
    """One counting query for each constraint of a table.

    :raises SqlError: the table is missing.
    """
    name = quoted(table)
    where = "attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped" % literal(name)
    queries = [
        "SELECT count(*) FROM ONLY %s WHERE %s IS NULL" % (name, identifier(row["attname"]))
        for row in sql.rows("SELECT attname FROM pg_attribute WHERE attnotnull AND " + where)
    ]
    queries += [
        "SELECT count(*) FROM ONLY %s WHERE NOT (%s)" % (name, row["condition"])
        for row in sql.rows(
            "SELECT pg_get_expr(conbin, conrelid) AS condition FROM pg_constraint"
            " WHERE contype = 'c' AND conrelid = %s::regclass" % literal(name)
        )
    ]
    foreign = sql.rows(
        "SELECT k.confrelid::regclass::text AS parent,"
        " (SELECT json_agg(json_build_array(c.attname, p.attname) ORDER BY n.i)"
        "  FROM unnest(k.conkey, k.confkey) WITH ORDINALITY AS n(child, parent, i)"
        "  JOIN pg_attribute c ON c.attrelid = k.conrelid AND c.attnum = n.child"
        "  JOIN pg_attribute p ON p.attrelid = k.confrelid AND p.attnum = n.parent) AS pairs"
        " FROM pg_constraint k WHERE k.contype = 'f' AND k.conrelid = %s::regclass" % literal(name)
    )
    for row in foreign:
        pairs = [(identifier(child), identifier(parent)) for child, parent in row["pairs"]]
        given = " AND ".join("c.%s IS NOT NULL" % child for child, _parent in pairs)
        same = " AND ".join("p.%s = c.%s" % (parent, child) for child, parent in pairs)
        queries.append(
            "SELECT count(*) FROM ONLY %s c WHERE %s AND NOT EXISTS (SELECT FROM %s p WHERE %s)"
            % (name, given, row["parent"], same)
        )
    return queries
