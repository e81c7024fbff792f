"""A service that tells the bridge, for each call, how the agent is to be. Only Python is needed.

python examples/settings_service.py 8090

Then start the bridge with OPENAI_URL_INSTRUCTIONS="http://127.0.0.1:8090/call?tenant=dentist".
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TENANTS: dict[str, dict[str, Any]] = {
    "dentist": {
        "system": "You answer the telephone of {practice}. The caller's number is {from}.",
        "voice": "marin",
        "welcome": "{practice}, good day!",
        "tools": ["avr_hangup", "avr_transfer"],
        "metadata": {"practice": "Example Dental"},
    },
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        tenant = TENANTS.get(query.get("tenant", [""])[0])
        if tenant is None:
            self.send_error(404)  # the bridge takes OPENAI_FILE_INSTRUCTIONS, or its own sentence
            return
        body = json.dumps(tenant).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        print("asked for call", self.headers["X-AVR-UUID"], flush=True)


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8090
    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        print(f"settings are at http://127.0.0.1:{server.server_port}/call", flush=True)
        server.serve_forever()
