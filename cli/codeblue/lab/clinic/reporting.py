"""reporting: a client that leaks. It opens session after session and closes none, as a forgotten close() does.

Only the fault `pool_exhausted` runs it. Like any such program it comes back when its sessions are ended.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import psycopg

# After losing sessions it waits before it comes back.
BACKOFF_SECONDS = 1.0
# While the server has no free slot it keeps asking, as waiting requests do, and less and less often.
FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 0.02, 0.25
# More than any server of the lab grants.
MOST_SESSIONS = 200


def alive(connection: psycopg.Connection[Any]) -> bool:
    """Looks at the socket only: a query would end the very idleness that makes the leak."""
    try:
        connection.pgconn.consume_input()
    except psycopg.Error:
        return False
    return not connection.closed


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as stream:
        config = json.load(stream)
    password = Path(config["password_file"]).read_text(encoding="utf-8").strip()
    sessions: list[psycopg.Connection[Any]] = []
    reported, pause = 0, FIRST_RETRY_SECONDS
    while True:
        kept = [session for session in sessions if alive(session)]
        if len(kept) < len(sessions):
            print(f"lost {len(sessions) - len(kept)} sessions", flush=True)
            sessions = kept
            time.sleep(BACKOFF_SECONDS)
        try:
            while len(sessions) < MOST_SESSIONS:
                session = psycopg.connect(
                    host=config["host"],
                    port=config["port"],
                    dbname=config["dbname"],
                    user=config["user"],
                    application_name="reporting",
                    password=password,
                    connect_timeout=2,
                    # Every other session also leaves its transaction open.
                    autocommit=len(sessions) % 2 == 0,
                )
                session.execute("select count(*) from records")
                sessions.append(session)
        except psycopg.Error as error:
            pause = min(pause * 1.3, LONGEST_RETRY_SECONDS)
            if len(sessions) != reported:
                reported, pause = len(sessions), FIRST_RETRY_SECONDS
                print(f"{reported} sessions open, the next one failed: {type(error).__name__}", flush=True)
        time.sleep(pause)


if __name__ == "__main__":
    main()
