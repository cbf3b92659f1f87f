"""The HTTP interface of ClickHouse in front of its engine as a library: `PYTHON clickhouse_http.py PORT DIRECTORY`.

The Python needs the packages of `clickhouse.txt`, which do not fit among those of the tests: an environment of its own.
"""

from __future__ import annotations

import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from chdb import session

CODE = re.compile(r"Code: (\d+)")
_one_at_a_time = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    """Answers each POST with the result of the statement in its body."""

    protocol_version = "HTTP/1.1"
    engine: session.Session

    def do_POST(self) -> None:
        statement = self.rfile.read(int(self.headers["Content-Length"])).decode()
        try:
            with _one_at_a_time:
                status, code, answer = 200, "0", self.engine.query(statement).bytes()
        except Exception as error:
            found = CODE.search(str(error))
            status, code, answer = 500, found[1] if found else "0", str(error).encode()
        self.send_response(status)
        self.send_header("X-ClickHouse-Exception-Code", code)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Nothing."""


if __name__ == "__main__":
    Handler.engine = session.Session(sys.argv[2])
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
