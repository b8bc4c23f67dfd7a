# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The scripts of the Jobs that work on a MongoDB database in a cluster. Pure: text in, text out.

They need mongosh, mongodump and mongorestore, and a server from 6.0 on, which can block writes. The account reaches the
tools by a file that this Job alone may read, and mongosh by the environment: never by an argument. What
`_kubernetes_postgresql_scripts` says of reports holds here too.

`mongorestore --drop` leaves collections that the dump does not hold, and drops the others before it knows that it can
fill them. So a dump is restored into a database beside, compared, and each collection is renamed over the damaged one;
a damaged one that the dump does not hold is moved aside. Renaming is not one transaction over all of them: a Job
that was cut off goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_postgresql_scripts import EMERGENCY
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import IntegrityRule

_MOST_DUMPS = 5
_PRELUDE = r"""set -eu
umask 077
export HOME="$WORK"
beside="${MONGO_NAME}_codeblue"
say() { printf '%s\n' "$1" >> "$REPORT"; }
failed() { say "{\"failed\": \"$1\"}"; exit 1; }
cat > "$WORK/shell.js" <<'CODEBLUE_JS'
const fs = require('fs');
const env = process.env;
const account = encodeURIComponent(env.MONGO_USER) + ':' + encodeURIComponent(env.MONGO_PASSWORD);
const server = new Mongo('mongodb://' + account + '@' + env.MONGO_HOST + ':' + env.MONGO_PORT + '/?authSource=admin');
const admin = server.getDB('admin');
const live = server.getDB(env.MONGO_NAME);
const beside = server.getDB(env.MONGO_NAME + '_codeblue');
const aside = server.getDB(env.MONGO_NAME + '_codeblue_aside');
const say = (value) => fs.appendFileSync(env.REPORT, JSON.stringify(value) + '\n');
const failed = (why) => { say({failed: why}); quit(1); };
const ask = (on, rules) => {
  let wrong = 0;
  for (const rule of rules) {
    try {
      const db = on;
      const number = Number(eval(rule.query));
      if (!Number.isInteger(number) || number < 0) throw {codeName: 'no number'};
      say({rule: rule.id, on: on.getName(), violations: number});
      wrong += number;
    } catch (error) {
      say({rule: rule.id, on: on.getName(), sqlstate: String(error.codeName || 'failed')});
      wrong += 1;
    }
  }
  return wrong;
};
const names = (db) => db.getCollectionNames();
const rename = (from, to) => {
  const ended = admin.runCommand({renameCollection: from, to: to, dropTarget: true});
  if (!ended.ok) failed('a collection cannot be renamed (' + ended.codeName + ')');
};
CODEBLUE_JS
shell() {
  cat "$WORK/shell.js" - > "$WORK/run.js"
  mongosh --quiet --nodb --file "$WORK/run.js" > "$WORK/answer" 2> "$WORK/error" || return 1
}
# JSON is YAML, and takes any password.
shell <<'CODEBLUE_JS' || failed "the account cannot be written down for the tools"
fs.writeFileSync(env.WORK + '/tools.yml', JSON.stringify({password: env.MONGO_PASSWORD}), {mode: 0o600});
CODEBLUE_JS
with_account() {
  tool="$1"; shift
  "$tool" --config "$WORK/tools.yml" --host "$MONGO_HOST" --port "$MONGO_PORT" --username "$MONGO_USER" \
    --authenticationDatabase admin --quiet "$@" 2> "$WORK/error"
}
"""
_RAISED = """ || { grep -q failed "$REPORT" || failed "mongosh ended with an error"; exit 1; }"""


def query_of(rule: IntegrityRule) -> str:
    """An expression in JavaScript over `db` that gives the number of violations of a rule."""
    if rule.violations is not None:
        return rule.violations.strip().rstrip(";")
    if rule.minimum_rows is not None:
        counts = (f"Math.max(0, {rule.minimum_rows} - db.{each}.countDocuments({{}}))" for each in rule.tables)
        return " + ".join(counts)
    return " + ".join(f"(db.{each}.validate({{full: true}}).valid ? 0 : 1)" for each in rule.tables)


def assess(rules: Sequence[IntegrityRule]) -> str:
    """Hold the database against the rules."""
    return _PRELUDE + _js(f"ask(live, {_rules(rules)});")


def read_only() -> str:
    """Let nobody write but who may pass the block, and see that it is so."""
    return _PRELUDE + _js(
        "admin.runCommand({setUserWriteBlockMode: 1, global: true});\n"
        "const mode = admin.runCommand({serverStatus: 1}).repl?.userWriteBlockMode;\n"
        "if (mode !== 2) failed('writes are not blocked');\n"
        "say({ended: 0, write: 'blocked'});"
    )


def dump(tables: Sequence[str]) -> str:
    """Take an emergency dump, and read it back.

    :param tables: are not needed: nothing is left out.
    """
    del tables
    return _PRELUDE + (
        f'file="$DUMPS/{EMERGENCY}$RUN.archive.gz"\n'
        'if [ ! -f "$file" ]; then\n'
        '  with_account mongodump --db "$MONGO_NAME" --gzip --archive="$file.part" || failed "no dump can be taken"\n'
        '  gzip -t "$file.part" || failed "the dump cannot be read back"\n'
        '  with_account mongorestore --dryRun --gzip --archive="$file.part" || failed "the dump cannot be read back"\n'
        '  mv "$file.part" "$file"\n'
        "fi\n"
        "digest=$(sha256sum < \"$file\" | cut -d ' ' -f 1)\n"
        'say "{\\"file\\": \\"${file##*/}\\", \\"bytes\\": $(wc -c < "$file"), \\"sha256\\": \\"$digest\\"}"\n'
    )


def restore_beside(rules: Sequence[IntegrityRule], tables: Sequence[str]) -> str:
    """Restore the newest dump that is clean into a database beside, and compare collections with it."""
    loop = f"""clean=""
plain='^[A-Za-z0-9._-]+\\.archive\\.gz$'
for name in $(cd "$DUMPS" && ls -1t | grep -E "$plain" | grep -v '^{EMERGENCY}' | head -n {_MOST_DUMPS}); do
  shell <<'CODEBLUE_JS' || failed "no copy can be made"
beside.dropDatabase();
CODEBLUE_JS
  taken=$(date -r "$DUMPS/$name" +%s)
  if with_account mongorestore --gzip --archive="$DUMPS/$name" --nsInclude "$MONGO_NAME.*" \\
    --nsFrom "$MONGO_NAME.*" --nsTo "$beside.*" && shell <<'CODEBLUE_JS'
if (ask(beside, {_rules(rules)})) quit(1);
CODEBLUE_JS
  then say "{{\\"dump\\": \\"$name\\", \\"clean\\": true, \\"taken_at\\": $taken}}"; clean="$name"; break; fi
  say "{{\\"dump\\": \\"$name\\", \\"clean\\": false, \\"taken_at\\": $taken, \\"why\\": \\"rules fail on it\\"}}"
done
[ -n "$clean" ] || failed "no dump holds a clean state"
"""
    compare = f"""for (const table of {json.dumps(list(tables))}) {{
  const digest = (db) => db.runCommand({{dbHash: 1, collections: [table]}}).collections[table];
  const there = names(live).includes(table);
  const number = there ? live[table].countDocuments({{}}) : null;
  const same = there && digest(live) === digest(beside);
  say({{table: table, live: number, beside: beside[table].countDocuments({{}}), same: same}});
}}"""
    return _PRELUDE + loop + _js(compare)


def swap(rules: Sequence[IntegrityRule], tables: Sequence[str], unreadable: Sequence[str]) -> str:
    """Rename collections of the copy over the damaged ones; those that it does not hold are moved aside.

    :param unreadable: makes no difference: nothing is read.
    """
    del unreadable
    work = f"""for (const table of {json.dumps(list(tables))}) {{
  if (names(beside).includes(table)) rename(beside.getName() + '.' + table, live.getName() + '.' + table);
  else if (names(live).includes(table) && !names(aside).includes(table))
    rename(live.getName() + '.' + table, aside.getName() + '.' + table);
}}
if (ask(live, {_rules(rules)})) failed('rules fail on the collections that were brought back');
beside.dropDatabase();
say({{swapped: {len(tables)}}});"""
    return _PRELUDE + _js(work)


def writable() -> str:
    """Let people write again."""
    return _PRELUDE + _js(
        "admin.runCommand({setUserWriteBlockMode: 1, global: false});\n"
        "const mode = admin.runCommand({serverStatus: 1}).repl?.userWriteBlockMode;\n"
        "if (mode === 2) failed('writes are blocked still');\n"
        "say({write: 'ok', before: 'none'});"
    )


def environment(name: str, host: str, port: int) -> dict[str, str]:
    """What the scripts read, but for the account."""
    return {"MONGO_HOST": host, "MONGO_PORT": str(port), "MONGO_NAME": name}


#: The variables that hold user and password.
ACCOUNT = ("MONGO_USER", "MONGO_PASSWORD")


def _js(text: str) -> str:
    return f"shell <<'CODEBLUE_JS'{_RAISED}\n{text}\nCODEBLUE_JS\n"


def _rules(rules: Sequence[IntegrityRule]) -> str:
    return json.dumps([{"id": rule.id, "query": query_of(rule)} for rule in rules])
