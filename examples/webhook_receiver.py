"""Receives the records of calls: a server for AVR_CALL_WEBHOOK, of the standard library alone.

    AVR_CALL_WEBHOOK_SECRET=... python examples/webhook_receiver.py 8091
    AVR_CALL_WEBHOOK_SECRET=... AVR_CALL_WEBHOOK="http://127.0.0.1:8091/calls" avr-bridge serve

It believes what is signed and new, answers at once, and prints a line for each call. A real one
would put the record into a queue or a database at that point, by its `delivery`: a record whose
answer was lost on the way comes again.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = os.environ.get("AVR_CALL_WEBHOOK_SECRET", "")
LONGEST_RECORD_BYTES = 4 * 1024 * 1024
OLDEST_S = 300


def is_genuine(secret: str, timestamp: str, signature: str, body: bytes) -> bool:
    """Whether whoever sent `body` knows the secret, and sent it within the last five minutes."""
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > OLDEST_S:
        return False
    signed = timestamp.encode() + b"." + body
    wanted = "v1=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return hmac.compare_digest(signature.encode(), wanted.encode())


class Receiver(BaseHTTPRequestHandler):
    """One request."""

    def do_POST(self) -> None:
        """Take a record: 204, or 401 for what is not genuine."""
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 < length <= LONGEST_RECORD_BYTES:
            self.send_error(413)
            return
        body = self.rfile.read(length)
        timestamp = self.headers.get("X-AVR-Timestamp", "")
        signature = self.headers.get("X-AVR-Signature", "")
        if not SECRET or not is_genuine(SECRET, timestamp, signature, body):
            self.send_error(401)
            return
        self.send_response(204)
        self.end_headers()
        record = json.loads(body)
        said = len(record["transcript"])
        print(f"{record['call']}: {record['reason']}, {record['duration_s']} s, {said} lines said")
        sys.stdout.flush()

    def log_message(self, format: str, *args: object) -> None:
        """No line for each request."""


def main() -> None:
    """Serve until Ctrl-C on the port that is given (0: any free one)."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8091
    with ThreadingHTTPServer(("127.0.0.1", port), Receiver) as server:
        print(f"records are taken at http://127.0.0.1:{server.server_port}/calls", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
