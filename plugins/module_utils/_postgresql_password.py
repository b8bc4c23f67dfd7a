# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Sets a role's password by its SCRAM verifier, and leaves no trace of it in the server's logs and views."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import (
    PsqlSession,
    SqlError,
    identifier,
    literal,
)

# The default of PostgreSQL's scram_iterations.
DEFAULT_ITERATIONS = 4096

_VERIFIER = re.compile(
    r"\ASCRAM-SHA-256\$(\d{4,7}):([A-Za-z0-9+/=]{8,64})\$([A-Za-z0-9+/=]{44}):([A-Za-z0-9+/=]{44})\Z"
)

# Whatever could write the statement down, for this transaction only. Extensions that are not loaded take the
# setting as a mere placeholder.
_QUIET = (
    "SET LOCAL log_statement = 'none'",
    "SET LOCAL log_min_error_statement = 'panic'",
    "SET LOCAL log_min_duration_statement = -1",
    "SET LOCAL log_min_duration_sample = -1",
    "SET LOCAL log_transaction_sample_rate = 0",
    "SET LOCAL log_duration = off",
    "SET LOCAL track_activities = off",
    "SET LOCAL pg_stat_statements.track_utility = off",
    "SET LOCAL pg_stat_statements.track = 'none'",
    "SET LOCAL pgaudit.log = 'none'",
)


def scram_verifier(password: str, iterations: int = DEFAULT_ITERATIONS, salt: t.Optional[bytes] = None) -> str:
    """What PostgreSQL stores for a password (RFC 5803); the password itself need not leave this process.

    :param password: printable ASCII, for which SASLprep changes nothing.
    :param salt: random by default.
    :raises BadInput: other characters.
    """
    if not password or not all(" " <= character <= "~" for character in password):
        raise BadInput("a password for PostgreSQL holds other characters than printable ASCII")
    salt = os.urandom(16) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored_key = hashlib.sha256(hmac.new(salted, b"Client Key", hashlib.sha256).digest()).digest()
    server_key = hmac.new(salted, b"Server Key", hashlib.sha256).digest()
    encoded = [base64.b64encode(part).decode() for part in (salt, stored_key, server_key)]
    return "SCRAM-SHA-256$%d:%s$%s:%s" % (iterations, encoded[0], encoded[1], encoded[2])


def check_verifier(verifier: str) -> None:
    """PostgreSQL would take anything else for a password in plain text.

    :raises BadInput: it is no SCRAM verifier; it is not repeated in the message.
    """
    match = _VERIFIER.match(verifier)
    try:
        sound = match is not None and all(base64.b64decode(part, validate=True) for part in match.groups()[1:])
    except binascii.Error:
        sound = False
    if not sound:
        raise BadInput("verifier is no SCRAM-SHA-256 verifier", "make it with scram_verifier()")


def look_at_password(sql: PsqlSession, role: str, verifier: str) -> t.Dict[str, t.Any]:
    """Whether the role has this verifier already; nothing of either is returned.

    :raises BadInput: there is no such role.
    """
    rows = _quietly(
        sql,
        "SELECT coalesce(rolpassword = %s, false) FROM pg_authid WHERE rolname = %s"
        % (literal(verifier), literal(role)),
    )
    if not rows:
        raise BadInput("there is no role %r in this cluster" % role)
    return {"verifier_matches": rows.strip() == "t"}


def look_for_password(sql: PsqlSession, role: str) -> t.Dict[str, t.Any]:
    """Whether the role has a password at all; nothing of it is returned.

    :raises BadInput: there is no such role.
    """
    rows = sql.rows("SELECT rolpassword IS NOT NULL AS present FROM pg_authid WHERE rolname = %s" % literal(role))
    if not rows:
        raise BadInput("there is no role %r in this cluster" % role)
    return {"has_password": bool(rows[0]["present"])}


def take_password_away(sql: PsqlSession, role: str) -> None:
    """ALTER ROLE ... PASSWORD NULL: no password is taken from then on."""
    sql.execute("ALTER ROLE %s PASSWORD NULL" % identifier(role))


def set_password(sql: PsqlSession, role: str, verifier: str) -> None:
    """ALTER ROLE ... PASSWORD.

    :raises CodeblueError: the server refuses it; the message holds nothing of the verifier.
    """
    _quietly(sql, "ALTER ROLE %s PASSWORD %s" % (identifier(role), literal(verifier)))


def end_sessions_of_role(sql: PsqlSession, role: str) -> t.List[t.Dict[str, t.Any]]:
    """End all client sessions of the role: a password is asked for at login only."""
    return sql.rows(
        "SELECT pid, backend_start::text AS started, pg_terminate_backend(pid) AS ended FROM pg_stat_activity"
        " WHERE usename = %s AND pid <> pg_backend_pid() AND backend_type = 'client backend'" % literal(role)
    )


def _quietly(sql: PsqlSession, statement: str) -> str:
    sql.execute("BEGIN")
    try:
        sql.execute(*_QUIET)
    except SqlError as error:
        sql.execute("ROLLBACK")
        raise CodeblueError(
            "the server's logging cannot be silenced for this statement: %s" % error.message,
            "admin_user needs to be a superuser",
        ) from None
    try:
        output = sql.query(statement)
    except SqlError as error:
        sql.execute("ROLLBACK")
        # The server may repeat the statement in its message; the code says enough.
        raise CodeblueError("the server refused to change the password (SQLSTATE %s)" % error.sqlstate) from None
    sql.execute("COMMIT")
    return output
