"""A durable function: steps that run once, and a question that a person may answer days later.

python examples/steps_and_a_question.py        # answers itself when nobody sits at a terminal
durable run examples/steps_and_a_question.py::review lathes --id report-42
"""

import asyncio
import os
import sys
from dataclasses import dataclass

import durable

STORE = os.environ.get("DURABLE_STORE", ".durable/examples.db")


@dataclass
class Decision:
    publish: bool
    reason: str = ""


def draft(topic: str) -> str:
    print(f"drafting about {topic}: this line appears once, however often the function is resumed")
    return f"Ten things worth knowing about {topic}."


@durable.function
async def review(ctx: durable.Context, topic: str) -> str:
    text = await ctx.run(draft, topic)
    counted = await ctx.execute("len(text.split())", session="desk", inputs={"text": text})
    decision = await ctx.ask(f"{counted.value} words about {topic}. Publish?", schema=Decision)
    return f"published: {text}" if decision.publish else f"dropped: {decision.reason}"


async def main() -> None:
    async with durable.open(STORE) as engine:
        execution = await engine.start(review, "lathes")
        try:
            await execution.result_or_wait()
        except durable.Waiting as waiting:
            for prompt in await engine.prompts():
                if prompt.id in waiting.prompts:
                    print(f"{prompt.id} asks: {prompt.question}")
                    typed = await asyncio.to_thread(input, "publish? [y/n] ") if sys.stdin.isatty() else "y"
                    yes = typed.startswith("y")
                    await engine.answer(prompt.id, {"publish": yes, "reason": "not now"}, by="the example")
        print(await execution.result())


if __name__ == "__main__":
    asyncio.run(main())
