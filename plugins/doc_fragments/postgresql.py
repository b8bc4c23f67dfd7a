# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a PostgreSQL member is reached."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of the login, and with MEMBER of the files on the machine."""

    DOCUMENTATION = r"""
options:
  bin_dir:
    description: Directory of the tools of the server's version (C(psql), C(pg_controldata), ...).
    type: path
    required: true
  os_user:
    description: The tools run as this user when the module runs as root.
    type: str
    default: postgres
  address:
    description: Where the server listens.
    type: str
    default: 127.0.0.1
  port:
    description: TCP port of the server.
    type: int
    default: 5432
  socket_dir:
    description: Directory of the server's unix socket. SQL goes through it when given, else through O(address).
    type: path
  database:
    description: Database of the administrative login.
    type: str
    default: postgres
  admin_user:
    description: Role of the administrative login. It needs to be a superuser.
    type: str
    default: postgres
  admin_passfile:
    description:
      - Password file on the machine in the format of libpq, readable by O(os_user) alone.
      - Without it the login has to work without a password, such as peer authentication over O(socket_dir).
    type: path
"""

    MEMBER = r"""
options:
  data_dir:
    description: Absolute path of the data directory.
    type: path
    required: true
  config_file:
    description: Path of C(postgresql.conf) where it lies outside O(data_dir), as on Debian.
    type: path
"""
