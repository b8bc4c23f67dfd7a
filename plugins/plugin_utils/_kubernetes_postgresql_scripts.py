# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The scripts of the Jobs that work on a PostgreSQL database in a cluster. Pure: text in, text out.

Each runs the engine's own tools, by the environment `PGHOST`, `PGUSER`, `PGPASSWORD` and so on, needs a POSIX shell,
and is safe to run again. What it found goes line by line, as JSON, into `REPORT`, which the kubelet puts into the state
of the pod: names and numbers, never what a row holds. Of an error of the server the SQLSTATE is told, and its text goes
nowhere, because it may repeat a row.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_integrity import quoted
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import IntegrityRule

#: At the end of the name of the copy that a dump is restored into.
BESIDE = "_codeblue"
EMERGENCY = "codeblue-emergency-"
# Older dumps than these are somebody's decision.
_MOST_DUMPS = 5

_PRELUDE = r"""set -eu
umask 077
export HOME="$WORK"
beside="${PGDATABASE}_codeblue"
say() { printf '%s\n' "$1" >> "$REPORT"; }
failed() { say "{\"failed\": \"$1\"}"; exit 1; }
state() { sed -n 's/.*\(ERROR\|FATAL\): *\([0-9A-Z]\{5\}\).*/\2/p' "$WORK/error" | head -n 1; }
sql() { psql -X -q -A -t -v ON_ERROR_STOP=1 -v VERBOSITY=sqlstate "$@" 2> "$WORK/error"; }
ask() {
  if count=$(sql -d "$1" -c "SET default_transaction_read_only = on" -c "SET lock_timeout = 2000" -c "$3"); then
    case "$count" in
      ''|*[!0-9]*) say "{\"rule\": \"$2\", \"on\": \"$1\", \"sqlstate\": \"no number\"}"; wrong=1 ;;
      *) say "{\"rule\": \"$2\", \"on\": \"$1\", \"violations\": $count}"; [ "$count" = 0 ] || wrong=1 ;;
    esac
  else
    say "{\"rule\": \"$2\", \"on\": \"$1\", \"sqlstate\": \"$(state)\"}"; wrong=1
  fi
}
setting() {
  sql -v wanted="$1" <<'SQL'
SELECT coalesce((SELECT substr(c, length(:'wanted') + 2) FROM pg_db_role_setting s, unnest(s.setconfig) c
  WHERE s.setrole = 0 AND s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND c LIKE :'wanted' || '=%'), '');
SQL
}
# As a client does it, without what lets this Job write; nothing of it stays. Without a SQLSTATE nobody was reached.
try_to_write() {
  for _try in 1 2 3 4 5; do
    if PGOPTIONS='' sql <<'SQL'
BEGIN;
CREATE TABLE codeblue_write_probe ();
ROLLBACK;
SQL
    then return 0; fi
    [ -z "$(state)" ] || return 1
    sleep 1
  done
  return 1
}
sql -c 'SELECT 1' > "$WORK/answer" || failed "the database does not answer ($(state))"
"""

_READ_ONLY = r"""
before=$(setting codeblue.read_only_before)
if [ -z "$before" ]; then
  before=$(setting default_transaction_read_only)
  sql -v db="$PGDATABASE" -v before="${before:-none}" <<'SQL'
ALTER DATABASE :"db" SET codeblue.read_only_before = :'before';
SQL
fi
sql -v db="$PGDATABASE" <<'SQL' || failed "it cannot be made read only ($(state))"
ALTER DATABASE :"db" SET default_transaction_read_only = on;
SQL
ended=$(sql -c "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database()
  AND pid <> pg_backend_pid() AND backend_type = 'client backend'") || failed "sessions cannot be ended ($(state))"
if try_to_write; then failed "a write that was tried succeeds"; fi
refusal=$(state)
[ "$refusal" = 25006 ] || failed "a write that was tried fails for another reason ($refusal)"
say "{\"ended\": $ended, \"write\": \"$refusal\"}"
"""

_DUMP = r"""
file="$DUMPS/%(emergency)s$RUN.dump"
without=""
if [ ! -f "$file" ]; then
  rm -f "$file.part"
  if ! pg_dump -Fc -f "$file.part" 2> "$WORK/error"; then
    # Rows that cannot be read keep nobody from keeping the others.
    without=%(tables_text)s
    pg_dump -Fc %(excluded)s -f "$file.part" 2> "$WORK/error" || failed "no dump can be taken"
  fi
  pg_restore -f "$WORK/read_back" "$file.part" 2> "$WORK/error" || failed "the dump cannot be read back"
  rm -f "$WORK/read_back"
  mv "$file.part" "$file"
fi
digest=$(sha256sum < "$file" | cut -d ' ' -f 1)
say "{\"file\": \"${file##*/}\", \"bytes\": $(wc -c < "$file"), \"sha256\": \"$digest\", \"without\": \"$without\"}"
"""

_BESIDE = r"""
make_beside() {
  sql -d postgres -v beside="$beside" <<'SQL' || failed "no copy can be made ($(state))"
DROP DATABASE IF EXISTS :"beside" WITH (FORCE);
SQL
  encoding=$(sql -c 'SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()')
  sql -d postgres -v beside="$beside" -v encoding="$encoding" <<'SQL' || failed "no copy can be made ($(state))"
CREATE DATABASE :"beside" TEMPLATE template0 ENCODING :'encoding';
SQL
}
rows_of() {
  sql -d "$1" -c "COPY (SELECT md5(r::text) FROM ONLY $2 r) TO STDOUT" > "$3.raw" || return 1
  LC_ALL=C sort "$3.raw" > "$3"
  rm "$3.raw"
}
compare() {
  rows_of "$beside" "$1" "$WORK/beside" || failed "the dump does not hold the table $2 ($(state))"
  live=null
  : > "$WORK/live"
  if rows_of "$PGDATABASE" "$1" "$WORK/live"; then live=$(wc -l < "$WORK/live"); fi
  out=$(LC_ALL=C comm -23 "$WORK/live" "$WORK/beside" | wc -l)
  back=$(LC_ALL=C comm -13 "$WORK/live" "$WORK/beside" | wc -l)
  say "{\"table\": \"$2\", \"live\": $live, \"beside\": $(wc -l < "$WORK/beside"), \"out\": $out, \"back\": $back}"
}
clean=""
# The newest first; names that a shell could take for more than a name are none of a dump.
plain='^[A-Za-z0-9._-]+\.dump$'
for name in $(cd "$DUMPS" && ls -1t | grep -E "$plain" | grep -v '^%(emergency)s' | head -n %(most)d); do
  make_beside
  if ! pg_restore --exit-on-error -d "$beside" "$DUMPS/$name" 2> "$WORK/error"; then
    say "{\"dump\": \"$name\", \"clean\": false, \"why\": \"it cannot be restored\"}"; continue
  fi
  wrong=0
%(rules)s
  taken=$(date -r "$DUMPS/$name" +%%s)
  if [ "$wrong" = 0 ]; then
    say "{\"dump\": \"$name\", \"clean\": true, \"taken_at\": $taken}"; clean="$name"; break
  fi
  say "{\"dump\": \"$name\", \"clean\": false, \"taken_at\": $taken, \"why\": \"rules fail on it\"}"
done
[ -n "$clean" ] || failed "no dump holds a clean state"
%(compare)s
"""

_SWAP = r"""
there=$(sql -d postgres -v beside="$beside" <<'SQL'
SELECT count(*) FROM pg_database WHERE datname = :'beside';
SQL
)
wrong=0
if [ "$there" = 0 ]; then
%(rules)s
  [ "$wrong" = 0 ] || failed "the copy is gone and rules fail still"
  say '{"already": true}'; exit 0
fi
shape() {
  sql -d "$1" -c "SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attname)
    FROM pg_attribute WHERE attrelid = to_regclass('$2') AND attnum > 0 AND NOT attisdropped"
}
columns() {
  sql -d "$beside" -c "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
    WHERE attrelid = '$1'::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''"
}
add() { printf '%%s\n' "$@" >> "$WORK/swap.sql"; }
number=0
bring_back() {
  number=$((number + 1))
  if [ "$(shape "$PGDATABASE" "$1")" = "$(shape "$beside" "$1")" ]; then
    listed=$(columns "$1")
    rows="$WORK/rows_$number"
    sql -d "$beside" -c "COPY (SELECT $listed FROM ONLY $1) TO STDOUT" > "$rows" || failed "$2 cannot be read"
    add "LOCK TABLE $1 IN ACCESS EXCLUSIVE MODE;" "$3" "\\copy $1 ($listed) from '$rows'"
  else
    pg_dump -d "$beside" -t "$1" -f "$WORK/table_$number.sql" 2> "$WORK/error" || failed "$2 cannot be read"
    add "DROP TABLE IF EXISTS $1;" "\\i $WORK/table_$number.sql" "SET LOCAL search_path TO DEFAULT;"
  fi
}
rm -f "$WORK/swap.sql"
add 'BEGIN;' 'SET LOCAL session_replication_role = replica;'
%(tables)s
cat >> "$WORK/swap.sql" <<'CODEBLUE_ASSERTIONS'
%(assertions)s
COMMIT;
CODEBLUE_ASSERTIONS
sql -f "$WORK/swap.sql" > "$WORK/answer" || failed "the tables were not swapped, all is as it was ($(state))"
%(rules)s
[ "$wrong" = 0 ] || failed "rules fail on the tables that were brought back"
sql -d postgres -v beside="$beside" <<'SQL' || failed "the copy cannot be removed ($(state))"
DROP DATABASE IF EXISTS :"beside" WITH (FORCE);
SQL
say "{\"swapped\": $number}"
"""

_WRITABLE = r"""
before=$(setting codeblue.read_only_before)
case "$before" in
  '') ;;
  none) sql -v db="$PGDATABASE" <<'SQL' || failed "it cannot be made writable ($(state))"
ALTER DATABASE :"db" RESET default_transaction_read_only;
SQL
  ;;
  *) sql -v db="$PGDATABASE" -v before="$before" <<'SQL' || failed "it cannot be made as it was ($(state))"
ALTER DATABASE :"db" SET default_transaction_read_only = :'before';
SQL
  ;;
esac
if [ "$before" != on ] && ! try_to_write; then failed "a write that was tried does not succeed ($(state))"; fi
# Last: a Job that was cut off before finds it still.
[ -z "$before" ] || sql -v db="$PGDATABASE" <<'SQL' || failed "its mark cannot be removed ($(state))"
ALTER DATABASE :"db" RESET codeblue.read_only_before;
SQL
say "{\"write\": \"ok\", \"before\": \"${before:-unknown}\"}"
"""


def query_of(rule: IntegrityRule) -> str:
    """A query that gives the number of violations of a rule."""
    if rule.violations is not None:
        return rule.violations.strip().rstrip(";")
    names = [quoted(table) for table in rule.tables]
    if rule.minimum_rows is not None:
        return "SELECT " + " + ".join(f"greatest(0, {rule.minimum_rows} - (SELECT count(*) FROM {n}))" for n in names)
    # As text, so that values that lie outside of the row are fetched as well.
    return "SELECT " + " + ".join(f"0 * (SELECT count(r::text) FROM ONLY {name} r)" for name in names)


def assess(rules: Sequence[IntegrityRule]) -> str:
    """Hold the database against the rules."""
    return _PRELUDE + "wrong=0\n" + _asked(rules, '"$PGDATABASE"')


def read_only() -> str:
    """Let nobody write, and try it."""
    return _PRELUDE + _READ_ONLY


def dump(tables: Sequence[str]) -> str:
    """Take an emergency dump, and read it back.

    :param tables: that are damaged: their rows are left out where they cannot be read.
    """
    excluded = " ".join(f"--exclude-table-data={shlex.quote(quoted(table))}" for table in tables)
    filled = {"emergency": EMERGENCY, "excluded": excluded, "tables_text": shlex.quote(" ".join(tables))}
    return _PRELUDE + _DUMP % filled


def restore_beside(rules: Sequence[IntegrityRule], tables: Sequence[str]) -> str:
    """Restore the newest dump that is clean into a copy, and compare tables with it."""
    compared = "\n".join(f"compare {shlex.quote(quoted(table))} {shlex.quote(table)}" for table in tables)
    filled = {"emergency": EMERGENCY, "most": _MOST_DUMPS, "rules": _asked(rules, '"$beside"'), "compare": compared}
    return _PRELUDE + _BESIDE % filled


def swap(rules: Sequence[IntegrityRule], tables: Sequence[str], unreadable: Sequence[str]) -> str:
    """Bring tables back from the copy, in one transaction in which the rules have to hold.

    :param unreadable: those that are emptied without being read.
    """
    lines = []
    for table in tables:
        name = quoted(table)
        emptied = f"TRUNCATE ONLY {name};" if table in unreadable else f"DELETE FROM ONLY {name};"
        lines.append(f"bring_back {shlex.quote(name)} {shlex.quote(table)} {shlex.quote(emptied)}")
    asserted = "\n".join(
        f"DO $codeblue$ BEGIN IF ({query_of(rule)}) <> 0 THEN RAISE EXCEPTION 'rule'; END IF; END $codeblue$;"
        for rule in rules
        if not rule.readable
    )
    filled = {"rules": _asked(rules, '"$PGDATABASE"'), "tables": "\n".join(lines), "assertions": asserted}
    return _PRELUDE + _SWAP % filled


def writable() -> str:
    """Let people write again, and try it."""
    return _PRELUDE + _WRITABLE


def _asked(rules: Sequence[IntegrityRule], database: str) -> str:
    return "\n".join(f"ask {database} {shlex.quote(rule.id)} {shlex.quote(query_of(rule))}" for rule in rules)


def environment(name: str, host: str, port: int) -> dict[str, str]:
    """What the tools read, but for the account."""
    return {
        "PGHOST": host,
        "PGPORT": str(port),
        "PGDATABASE": name,
        "PGCONNECT_TIMEOUT": "10",
        "PGAPPNAME": "codeblue",
        # This Job writes while others may not.
        "PGOPTIONS": "-c default_transaction_read_only=off",
    }


#: The variables that hold user and password.
ACCOUNT = ("PGUSER", "PGPASSWORD")
