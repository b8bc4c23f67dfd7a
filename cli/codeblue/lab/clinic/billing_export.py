"""billing_export: a monthly export that wants the records to hold still, and then waits for its partner's server.

Only the fault `blocking_lock` runs it. Its one transaction stays open, idle, with a lock that lets others read and
keeps every write waiting. Ended from outside, it ends: such a job is started again by a person.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import psycopg

LOCK = "lock table records in share row exclusive mode"


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as stream:
        config = json.load(stream)
    with psycopg.connect(
        host=config["host"],
        port=config["port"],
        dbname=config["dbname"],
        user=config["user"],
        application_name=config["application_name"],
        password=Path(config["password_file"]).read_text(encoding="utf-8").strip(),
        connect_timeout=2,
    ) as connection:
        connection.execute(LOCK)
        connection.execute("select count(*) from records")
        print("locked, waiting for the partner's server", flush=True)
        try:
            while True:
                # Looks at the socket only: the session stays idle in its transaction.
                connection.pgconn.consume_input()
                time.sleep(0.1)
        except psycopg.Error as error:
            print(f"the session ended: {type(error).__name__}", flush=True)
            sys.exit(1)


if __name__ == "__main__":
    main()
