"""The application's process: obeys one JSON line from stdin at a time, answers with one on stdout.

A script that imports nothing of syncd. It ends without closing anything when stdin ends: like a crash.
"""

import json
import os
import sqlite3
import sys
from pathlib import Path
from typing import Any

connections: dict[str, sqlite3.Connection] = {}


def obey(order: dict[str, Any]) -> Any:
    name = order.get("name", "a")
    match order["do"]:
        case "open":
            connections[name] = sqlite3.connect(
                order["path"], isolation_level=None, uri=order["path"].startswith("file:"), timeout=5
            )
        case "sql":
            return connections[name].execute(order["sql"], order["values"]).fetchall()
        case "many":
            connections[name].executemany(order["sql"], order["rows"])
        case "serialize":
            Path(order["to"]).write_bytes(connections[name].serialize())
        case "close":
            connections.pop(name).close()
        case unknown:
            raise ValueError(unknown)
    return None


def main() -> None:
    for line in sys.stdin:
        try:
            answer = {"ok": obey(json.loads(line))}
        except sqlite3.Error as e:
            answer = {"error": str(e)}
        print(json.dumps(answer), flush=True)
    os._exit(1)


if __name__ == "__main__":
    main()
