"""An agent whose context stays small: summaries by a model behind an OpenAI-compatible server, here a double of one."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import durable
from durable.agents import (
    CallPart,
    ContextChain,
    ContextWindow,
    HttpSummarizer,
    SlidingWindow,
    Summarize,
    assistant,
    system,
    tool,
    user,
)

PAGES = 40


class ChatServer(BaseHTTPRequestHandler):
    """Answers each request for a chat completion; `url` below could be that of Ollama, vLLM or OpenAI instead."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        text = f"A summary of {len(body['messages'][1]['content'])} characters."
        answer = json.dumps({"choices": [{"message": {"content": text}}]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def chat_server() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), ChatServer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


def read(page: int) -> str:
    return f"page {page}: " + "many words " * 200


@durable.function
async def reader(ctx: durable.Context, url: str) -> int:
    # Summaries only, to show them; without strategies= old results are cleared first.
    window = ContextWindow(
        window=8_000, summarizer=HttpSummarizer(url, "scripted"), strategies=[Summarize(), SlidingWindow()]
    )
    messages = [system("You are careful."), user("Read all pages.")]
    for page in range(PAGES):
        call = CallPart(f"call-{page}", "read", json.dumps({"page": page}))
        messages += [assistant("", call), tool(call, await ctx.run(read, page))]
        messages = await window.fit_in(ctx, messages)
    return window.tokens(messages)


async def main() -> None:
    with chat_server() as url:
        async with durable.open(os.environ.get("DURABLE_STORE", ":memory:")) as engine:
            execution = await engine.start(reader, url, id="reader-1")
            print(f"{await execution.result()} tokens at the end")
            for stage in await ContextChain(engine.store, execution.id).stages():
                print(f"{stage.tokens_before} → {stage.tokens_after}: {', '.join(stage.strategies)}")


if __name__ == "__main__":
    asyncio.run(main())
