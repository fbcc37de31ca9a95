"""An agent of the OpenAI Agents SDK that survives anything, on an OpenAI-compatible server, here a double of one.

Kill it wherever you like and run it again: nothing that was recorded is asked again.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from agents import Agent, OpenAIChatCompletionsModel, RunConfig, function_tool
from openai import AsyncOpenAI

import durable
from durable.integrations.openai_agents import DurableRunner, DurableSession


class ChatServer(BaseHTTPRequestHandler):
    """Answers requests for chat completions; `url` below could be that of Ollama, vLLM or OpenAI instead."""

    def do_POST(self) -> None:
        messages = json.loads(self.rfile.read(int(self.headers["content-length"])))["messages"]
        message: dict[str, Any] = {"role": "assistant", "content": messages[-1]["content"]}
        if messages[-1]["role"] == "user":
            call = {"name": "order", "arguments": json.dumps({"what": "apples", "boxes": 3})}
            message = {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": call}]}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        body = {"id": "1", "object": "chat.completion", "created": 1, "model": "local", "choices": [choice]}
        sent = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

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


@function_tool(needs_approval=True)
async def order(what: str, boxes: int) -> str:
    """Order something."""
    return f"ordered {boxes} boxes of {what}, key {durable.call_id()}"


async def main() -> None:
    with chat_server() as url:
        client = AsyncOpenAI(base_url=url, api_key="none")
        buyer = Agent("buyer", model=OpenAIChatCompletionsModel("local", client), tools=[order])

        @durable.function
        async def buy(ctx: durable.Context, wish: str) -> str:
            session = DurableSession("kitchen", ctx)
            config = RunConfig(tracing_disabled=True)
            return str((await DurableRunner.run(ctx, buyer, wish, session=session, run_config=config)).final_output)

        async with durable.open(os.environ.get("DURABLE_STORE", ":memory:")) as engine:

            async def answer(prompt: durable.OpenPrompt) -> None:  # in earnest: `durable answer`, a page, a chat
                print(f"{prompt.question} ({prompt.id})")
                await engine.answer(prompt.id, True, by="ana")

            engine.on_prompt(answer)
            print(await (await engine.start(buy, "We need apples.", id="wish-1")).result())
        await client.close()


if __name__ == "__main__":
    asyncio.run(main())
