# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Is the schema the one that this code knows? One SELECT says yes; only otherwise is Alembic imported."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_database import Database
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import StoreUnavailable
from ansible_collections.codeblue.recovery.plugins.plugin_utils._tables import alembic_version, metadata
from sqlalchemy.engine import Connection

SCHEMA_VERSION = "0004"
MIGRATIONS = Path(__file__).parent / "migrations"
# Any constant will do, as long as nobody else on the server uses it.
_ADVISORY_LOCK = 0x0C0DEB1E


def ensure_schema(database: Database) -> None:
    """Make the schema or bring it up to date, safe with several processes at once.

    :raises StoreUnavailable: the store cannot be used, or a newer version of the collection made it.
    """
    with database.read() as connection:
        version = _version(connection)
    if version == SCHEMA_VERSION:
        return
    with database.write() as transaction:
        connection = transaction.connection
        if database.dialect == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
        version = _version(connection)
        if version == SCHEMA_VERSION:
            return
        if version is None and database.dialect == "sqlite":
            # Making it at once spares a first run the import of Alembic, 0.3 s.
            metadata.create_all(connection)
            alembic_version.create(connection)
            connection.execute(alembic_version.insert().values(version_num=SCHEMA_VERSION))
            return
        _migrate(database, connection, version)


def _version(connection: Connection) -> str | None:
    if not sa.inspect(connection).has_table(alembic_version.name):
        return None
    return connection.scalar(sa.select(alembic_version.c.version_num))


def _migrate(database: Database, connection: Connection, version: str | None) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util.exc import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if version is not None and version not in known:
        raise StoreUnavailable(
            f"the state store at {database.place} has schema version {version}, which this version does not know",
            "use the version of codeblue.recovery that the other controllers use",
        )
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise StoreUnavailable(f"the state store at {database.place} cannot be migrated: {error}") from error
