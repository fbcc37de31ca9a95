// A workflow of the TypeScript SDK: a step, a sleep, a child by rpc, and a promise that somebody else settles.
// Arguments: URL, token, a file that every step appends its name to.
import { appendFileSync } from "node:fs";
import { Resonate } from "@resonatehq/sdk";

const [url, token, journal] = process.argv.slice(2);
const resonate = new Resonate({ url, token, group: "node", ttl: 5_000 });

function step(name, value) {
  appendFileSync(journal, `${name}\n`);
  return value;
}

function* double(ctx, n) {
  return yield* ctx.run(() => step("double", n * 2));
}

function* order(ctx, n) {
  const first = yield* ctx.run(() => step("first", n + 1));
  yield* ctx.sleep(200);
  const doubled = yield* ctx.rpc("double", first, ctx.options({ target: "node" }));
  const question = yield* ctx.promise({});
  console.log(JSON.stringify({ question: question.id }));
  const answer = yield* question;
  const last = yield* ctx.run(() => step("last", doubled + answer.more));
  return { first, doubled, last, by: answer.by };
}

resonate.register("double", double);
resonate.register("order", order);
const handle = await resonate.beginRun("order-1", "order", 20);
console.log(JSON.stringify({ result: await handle.result() }));
await resonate.stop();
