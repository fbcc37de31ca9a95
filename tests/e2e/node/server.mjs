// The TypeScript SDK's own server of the Resonate protocol behind HTTP: `POST /`, and messages as `GET /poll/group/pid`.
// Arguments: the directory of the SDK. Says its port.
import { createServer } from "node:http";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const { Server } = await import(pathToFileURL(join(process.argv[2], "dist/src/network/local.js")).href);
const server = new Server();
const listeners = new Map(); // group -> [{pid, response}]
const waiting = new Map(); // group -> messages that nobody was there for

function deliver(address, message) {
  const { username, hostname, pathname } = new URL(address);
  const pid = pathname.slice(1);
  const all = listeners.get(hostname) ?? [];
  const one = all.find((each) => each.pid === pid) ?? (username === "uni" ? undefined : all[0]);
  if (one === undefined) {
    waiting.set(hostname, [...(waiting.get(hostname) ?? []), { address, message }]);
    return;
  }
  one.response.write(`data: ${JSON.stringify(message)}\n\n`);
  if (username === "any") all.push(all.shift());
}

function apply(request) {
  const { response, changes } = server.apply(Date.now(), request);
  for (const change of changes) if (change.kind === "message.send") deliver(change.address, change.message);
  return response;
}

function poll(request, response) {
  const [, group, pid] = request.url.split("/").filter(Boolean).map(decodeURIComponent);
  response.writeHead(200, { "content-type": "text/event-stream" });
  response.write(": here\n\n");
  const one = { pid, response };
  listeners.set(group, [...(listeners.get(group) ?? []), one]);
  request.on("close", () => listeners.set(group, listeners.get(group).filter((each) => each !== one)));
  const late = waiting.get(group) ?? [];
  waiting.delete(group);
  for (const { address, message } of late) deliver(address, message);
}

async function answer(request, response) {
  let body = "";
  for await (const chunk of request) body += chunk;
  const asked = JSON.parse(body);
  let found;
  try {
    found = apply(asked) ?? { kind: asked.kind, head: { status: 400 }, data: `unknown kind ${asked.kind}` };
  } catch (error) {
    found = { kind: asked.kind, head: { status: 400 }, data: String(error) };
  }
  const head = { corrId: asked.head?.corrId, status: found.head.status, version: asked.head?.version };
  response.writeHead(found.head.status, { "content-type": "application/json" });
  response.end(JSON.stringify({ kind: found.kind, head, data: found.data }));
}

setInterval(() => apply({ kind: "debug.tick", head: {}, data: { time: Date.now() } }), 50);
const http = createServer((request, response) =>
  request.url.startsWith("/poll/") ? poll(request, response) : answer(request, response),
);
http.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${http.address().port}`));
