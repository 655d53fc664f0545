"""Shows what a program asks for: prints each request as one JSON object, and refuses it.

Usage: recorder.py PORT
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REFUSAL = json.dumps({"type": "error", "error": {"type": "invalid_request_error", "message": "seen"}}).encode()


class Recorder(BaseHTTPRequestHandler):
    """One connection."""

    def do_GET(self) -> None:
        """Takes every method."""
        size = int(self.headers.get("content-length", 0))
        body = json.loads(self.rfile.read(size)) if size else {}
        headers = {name.lower(): value for name, value in self.headers.items()}
        path = self.path.split("?")[0]
        print(json.dumps({"method": self.command, "path": path, "headers": headers, "body": body}), flush=True)
        self.send_response(400)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(REFUSAL)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(REFUSAL)

    do_HEAD = do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Stdout has the requests alone."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Recorder).serve_forever()
