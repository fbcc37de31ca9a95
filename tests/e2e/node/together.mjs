// Functions of the TypeScript SDK that work with functions in Python on the same promises.
// Arguments: URL, token, a file that every step appends its name to. Says when it is there; ends when its input does.
import { appendFileSync } from "node:fs";
import { Resonate } from "@resonatehq/sdk";

const [url, token, journal] = process.argv.slice(2);
const resonate = new Resonate({ url, token, group: "node", ttl: 5_000 });

function step(name, value) {
  appendFileSync(journal, `${name}\n`);
  return value;
}

function say(what) {
  console.log(JSON.stringify(what));
}

// Settles a promise of a function in Python.
function* pay(ctx, promise, amount) {
  yield* ctx.sleep(100);
  const paid = yield* ctx.run(() => step("pay", { amount, by: "typescript" }));
  const data = Buffer.from(JSON.stringify(paid)).toString("base64");
  yield* ctx.run(async () => void (await resonate.promises.resolve(promise, { data })));
  return paid.amount;
}

// Waits for a promise that a function in Python settles.
function* deliver(ctx, order) {
  // Servers that are strict let nobody wait for a promise that does not say that others settle it.
  const signed = yield* ctx.promise({ tags: { "resonate:external": "true" } });
  say({ signed: signed.id });
  const name = yield* signed;
  return yield* ctx.run(() => step("deliver", `${order} for ${name}`));
}

// Calls a function in Python.
function* add(ctx, n) {
  const doubled = yield* ctx.rpc("double_in_python", n, ctx.options({ target: "python" }));
  return yield* ctx.run(() => step("add", doubled + 1));
}

// Started by a schedule.
function* add_up(ctx, ...numbers) {
  return yield* ctx.run(() => step("add_up", numbers.reduce((sum, each) => sum + each, 0)));
}

for (const each of [pay, deliver, add, add_up]) resonate.register(each.name, each);
await resonate.schedule("yearly", "0 0 1 1 *", "add_up", 20, 22, resonate.options({ target: "node" }));
say({ here: true });
process.stdin.on("end", () => resonate.stop().then(() => process.exit(0))).resume();
