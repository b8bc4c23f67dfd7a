"""batch_report: a report that never ends. Its workers take all the processor time that they get.

Only the fault `cpu_hog` runs it, on the processor that it is given.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time


def burn() -> None:
    number = 1
    while True:
        number = number * 1_103_515_245 % 2_147_483_647


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as stream:
        config = json.load(stream)
    os.sched_setaffinity(0, set(config["processors"]))
    workers: list[int] = []
    parent = os.getpid()
    for _ in range(int(config["workers"])):
        pid = os.fork()
        if pid == 0:
            # A worker never outlives the report, however that ends.
            threading.Thread(target=_follow, args=(parent,), daemon=True).start()
            burn()
        workers.append(pid)

    def stop(*_: object) -> None:
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    while True:
        signal.pause()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


if __name__ == "__main__":
    main()
