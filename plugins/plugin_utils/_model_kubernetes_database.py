# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a service on Kubernetes says of the database that it is: by which image, account and dumps Jobs work on it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import IntegrityRule
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host_reading import read_integrity_rule
from ansible_collections.codeblue.recovery.plugins.plugin_utils._typed_mapping import TypedMapping, quote

POSTGRESQL, MONGODB = "postgresql", "mongodb"
ENGINES = (POSTGRESQL, MONGODB)
_PORTS = {POSTGRESQL: 5432, MONGODB: 27017}
_WRITERS = {"deployment": "Deployment", "statefulset": "StatefulSet"}
# The account of the official image of PostgreSQL on Debian.
_RUN_AS = 999
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,50}")
_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}(\.[A-Za-z_][A-Za-z0-9_]{0,62})?")
_ID = re.compile(r"[A-Za-z0-9_.-]{1,60}")


@dataclass(frozen=True)
class Dumps:
    """The volume with the dumps of every night, into which the emergency dump goes too.

    :param claim: a PersistentVolumeClaim; None where it is a directory of an NFS server.
    :param directory: below the volume.
    """

    claim: str | None
    server: str | None
    path: str
    directory: str


@dataclass(frozen=True)
class ClusterDatabase:
    """What `codeblue_kubernetes.database` says.

    :param image: with the tools of the engine, for Jobs.
    :param name: of the database.
    :param host: where Jobs reach it; the Service when None.
    :param secret: with the account of an administrator; `user` and `password` are keys in it.
    :param writers: workloads of the same namespace that write, as kind and name; scaled to zero while it is mended.
    :param integrity: by which damage is known, see the module postgresql_integrity.
    :param volume_snapshot_class: of CSI snapshots of the claims of its pods; None takes none.
    :param run_as: the user id that Jobs run as.
    """

    engine: str
    image: str
    name: str
    host: str | None
    port: int
    secret: str
    user: str
    password: str
    dumps: Dumps
    writers: tuple[tuple[str, str], ...]
    integrity: tuple[IntegrityRule, ...]
    volume_snapshot_class: str | None
    run_as: int


def read_database(values: TypedMapping) -> ClusterDatabase:
    """Read `codeblue_kubernetes.database`; what is wrong goes to the problems of the mapping."""
    engine = values.choice("engine", ENGINES)
    credentials = values.child("credentials")
    account = {key: credentials.text(key, default=key) for key in ("user", "password")}
    secret = credentials.text("secret")
    credentials.finish()
    database = ClusterDatabase(
        engine=engine,
        image=values.text("image"),
        name=_checked(values, "name", values.text("name"), _NAME),
        host=values.optional_text("host"),
        port=values.integer("port", default=_PORTS.get(engine, 1), least=1, most=65535),
        secret=secret,
        user=account["user"],
        password=account["password"],
        dumps=_dumps(values.child("dumps")),
        writers=tuple(_writers(values)),
        integrity=tuple(_rule(item) for item in values.listed("integrity")),
        volume_snapshot_class=values.optional_text("volume_snapshot_class"),
        run_as=values.integer("run_as", default=_RUN_AS, least=1),
    )
    values.finish()
    return database


def _dumps(values: TypedMapping) -> Dumps:
    found = Dumps(
        claim=values.optional_text("claim"),
        server=values.optional_text("nfs_server"),
        path=values.text("nfs_path", default="/"),
        directory=values.text("directory", default="").strip("/"),
    )
    if (found.claim is None) == (found.server is None):
        values.problem("claim", "name a PersistentVolumeClaim, or nfs_server with nfs_path: exactly one of both")
    if ".." in found.directory.split("/"):
        values.problem("directory", "must not lead out of the volume")
    values.finish()
    return found


def _writers(values: TypedMapping) -> list[tuple[str, str]]:
    found = []
    for each in values.texts("writers"):
        kind, slash, name = each.partition("/")
        if not slash or kind not in _WRITERS or not name:
            values.problem("writers", f"{quote(each)} is no workload, write deployment/NAME or statefulset/NAME")
            continue
        found.append((_WRITERS[kind], name))
    return found


def _rule(values: TypedMapping) -> IntegrityRule:
    rule = read_integrity_rule(values)
    _checked(values, "id", rule.id, _ID)
    for table in rule.tables:
        _checked(values, "tables", table, _TABLE)
    if rule.constraints:
        # Asked of every constraint by the catalog: a Job's script has one query for each rule.
        values.problem("constraints", "is for databases on machines, write the query as violations")
    return rule


def _checked(values: TypedMapping, key: str, text: str, form: re.Pattern[str]) -> str:
    if text and not form.fullmatch(text):
        values.problem(key, f"{quote(text)} is no plain name")
    return text
