# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs the migrations on the connection, and in the transaction, that the store hands over."""

from __future__ import annotations

from alembic import context

connection = context.config.attributes["connection"]
# The store opened the transaction and commits it: schema and version number change together.
context.configure(connection=connection, transactional_ddl=False)
context.run_migrations()
