"""crawler: a client that opens connections to the gateway as fast as they are closed, and takes its time on each.

Only the fault `connection_storm` runs it. It comes from an address of its own; cut off, it keeps trying.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

# After a refusal, as programs do that were written without a thought for the other side.
PAUSE_SECONDS = 0.5


async def visit(config: dict[str, Any]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", config["port"], local_addr=(config["source"], 0))
    try:
        writer.write(b"GET /health/live HTTP/1.1\r\nHost: clinic\r\nConnection: close\r\n")
        await writer.drain()
        await asyncio.sleep(config["hold_seconds"])
        writer.write(b"\r\n")
        await writer.drain()
        if not await asyncio.wait_for(reader.read(200), 10.0):
            raise ConnectionResetError("closed without an answer")
    finally:
        writer.close()


async def keep_visiting(config: dict[str, Any]) -> None:
    while True:
        try:
            await visit(config)
        except (OSError, TimeoutError):
            await asyncio.sleep(PAUSE_SECONDS)


async def crawl(config: dict[str, Any]) -> None:
    await asyncio.gather(*(keep_visiting(config) for _ in range(config["connections"])))


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as stream:
        asyncio.run(crawl(json.load(stream)))


if __name__ == "__main__":
    main()
