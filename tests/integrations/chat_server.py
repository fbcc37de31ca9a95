"""An OpenAI-compatible server over real HTTP: answers requests for chat completions as a function says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


@contextmanager
def chat_server(answer: Callable[[dict[str, Any]], dict[str, Any] | int]) -> Iterator[str]:
    """Its base URL. `answer` gives the assistant's message for the body of a request, or the status of an error."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found = answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            status, body = (found, {"error": {"message": "no"}}) if isinstance(found, int) else (200, completion(found))
            sent = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


def completion(message: dict[str, Any]) -> dict[str, Any]:
    """The body of an answer."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": None, **message}}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    return {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
