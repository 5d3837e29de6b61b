"""A Weights & Biases server on 127.0.0.1: one that works, refuses the key, or never answers."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "0123456789" * 4


class Server(ThreadingHTTPServer):
    """Answers W&B's questions as far as one run needs them, and keeps what it was asked.

    Attributes:
        refused: The status of all answers but the Viewer's, if it is not 200.
        stranger: The status of the Viewer's, likewise.
        hangs: Whether no request is ever answered.
        asked: Operation and ``Authorization`` of each question, in order.
        sent: The body of each other request under its path.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, hangs=False, stranger=200, refused=200):
        super().__init__(("127.0.0.1", 0), Handler)
        self.hangs, self.stranger, self.refused = hangs, stranger, refused
        self.asked, self.sent = [], []
        self.closing = threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        """Clients that leave are no error."""

    def answer(self, operation, variables):
        run = {"id": "r", "name": variables.get("name"), "displayName": "run",
               "sweepName": None, "historyLineCount": 0,
               "project": {"id": "p", "name": "p", "entity": {"id": "e", "name": "e"}}}  # fmt: skip
        files = [{"name": n, "uploadUrl": f"{self.url}/{n}"} for n in variables.get("files", ())]
        person = {"id": "u", "entity": "e", "username": "u", "flags": "{}", "teams": {"edges": []}}
        return {
            "Viewer": {"viewer": person},
            "RunResumeStatus": {"model": None},
            "UpsertBucket": {"upsertBucket": {"bucket": run, "inserted": True}},
            "CreateRunFiles": {
                "createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}
            },
        }.get(operation)


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_POST(self):
        if self.server.hangs:
            self.server.closing.wait()
            return
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        status, data = 200, {}
        if self.path == "/graphql":
            question = json.loads(body)
            name = question.get("operationName")
            self.server.asked.append((name, self.headers.get("Authorization")))
            status = self.server.stranger if name == "Viewer" else self.server.refused
            data = {"data": self.server.answer(name, question.get("variables") or {})}
        else:
            self.server.sent.append((self.path, body))
        text = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_PUT = do_POST


@contextmanager
def serving(**settings):
    """A server for the time of a block."""
    server = Server(**settings)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()


def closed_port():
    """The URL of a port of this machine on which nobody listens."""
    with serving() as server:
        return server.url
