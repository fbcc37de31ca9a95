"""The scripts that are computed in JavaScript, the same for every engine."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.turns import Turn

FIB = "function fib(n) { return n < 2 ? n : fib(n - 1) + fib(n - 2) }; fib(25)"
JSON = """
(() => { let found;
for (let i = 0; i < 2000; i++) found = JSON.parse(JSON.stringify({ a: [1, 2, { b: 'text' }], c: i, d: null }));
return found.c })()
"""
SHA256 = """
(() => {
  const k = [], h0 = [];
  const frac = x => ((x - Math.floor(x)) * 4294967296) | 0;
  for (let n = 2; k.length < 64; n++) {
    let prime = true;
    for (let d = 2; d * d <= n; d++) if (n % d === 0) { prime = false; break }
    if (prime) { if (h0.length < 8) h0.push(frac(Math.sqrt(n))); k.push(frac(Math.cbrt(n))) }
  }
  const size = 65536, data = new Uint8Array(size + 64);
  for (let i = 0; i < size; i++) data[i] = i & 255;
  data[size] = 128;
  new DataView(data.buffer).setUint32(size + 60, size * 8);
  const h = h0.slice(), w = new Int32Array(64);
  const r = (x, n) => (x >>> n) | (x << (32 - n));
  for (let at = 0; at < data.length; at += 64) {
    for (let i = 0; i < 16; i++) {
      const j = at + 4 * i;
      w[i] = (data[j] << 24) | (data[j + 1] << 16) | (data[j + 2] << 8) | data[j + 3];
    }
    for (let i = 16; i < 64; i++) {
      const a = w[i - 15], b = w[i - 2];
      w[i] = (w[i - 16] + (r(a, 7) ^ r(a, 18) ^ (a >>> 3)) + w[i - 7] + (r(b, 17) ^ r(b, 19) ^ (b >>> 10))) | 0;
    }
    let [a, b, c, d, e, f, g, x] = h;
    for (let i = 0; i < 64; i++) {
      const t = (x + (r(e, 6) ^ r(e, 11) ^ r(e, 25)) + ((e & f) ^ (~e & g)) + k[i] + w[i]) | 0;
      const u = ((r(a, 2) ^ r(a, 13) ^ r(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      x = g; g = f; f = e; e = (d + t) | 0; d = c; c = b; b = a; a = (t + u) | 0;
    }
    [a, b, c, d, e, f, g, x].forEach((v, i) => { h[i] = (h[i] + v) | 0 });
  }
  return h.map(v => (v >>> 0).toString(16).padStart(8, '0')).join('');
})()
"""
CPU = {"fib": FIB, "json": JSON, "sha256": SHA256}
CALLS = 100
CALLING = f"for (let i = 0; i < {CALLS}; i++) nothing()"
OBJECTS = "globalThis.kept = []; for (let i = 0; i < 1000; i++) kept.push({ i, name: 'n' + i }); 0"


def timed(call: Callable[[], Any], per: int = 1, clock: Callable[[], float] = time.perf_counter) -> Turn:
    """A turn of calls, each a sample."""

    async def turn(size: int) -> list[float]:
        call()
        samples = []
        for _ in range(size):
            started = clock()
            call()
            samples.append((clock() - started) / per)
        return samples

    return turn


def computing(run: Callable[[str], Any]) -> dict[str, Turn]:
    """The turns that compute: a sample is processor time of the whole process, its ticker's included."""
    return {name: timed(partial(run, code), clock=time.process_time) for name, code in CPU.items()}
