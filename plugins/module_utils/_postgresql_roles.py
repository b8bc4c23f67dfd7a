# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Roles that log in: whether they can, with whose rights, and from where they do now."""

from __future__ import annotations

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import PsqlSession, text_array

_ROLES = """
SELECT r.rolname AS role, r.rolcanlogin AS may_log_in, r.rolsuper AS superuser, r.rolreplication AS replication,
    r.rolconnlimit AS connection_limit, a.rolpassword IS NOT NULL AS has_password,
    ARRAY(SELECT g.rolname::text FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
        WHERE m.member = r.oid ORDER BY 1) AS member_of,
    ARRAY(SELECT setting FROM pg_db_role_setting s, unnest(s.setconfig) AS setting
        WHERE s.setrole = r.oid ORDER BY 1) AS settings
FROM pg_roles r JOIN pg_authid a ON a.oid = r.oid WHERE r.rolname = ANY (%s)
"""
_SESSIONS = """
SELECT usename::text AS role, coalesce(application_name, '') AS application_name,
    coalesce(host(client_addr), 'local') AS client, count(*)::int AS count
FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND usename = ANY (%s)
GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3 LIMIT 100
"""


def look_at_login_roles(sql: PsqlSession, roles: t.Sequence[str]) -> t.Dict[str, t.Any]:
    """Every role that exists, and all their sessions, counted. Nothing of a password is returned."""
    names = text_array(roles)
    found = sql.rows(_ROLES % names)
    return {
        "roles": {each["role"]: {key: value for key, value in each.items() if key != "role"} for each in found},
        "sessions": sql.rows(_SESSIONS % names),
    }
