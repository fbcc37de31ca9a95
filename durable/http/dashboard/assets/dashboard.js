// Live parts, output that grows, keys, ages and forms of the dashboard. Pages work without it (specs/dashboard.md, V).
"use strict";

const LOOK_AGAIN_MS = 300; // between two looks at what changed: a burst of commits is one look
const OUTPUT_NODES_MAX = 4000;

// -- live parts: the server says that something changed, and each part is asked for again ---------------------------

let looking = false;
let lookAgain = false;

async function look() {
  if (looking) { lookAgain = true; return; }
  looking = true;
  try {
    for (const part of document.querySelectorAll("[data-live]")) await renew(part);
    for (const output of document.querySelectorAll("[data-output]")) await readOn(output);
    await new Promise((done) => setTimeout(done, LOOK_AGAIN_MS));
  } finally {
    looking = false;
    if (lookAgain) { lookAgain = false; look(); }
  }
}

async function renew(part) {
  let answer;
  try {
    answer = await fetch(part.dataset.live, { headers: { "if-none-match": part.dataset.stamp || "", "x-part": part.dataset.part || "live" } });
  } catch { return; } // the stream of changes comes back, and then this is asked for again
  if (answer.status === 401) { location.reload(); return; }
  if (!answer.ok) return;
  const text = await answer.text();
  if (!part.isConnected) return;
  part.dataset.stamp = answer.headers.get("etag") || "";
  Idiomorph.morph(part, text, {
    morphStyle: "innerHTML",
    ignoreActiveValue: true,
    callbacks: {
      beforeNodeMorphed: isMorphed,
      beforeNodeRemoved: keepWhatIsTyped,
      beforeAttributeUpdated: (name, node) => !(name === "open" && (node.tagName === "DETAILS" || node.tagName === "DIALOG")),
    },
  });
  htmx.process(part);
  ages();
}

function isMorphed(old, fresh) {
  if (old.nodeType !== 1) return true;
  if (old.dataset.touched || old.matches("[data-output]") || old.isEqualNode(fresh)) return false;
  if (old.tagName !== "svg") return true;
  old.replaceChildren(...fresh.childNodes); // hundreds of bars that have no state
  if (fresh.hasAttribute("aria-label")) old.setAttribute("aria-label", fresh.getAttribute("aria-label"));
  return false;
}

function keepWhatIsTyped(node) {
  if (node.nodeType !== 1) return true;
  if (node.matches("[data-done]")) return false;
  if (!node.querySelector("form[data-touched]")) return true;
  const note = node.querySelector("[data-settled-note]");
  if (note) note.hidden = false;
  return false;
}

function follow() {
  const url = document.body.dataset.changes;
  if (!url) return;
  const state = document.querySelector("[data-connection]");
  let source = null;
  // Browsers have six connections to a server: a page that nobody sees holds none, or the seventh tab would not load.
  const attend = () => {
    if (document.hidden) { if (source) source.close(); source = null; return; }
    if (source) return;
    source = new EventSource(url);
    source.onopen = () => { if (state) state.hidden = true; look(); };
    source.onmessage = look;
    source.onerror = () => { if (state) state.hidden = false; };
  };
  document.addEventListener("visibilitychange", attend);
  window.addEventListener("pagehide", () => { if (source) source.close(); source = null; });
  window.addEventListener("pageshow", (event) => { if (event.persisted) attend(); });
  attend();
}

// -- output: what is new is added at the end; what was taken back is read again -------------------------------------

async function readOn(output) {
  const at = `offset=${output.dataset.offset}&rewinds=${output.dataset.rewinds}`;
  let answer;
  try { answer = await fetch(`${output.dataset.output}?${at}`); } catch { return; }
  if (!answer.ok) return;
  const text = await answer.text();
  const atEnd = output.scrollHeight - output.scrollTop - output.clientHeight < 40;
  if (answer.headers.has("x-again")) output.replaceChildren();
  output.dataset.offset = answer.headers.get("x-offset");
  output.dataset.rewinds = answer.headers.get("x-rewinds");
  if (text) {
    output.insertAdjacentHTML("beforeend", text);
    while (output.childNodes.length > OUTPUT_NODES_MAX) output.firstChild.remove();
    if (atEnd) output.scrollTop = output.scrollHeight;
  }
  if (answer.headers.has("x-more")) await readOn(output);
}

// -- keys -----------------------------------------------------------------------------------------------------------

const typing = (element) => element.matches("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]");

function move(by) {
  const items = [...document.querySelectorAll("[data-item]")].filter((each) => each.offsetParent !== null);
  if (!items.length) return;
  const now = items.findIndex((each) => each.contains(document.activeElement));
  const next = items[Math.min(items.length - 1, Math.max(0, now < 0 ? 0 : now + by))];
  next.focus();
  next.scrollIntoView({ block: "nearest" });
}

function open(item) {
  const link = item.querySelector("[data-open]");
  if (link) { link.click(); return; }
  const field = item.querySelector("form input:not([type=hidden]), form textarea, form select, form button:not([disabled])");
  if (field) field.focus();
}

const GOES = { i: "inbox", e: "executions", s: "sessions", a: "actors", w: "workers" };
let goes = false;

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) {
    if (event.key === "Enter" && event.ctrlKey && event.target.matches("textarea.code")) event.target.form.requestSubmit();
    return;
  }
  if (event.key === "Escape" && event.target.matches("input, textarea, select, button, [contenteditable]")) {
    const item = event.target.closest("[data-item]");
    if (item) item.focus(); else event.target.blur();
    return;
  }
  if (typing(event.target) || document.querySelector("dialog[open]")) return;
  const item = event.target.closest("[data-item]");
  if (goes) {
    goes = false;
    if (GOES[event.key]) { location.href = `/ui/${GOES[event.key]}`; event.preventDefault(); }
    return;
  }
  if (event.key === "j") move(1);
  else if (event.key === "k") move(-1);
  else if (event.key === "Enter" && event.target === item) open(item);
  else if (event.key === "x" && item) { const box = item.querySelector("input[type=checkbox]"); if (box) box.click(); }
  else if (event.key === "g") goes = true;
  else if (event.key === "/") { const field = document.querySelector("form.filters input"); if (!field) return; field.focus(); }
  else if (event.key === "?") document.getElementById("keys").showModal();
  else return;
  event.preventDefault();
});

// -- forms ----------------------------------------------------------------------------------------------------------

document.addEventListener("input", (event) => {
  const form = event.target.closest("form");
  if (form) form.dataset.touched = "1";
  if (event.target.matches("[data-all]")) {
    for (const box of form.querySelectorAll("input[name=id]")) box.checked = event.target.checked;
  }
});
document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-dialog]");
  if (opener) document.getElementById(opener.dataset.dialog).showModal();
});
document.addEventListener("htmx:afterSwap", (event) => {
  const target = event.detail.target; // a piece that was asked for stays when what is around it is renewed
  if (target.isConnected && !target.matches("article")) target.dataset.touched = "1";
  ages();
});
document.addEventListener("htmx:load", (event) => {
  const form = event.detail.elt.querySelector && event.detail.elt.querySelector("form");
  if (form && form.querySelector("[aria-invalid=true], [role=alert]")) form.dataset.touched = "1";
});
document.addEventListener("htmx:afterSettle", (event) => {
  const wrong = event.target.querySelector && event.target.querySelector("[aria-invalid=true], [role=alert]");
  if (wrong) { wrong.setAttribute("tabindex", wrong.matches("input, select, textarea") ? "0" : "-1"); wrong.focus(); }
  const next = event.target.querySelector && event.target.querySelector("[data-done]");
  if (next) next.focus();
});

// -- ages -----------------------------------------------------------------------------------------------------------

const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

function ages() {
  for (const time of document.querySelectorAll("time[data-age]")) {
    const seconds = Math.max(0, (Date.now() - Date.parse(time.dateTime)) / 1000);
    const [unit, length] = UNITS.find(([, each]) => seconds >= each) || ["s", 1];
    const text = `${Math.floor(seconds / length)} ${unit} ago`;
    if (time.textContent !== text) time.textContent = text;
    if (!time.title) time.title = new Date(time.dateTime).toLocaleString();
  }
}

ages();
setInterval(ages, 10000);
for (const output of document.querySelectorAll("[data-output]")) output.scrollTop = output.scrollHeight;
follow();
