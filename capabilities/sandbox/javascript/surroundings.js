// What scripts expect around the language, run once when the warm image is baked: texts as bytes, copies, events, chance.
(() => {
  'use strict';
  const give = (name, value) => Object.defineProperty(globalThis, name, { value, writable: true, configurable: true });
  const { isView } = ArrayBuffer;
  const { fromCharCode, fromCodePoint } = String;
  const tagged = (kind) => Object.defineProperty(kind.prototype, Symbol.toStringTag, { value: kind.name, configurable: true });

  // -- texts: UTF-8 both ways, UTF-16 and Windows-1252 (which the web calls latin1) to read
  give('TextEncoder', class TextEncoder {
    get encoding() { return 'utf-8'; }
    encode(value = '') {
      const text = `${value}`, made = new Uint8Array(text.length * 3);
      let n = 0;
      for (let i = 0; i < text.length; i++) {
        let c = text.charCodeAt(i);
        if (c >= 0xd800 && c <= 0xdfff) {
          const low = c < 0xdc00 ? text.charCodeAt(i + 1) : 0;
          if (low >= 0xdc00 && low <= 0xdfff) { c = 0x10000 + ((c - 0xd800) << 10) + low - 0xdc00; i++; } else c = 0xfffd;
        }
        if (c < 0x80) made[n++] = c;
        else {
          if (c < 0x800) made[n++] = 0xc0 | c >> 6;
          else {
            if (c < 0x10000) made[n++] = 0xe0 | c >> 12;
            else { made[n++] = 0xf0 | c >> 18; made[n++] = 0x80 | c >> 12 & 63; }
            made[n++] = 0x80 | c >> 6 & 63;
          }
          made[n++] = 0x80 | c & 63;
        }
      }
      return made.slice(0, n);
    }
    encodeInto(value, target) {
      let read = 0, written = 0;
      for (const part of `${value}`) {
        const bytes = this.encode(part);
        if (written + bytes.length > target.length) break;
        target.set(bytes, written);
        written += bytes.length;
        read += part.length;
      }
      return { read, written };
    }
  });
  const HIGH = '\u20ac\x81\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039\u0152\x8d\u017d\x8f\x90\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\x9d\u017e\u0178';
  const NAMES = { __proto__: null, 'utf-8': 'utf-8', utf8: 'utf-8', 'unicode-1-1-utf-8': 'utf-8', 'utf-16': 'utf-16le', 'utf-16le': 'utf-16le', 'utf-16be': 'utf-16be', latin1: 'windows-1252', 'iso-8859-1': 'windows-1252', ascii: 'windows-1252', 'us-ascii': 'windows-1252', 'windows-1252': 'windows-1252' };
  // The text of UTF-8, and how many bytes at its end are the beginning of a character.
  const utf8 = (b, bad, open) => {
    let text = '', i = 0;
    while (i < b.length) {
      const start = i, first = b[i++];
      if (first < 0x80) { text += fromCharCode(first); continue; }
      const more = first >= 0xc2 && first < 0xe0 ? 1 : first >= 0xe0 && first < 0xf0 ? 2 : first >= 0xf0 && first < 0xf5 ? 3 : 0;
      if (!more) { text += bad(); continue; }
      let code = first & (0x3f >> more), took = 0;
      while (took < more && i < b.length) {
        const low = took === 0 ? (first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80) : 0x80;
        const high = took === 0 ? (first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf) : 0xbf;
        if (b[i] < low || b[i] > high) break;
        code = code << 6 | b[i++] & 63;
        took++;
      }
      if (took < more && open && i === b.length) return [text, b.length - start];
      text += took < more ? bad() : fromCodePoint(code);
    }
    return [text, 0];
  };
  const utf16 = (b, bad, open, big) => {
    let text = '', i = 0;
    const unit = (at) => big ? b[at] << 8 | b[at + 1] : b[at] | b[at + 1] << 8;
    for (; i + 1 < b.length; i += 2) {
      const c = unit(i);
      if (c < 0xd800 || c > 0xdfff) { text += fromCharCode(c); continue; }
      if (c < 0xdc00 && open && i + 3 >= b.length) return [text, b.length - i];
      const low = c < 0xdc00 && i + 3 < b.length ? unit(i + 2) : 0;
      if (low < 0xdc00 || low > 0xdfff) {
        text += bad();
        if (c < 0xdc00 && i + 3 === b.length) return [text, 0];
        continue;
      }
      text += fromCharCode(c, low);
      i += 2;
    }
    return i < b.length && !open ? [text + bad(), 0] : [text, b.length - i];
  };
  const single = (b) => {
    let text = '';
    for (let i = 0; i < b.length; i++) text += b[i] >= 0x80 && b[i] < 0xa0 ? HIGH[b[i] - 0x80] : fromCharCode(b[i]);
    return [text, 0];
  };
  give('TextDecoder', class TextDecoder {
    #encoding; #fatal; #keeps; #rest = new Uint8Array(); #begun = false;
    constructor(encoding = 'utf-8', { fatal = false, ignoreBOM = false } = {}) {
      this.#encoding = NAMES[`${encoding}`.trim().toLowerCase()];
      if (this.#encoding === undefined) throw new RangeError(`the encoding ${encoding} is not there: utf-8, utf-16le, utf-16be and windows-1252 only`);
      this.#fatal = !!fatal;
      this.#keeps = !!ignoreBOM;
    }
    get encoding() { return this.#encoding; }
    get fatal() { return this.#fatal; }
    get ignoreBOM() { return this.#keeps; }
    decode(data = new Uint8Array(), { stream = false } = {}) {
      let b = isView(data) ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : new Uint8Array(data);
      if (this.#rest.length) {
        const both = new Uint8Array(this.#rest.length + b.length);
        both.set(this.#rest);
        both.set(b, this.#rest.length);
        b = both;
      }
      const bad = () => {
        if (this.#fatal) { this.#rest = new Uint8Array(); throw new TypeError(`the data is not ${this.#encoding.toUpperCase()}`); }
        return '\ufffd';
      };
      const [text, left] = this.#encoding === 'utf-8' ? utf8(b, bad, stream) : this.#encoding === 'windows-1252' ? single(b) : utf16(b, bad, stream, this.#encoding === 'utf-16be');
      this.#rest = b.slice(b.length - left);
      const first = !this.#begun;
      this.#begun = stream && (this.#begun || text !== '');
      return first && !this.#keeps && text.charCodeAt(0) === 0xfeff ? text.slice(1) : text;
    }
  });

  // -- a copy of data; functions and symbols have none, objects of a class become plain ones
  const ERRORS = { __proto__: null, Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError };
  const no = (what) => { throw new DOMException(`${what} could not be cloned.`, 'DataCloneError'); };
  const copied = (value, made) => {
    if (typeof value === 'function' || typeof value === 'symbol') no(typeof value === 'symbol' ? 'a symbol' : `the function ${value.name}`);
    if (typeof value !== 'object' || value === null) return value;
    if (made.has(value)) return made.get(value);
    const keep = (clone) => { made.set(value, clone); return clone; };
    if (value instanceof Date) return keep(new Date(value.getTime()));
    if (value instanceof RegExp) return keep(new RegExp(value.source, value.flags));
    if (value instanceof ArrayBuffer) return keep(value.slice(0));
    if (isView(value)) return keep(new value.constructor(copied(value.buffer, made), value.byteOffset, value.length ?? value.byteLength));
    if (value instanceof Boolean || value instanceof Number || value instanceof String) return keep(Object(value.valueOf()));
    if (value instanceof Map) {
      const clone = keep(new Map());
      for (const [k, v] of [...value]) clone.set(copied(k, made), copied(v, made));
      return clone;
    }
    if (value instanceof Set) {
      const clone = keep(new Set());
      for (const v of [...value]) clone.add(copied(v, made));
      return clone;
    }
    if (value instanceof Error) {
      const clone = keep(new (ERRORS[value.name] ?? Error)(value.message));
      if ('cause' in value) Object.defineProperty(clone, 'cause', { value: copied(value.cause, made), writable: true, configurable: true });
      Object.defineProperty(clone, 'stack', { value: `${value.stack ?? ''}`, writable: true, configurable: true });
      return clone;
    }
    if (value instanceof Promise || value instanceof WeakMap || value instanceof WeakSet || value instanceof WeakRef) no(`a ${value.constructor.name}`);
    const clone = keep(Array.isArray(value) ? [] : {});
    if (Array.isArray(value)) clone.length = value.length;
    for (const name of Object.keys(value)) Object.defineProperty(clone, name, { value: copied(value[name], made), writable: true, enumerable: true, configurable: true });
    return clone;
  };
  give('structuredClone', function structuredClone(value, options) {
    if (options?.transfer?.length) throw new DOMException('nothing can be transferred here: a copy shares nothing', 'DataCloneError');
    return copied(value, new Map());
  });

  // -- events
  let begun;
  class Event {
    #type; #options; #state = { target: null, current: null, stopped: false, prevented: false };
    static { begun = (event) => event.#state; }
    constructor(type, options = {}) { this.#type = `${type}`; this.#options = options ?? {}; }
    get type() { return this.#type; }
    get target() { return this.#state.target; }
    get currentTarget() { return this.#state.current; }
    get bubbles() { return !!this.#options.bubbles; }
    get cancelable() { return !!this.#options.cancelable; }
    get defaultPrevented() { return this.#state.prevented; }
    get timeStamp() { return 0; }
    preventDefault() { if (this.cancelable) this.#state.prevented = true; }
    stopPropagation() {}
    stopImmediatePropagation() { this.#state.stopped = true; }
  }
  class CustomEvent extends Event {
    #detail;
    constructor(type, options = {}) { super(type, options); this.#detail = options?.detail ?? null; }
    get detail() { return this.#detail; }
  }
  class EventTarget {
    #listeners = [];
    addEventListener(type, call, options) {
      if (call === null || call === undefined) return;
      const capture = typeof options === 'boolean' ? options : !!options?.capture, signal = options?.signal;
      if (signal?.aborted || this.#listeners.some((each) => each.type === `${type}` && each.call === call && each.capture === capture)) return;
      this.#listeners.push({ type: `${type}`, call, capture, once: !!options?.once });
      signal?.addEventListener('abort', () => this.removeEventListener(type, call, capture), { once: true });
    }
    removeEventListener(type, call, options) {
      const capture = typeof options === 'boolean' ? options : !!options?.capture;
      this.#listeners = this.#listeners.filter((each) => each.type !== `${type}` || each.call !== call || each.capture !== capture);
    }
    // What a listener throws is told as an uncaught error, and the others are called.
    dispatchEvent(event) {
      const state = begun(event);
      [state.target, state.current, state.stopped] = [this, this, false];
      const own = this[`on${event.type}`];
      const calls = this.#listeners.filter((each) => each.type === event.type);
      for (const each of typeof own === 'function' ? [{ call: own }, ...calls] : calls) {
        if (state.stopped || (each.type && !this.#listeners.includes(each))) continue;
        if (each.once) this.removeEventListener(each.type, each.call, each.capture);
        try {
          if (typeof each.call === 'function') each.call.call(this, event); else each.call.handleEvent(event);
        } catch (error) { Promise.reject(error); }
      }
      state.current = null;
      return !event.defaultPrevented;
    }
  }
  let abort;
  const KEY = Symbol('made here');
  class AbortSignal extends EventTarget {
    #aborted = false; #reason; onabort = null;
    static {
      abort = (signal, reason) => {
        if (signal.#aborted) return;
        signal.#aborted = true;
        signal.#reason = reason === undefined ? new DOMException('This operation was aborted', 'AbortError') : reason;
        signal.dispatchEvent(new Event('abort'));
      };
    }
    constructor(key) { super(); if (key !== KEY) throw new TypeError('Illegal constructor'); }
    static abort(reason) { const made = new AbortSignal(KEY); abort(made, reason); return made; }
    static timeout(ms) { const made = new AbortSignal(KEY); after(() => abort(made, new DOMException('The operation timed out', 'TimeoutError')), ms); return made; }
    static any(signals) {
      const made = new AbortSignal(KEY), all = [...signals], over = all.find((each) => each.aborted);
      if (over) abort(made, over.reason);
      else for (const each of all) each.addEventListener('abort', () => abort(made, each.reason), { once: true });
      return made;
    }
    get aborted() { return this.#aborted; }
    get reason() { return this.#reason; }
    throwIfAborted() { if (this.#aborted) throw this.#reason; }
  }
  const after = globalThis.setTimeout;
  class AbortController {
    #signal = new AbortSignal(KEY);
    get signal() { return this.#signal; }
    abort(reason) { abort(this.#signal, reason); }
  }
  for (const kind of [Event, CustomEvent, EventTarget, AbortSignal, AbortController]) {
    tagged(kind);
    give(kind.name, kind);
  }

  // -- chance is Math.random's: the same for every instance, but where entropy was granted
  const crypto = {
    getRandomValues(view) {
      if (!isView(view)) throw new TypeError('getRandomValues takes a typed array');
      if (view.byteLength > 65536) throw new DOMException('at most 65536 bytes at once', 'QuotaExceededError');
      const b = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
      for (let i = 0; i < b.length; i++) b[i] = Math.floor(Math.random() * 256);
      return view;
    },
    randomUUID() {
      const b = crypto.getRandomValues(new Uint8Array(16));
      b[6] = b[6] & 15 | 64;
      b[8] = b[8] & 63 | 128;
      let text = '';
      for (let i = 0; i < 16; i++) text += ([4, 6, 8, 10].includes(i) ? '-' : '') + b[i].toString(16).padStart(2, '0');
      return text;
    },
  };
  give('crypto', crypto);
})();
