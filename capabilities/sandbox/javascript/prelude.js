// What every instance begins with, run once, before any script, when the warm image is baked (specs/javascript.md).
// It keeps the intrinsics that it uses, so that a script that changes them changes its own answers and nothing else.
// Nothing here is trusted by the host: all of it runs inside the sandbox, under the limits of the call.
(() => {
  'use strict';
  const host = globalThis.__host;
  delete globalThis.__host;
  const { parse } = JSON, json = JSON.stringify;
  const { isArray } = Array;
  const { keys, getPrototypeOf, setPrototypeOf, create, is, defineProperty, hasOwn, getOwnPropertyNames, getOwnPropertyDescriptor } = Object;
  const { apply, construct } = Reflect;
  const { isFinite } = Number;
  const { fromCharCode } = String;
  const { slice } = String.prototype;
  const digits = BigInt.prototype.toString;
  const PlainObject = Object.prototype;
  const mapEach = Map.prototype.forEach, setEach = Set.prototype.forEach, time = Date.prototype.getTime, iso = Date.prototype.toISOString;
  const { test } = RegExp.prototype, word = /^[A-Za-z_$][\w$]*$/;
  const kept = { Map, Set, Date, Error, RangeError, TypeError, RegExp, Promise, Uint8Array, ArrayBuffer, BigInt };
  const { isView } = ArrayBuffer;
  const DEPTH = 128, TEXT = 65536;

  // With what it hands out of itself a script would get at `host`, which is its own to ask, but not its own to have.
  defineProperty(kept.Error, 'prepareStackTrace', { __proto__: null, value: undefined, writable: false, configurable: false });

  // Whatever a script puts into the prototypes: neither descriptors nor what is made for JSON have any.
  const own = (object, name, value) => defineProperty(object, name, { __proto__: null, value, writable: true, enumerable: true, configurable: true });
  const put = (list, value) => own(list, list.length, value);
  const list = () => setPrototypeOf([], null);

  // JSON.stringify of this engine sets elements of a list of its own: accessors at indices of a prototype would be met.
  const natures = [Array.prototype, PlainObject], known = [0, 0];
  const stringify = (value) => {
    for (let i = 0; i < 2; i++) if (getOwnPropertyNames(natures[i]).length !== known[i]) return without(value);
    return json(value);
  };
  const without = (value) => {
    const taken = list();
    for (let i = 0; i < 2; i++) {
      const names = getOwnPropertyNames(natures[i]);
      for (let j = 0; j < names.length; j++) {
        const found = getOwnPropertyDescriptor(natures[i], names[j]);
        if (names[j] >= 0 && found.configurable && delete natures[i][names[j]]) put(taken, { __proto__: null, of: natures[i], name: names[j], found });
      }
    }
    try {
      return json(value);
    } finally {
      for (let i = 0; i < taken.length; i++) defineProperty(taken[i].of, taken[i].name, { __proto__: null, ...taken[i].found });
    }
  };

  const bytes = (view) => {
    let text = '';
    for (let at = 0; at < view.length; at += 8192) {
      const part = [];
      for (let i = at; i < view.length && i < at + 8192; i++) put(part, view[i]);
      text += apply(fromCharCode, undefined, part);
    }
    return text;
  };

  // A value as JSON can hold it: what JSON has not is an object with `$`.
  const encode = (value, above) => {
    switch (typeof value) {
      case 'string': case 'boolean': return value;
      case 'number': return isFinite(value) && !is(value, -0) ? value : { __proto__: null, $: 'n', v: is(value, -0) ? '-0' : `${value}` };
      case 'undefined': return null;
      case 'bigint': return { __proto__: null, $: 'i', v: apply(digits, value, [16]) };
      case 'function': return { __proto__: null, $: 'x', v: 'function', t: `${value.name}` };
      case 'symbol': return { __proto__: null, $: 'x', v: 'symbol', t: `${value.description}` };
    }
    if (value === null) return null;
    for (let i = 0; i < above.length; i++) if (above[i] === value) return { __proto__: null, $: 'x', v: 'cycle', t: '' };
    if (above.length >= DEPTH) throw new kept.RangeError(`a value is nested deeper than ${DEPTH}`);
    put(above, value);
    const made = container(value, above);
    above.length--;
    return made;
  };

  const pair = (key, value) => {
    const made = list();
    put(made, key);
    put(made, value);
    return made;
  };

  const container = (value, above) => {
    if (isArray(value)) {
      const made = list();
      for (let i = 0; i < value.length; i++) put(made, encode(value[i], above));
      return made;
    }
    if (getPrototypeOf(value) !== PlainObject) {
      if (value instanceof kept.Date) {
        const ms = apply(time, value, []);
        return { __proto__: null, $: 'd', v: ms, t: isFinite(ms) ? apply(iso, value, []) : '' };
      }
      if (value instanceof kept.Map) {
        const made = list();
        apply(mapEach, value, [(v, k) => put(made, pair(k === undefined ? { __proto__: null, $: 'x', v: 'undefined', t: 'undefined' } : encode(k, above), encode(v, above)))]);
        return { __proto__: null, $: 'm', v: made };
      }
      if (value instanceof kept.Set) {
        const made = list();
        apply(setEach, value, [(v) => put(made, encode(v, above))]);
        return { __proto__: null, $: 't', v: made };
      }
      if (value instanceof kept.ArrayBuffer) return { __proto__: null, $: 'b', v: bytes(new kept.Uint8Array(value)) };
      if (isView(value)) return { __proto__: null, $: 'b', v: bytes(new kept.Uint8Array(value.buffer, value.byteOffset, value.byteLength)) };
      if (value instanceof kept.Error) return { __proto__: null, $: 'x', v: 'error', t: `${value.name}: ${value.message}` };
      if (value instanceof kept.RegExp) return { __proto__: null, $: 'x', v: 'regexp', t: `${value}` };
      if (value instanceof kept.Promise) return { __proto__: null, $: 'x', v: 'promise', t: '' };
    }
    const names = keys(value);
    const made = create(null);
    let marked = false;
    for (let i = 0; i < names.length; i++) {
      if (names[i] === '$') marked = true;
      made[names[i]] = encode(value[names[i]], above);
    }
    if (!marked) return made;
    const pairs = list();
    for (let i = 0; i < names.length; i++) put(pairs, pair(names[i], made[names[i]]));
    return { __proto__: null, $: 'o', v: pairs };
  };

  const decode = (text) => revive(parse(text));
  const revive = (value) => {
    if (typeof value !== 'object' || value === null) return value;
    if (isArray(value)) {
      for (let i = 0; i < value.length; i++) value[i] = revive(value[i]);
      return value;
    }
    switch (hasOwn(value, '$') ? value.$ : undefined) {
      case undefined: {
        const names = keys(value);
        for (let i = 0; i < names.length; i++) if (typeof value[names[i]] === 'object') own(value, names[i], revive(value[names[i]]));
        return value;
      }
      case 'n': return value.v === 'NaN' ? NaN : value.v === '-0' ? -0 : value.v === 'Infinity' ? Infinity : -Infinity;
      case 'i': return value.v[0] === '-' ? -kept.BigInt(`0x${apply(slice, value.v, [1])}`) : kept.BigInt(`0x${value.v}`);
      case 'd': return new kept.Date(value.v);
      case 'b': {
        const made = new kept.Uint8Array(value.v.length);
        for (let i = 0; i < made.length; i++) made[i] = value.v.charCodeAt(i);
        return made;
      }
      case 't': return new kept.Set(revive(value.v));
      case 'm': return new kept.Map(revive(value.v));
      case 'o': {
        const made = {};
        for (let i = 0; i < value.v.length; i++) own(made, value.v[i][0], revive(value.v[i][1]));
        return made;
      }
    }
    throw new kept.TypeError('a value from the host is not understood');
  };
  // Text of a value for people, about as it would be written. room: characters that are left for it, beside those of a text by itself.
  let room = 0;
  const cut = (text) => {
    const most = room > 0 ? room : 0;
    room -= text.length;
    return text.length <= most ? text : `${apply(slice, text, [0, most])}…`;
  };
  const text = (value) => {
    room = TEXT;
    return inspect(value, 0);
  };
  const inspect = (value, depth) => {
    switch (typeof value) {
      case 'string': return depth === 0 ? value : stringify(cut(value));
      case 'bigint': return cut(`${value}n`);
      case 'symbol': return cut(`Symbol(${value.description ?? ''})`);
      case 'function': return cut(`[Function: ${value.name || 'anonymous'}]`);
      case 'number': return is(value, -0) ? '-0' : `${value}`;
      case 'object': break;
      default: return `${value}`;
    }
    if (value === null) return 'null';
    if (value instanceof kept.Error) return cut(`${value.name}: ${value.message}${value.stack ? `\n${value.stack}` : ''}`);
    if (value instanceof kept.RegExp) return cut(`${value}`);
    if (value instanceof kept.Date) return isFinite(apply(time, value, [])) ? apply(iso, value, []) : 'Invalid Date';
    return depth > 4 ? '[…]' : members(value, depth + 1);
  };

  const members = (value, depth) => {
    const made = list();
    let over = false;
    const add = (write) => {
      if (over) return;
      room -= 4;
      over = made.length === 100 || room <= 0;
      put(made, over ? '…' : write());
    };
    const name = named(value);
    let open = name && `${name} `, close = '}';
    if (isArray(value) || (isView(value) && value.length !== undefined)) {
      open += '['; close = ']';
      for (let i = 0; i < value.length && !over; i++) add(() => inspect(value[i], depth));
    } else {
      open += '{';
      if (value instanceof kept.Map) apply(mapEach, value, [(v, k) => add(() => `${inspect(k, depth)} => ${inspect(v, depth)}`)]);
      else if (value instanceof kept.Set) apply(setEach, value, [(v) => add(() => inspect(v, depth))]);
      else if (value instanceof kept.ArrayBuffer) add(() => `byteLength: ${value.byteLength}`);
      else {
        const names = keys(value);
        for (let i = 0; i < names.length && !over; i++) add(() => `${apply(test, word, [names[i]]) ? cut(names[i]) : stringify(cut(names[i]))}: ${inspect(value[names[i]], depth)}`);
      }
    }
    let whole = open;
    for (let i = 0; i < made.length; i++) whole += (i ? ', ' : ' ') + made[i];
    return whole + (made.length ? ` ${close}` : close);
  };

  // Its class, where that says something.
  const named = (value) => {
    const nature = isArray(value) ? PlainObject : getPrototypeOf(value);
    const name = nature === null || nature === PlainObject ? '' : nature.constructor?.name;
    return typeof name === 'string' ? cut(name) : '';
  };

  // A first text with %s, %d and the like takes what follows it.
  const directed = (values) => {
    const first = values[0];
    let line = '', next = 1;
    for (let i = 0; i < first.length; i++) {
      const how = first[i] === '%' ? first[i + 1] : '';
      if (how === '%') { line += '%'; i++; continue; }
      if (next >= values.length || !(how === 's' || how === 'd' || how === 'i' || how === 'f' || how === 'j' || how === 'o' || how === 'O' || how === 'c')) { line += first[i]; continue; }
      const value = values[next++];
      i++;
      if (how === 'd' || how === 'f') line += typeof value === 'bigint' ? `${value}n` : typeof value === 'object' || typeof value === 'symbol' ? 'NaN' : `${+value}`;
      else if (how === 'i') line += typeof value === 'bigint' ? `${value}n` : typeof value === 'object' || typeof value === 'symbol' ? 'NaN' : `${whole(value)}`;
      else if (how === 'j') line += stringify(value);
      else if (how === 'o' || how === 'O') { room = TEXT; line += inspect(value, 1); } else if (how === 's') line += text(value);
    }
    return { __proto__: null, line, next };
  };
  const whole = parseInt;
  const printer = (stream) => function (...values) {
    let line = '', next = 0;
    if (values.length > 1 && typeof values[0] === 'string') ({ line, next } = directed(values));
    for (let i = next; i < values.length; i++) line += (i ? ' ' : '') + text(values[i]);
    host('print', stream, `${indent}${line}\n`);
  };
  const [out, err] = [printer('stdout'), printer('stderr')];
  let indent = '';
  const counts = new Map(), began = new Map();
  const counted = Map.prototype.get, count = Map.prototype.set, uncount = Map.prototype.delete;
  const tableOf = (rows) => {
    if (typeof rows !== 'object' || rows === null) return text(rows);
    const names = keys(rows), columns = list(), lines = list();
    for (let i = 0; i < names.length && i < 100; i++) {
      const row = rows[names[i]];
      const cells = typeof row === 'object' && row !== null ? keys(row) : list();
      for (let j = 0; j < cells.length && columns.length < 20; j++) {
        let there = false;
        for (let k = 0; k < columns.length; k++) there ||= columns[k] === cells[j];
        if (!there) put(columns, cells[j]);
      }
    }
    let head = '(index)';
    for (let k = 0; k < columns.length; k++) head += ` | ${columns[k]}`;
    put(lines, head);
    for (let i = 0; i < names.length && i < 100; i++) {
      const row = rows[names[i]], wide = typeof row === 'object' && row !== null;
      let line = names[i];
      for (let k = 0; k < columns.length; k++) line += ` | ${wide && hasOwn(row, columns[k]) ? text(row[columns[k]]) : ''}`;
      put(lines, wide ? line : `${line} | ${text(row)}`);
    }
    let whole = lines[0];
    for (let i = 1; i < lines.length; i++) whole += `\n${lines[i]}`;
    return whole;
  };
  const label = (name) => name === undefined ? 'default' : `${name}`;
  globalThis.console = {
    log: out, info: out, debug: out, dir: (value) => out(value), dirxml: out, warn: err, error: err,
    trace: (...values) => apply(err, undefined, ['Trace:', ...values]),
    assert: (right, ...values) => { if (!right) apply(err, undefined, ['Assertion failed', ...values]); },
    table: (rows) => out(tableOf(rows)),
    group: (...values) => { if (values.length) apply(out, undefined, values); indent = `${indent}  `; },
    groupCollapsed: (...values) => { if (values.length) apply(out, undefined, values); indent = `${indent}  `; },
    groupEnd: () => { indent = apply(slice, indent, [2]); },
    count: (name) => {
      const n = (apply(counted, counts, [label(name)]) ?? 0) + 1;
      apply(count, counts, [label(name), n]);
      out(`${label(name)}: ${n}`);
    },
    countReset: (name) => { apply(uncount, counts, [label(name)]); },
    time: (name) => { apply(count, began, [label(name), clock]); },
    timeLog: (name, ...values) => apply(out, undefined, [`${label(name)}: ${clock - (apply(counted, began, [label(name)]) ?? clock)}ms`, ...values]),
    timeEnd: (name) => {
      out(`${label(name)}: ${clock - (apply(counted, began, [label(name)]) ?? clock)}ms`);
      apply(uncount, began, [label(name)]);
    },
    clear: () => {},
  };

  // Timers: time is virtual, stands while anything else can go on, and jumps to the next timer then. Intervals end with
  // the script.
  let clock = 0, lastTimer = 0, timers = list();
  const TIMERS = 10000;
  const after = (repeats) => (call, ms, ...args) => {
    if (typeof call !== 'function') throw new kept.TypeError('a timer takes a function');
    if (timers.length >= TIMERS) throw new kept.RangeError(`more than ${TIMERS} timers`);
    ms = +ms;
    const every = ms > 0 && isFinite(ms) ? ms : 0;
    put(timers, { __proto__: null, id: ++lastTimer, at: clock + every, every, repeats, call, args });
    return lastTimer;
  };
  const cancelTimer = (id) => {
    const left = list();
    for (let i = 0; i < timers.length; i++) if (timers[i].id !== id) put(left, timers[i]);
    timers = left;
  };
  // What a WeakRef gave stays until all jobs are done, as the language has it: this engine lets go of it at once.
  const Weak = WeakRef, natural = Weak.prototype, strong = natural.deref, held = new Set(), hold = Set.prototype.add, letGo = Set.prototype.clear;
  globalThis.WeakRef = new Proxy(Weak, { __proto__: null,
    construct: (_, [target], made) => {
      const weak = construct(Weak, [target], made);
      apply(hold, held, [target]);
      return weak;
    },
  });
  natural.constructor = WeakRef;
  natural.deref = { deref() {
    const target = apply(strong, this, []);
    if (target !== undefined) apply(hold, held, [target]);
    return target;
  } }.deref;

  // The engine's own iterator helpers call each other without a look at the stack; a function of JavaScript looks.
  const helpers = [getPrototypeOf([].values().map((each) => each)), getPrototypeOf(Iterator.from({ __proto__: null, next: () => 0 }))];
  for (const helper of helpers) {
    const next = helper.next, end = helper.return;
    helper.next = { next() { return apply(next, this, []); } }.next;
    helper.return = { return() { return apply(end, this, []); } }.return;
  }

  // Whether a timer has run. An interval runs only while the script waits, or a single timer is still to come.
  const tick = (waits) => {
    apply(letGo, held, []);
    let next = null, once = false;
    for (let i = 0; i < timers.length; i++) {
      once ||= !timers[i].repeats;
      if (next === null || timers[i].at < next.at) next = timers[i];
    }
    if (next === null || !(once || waits)) { timers = list(); return false; }
    clock = next.at > clock ? next.at : clock;
    if (next.repeats) next.at = clock + (next.every > 0 ? next.every : 1); else cancelTimer(next.id);
    apply(next.call, undefined, next.args);
    return true;
  };
  globalThis.setTimeout = after(false);
  globalThis.setInterval = after(true);
  globalThis.clearTimeout = globalThis.clearInterval = cancelTimer;
  globalThis.setImmediate = (call, ...args) => globalThis.setTimeout(call, 0, ...args);
  globalThis.clearImmediate = cancelTimer;

  // Nothing shares memory here, and Atomics is not in this engine: code that looks for both finds neither.
  delete globalThis.SharedArrayBuffer;

  const waiting = create(null);
  const define = (path, later) => {
    const names = path.split('.');
    const last = names.pop();
    let place = globalThis;
    for (const name of names) place = place[name] ??= {};
    const call = (args) => host(later ? 'start' : 'call', path, stringify(encode(args, [])));
    const made = later
      ? { [last](...args) { return new kept.Promise((resolve, reject) => { waiting[call(args)] = { resolve, reject }; }); } }[last]
      : { [last](...args) { return decode(call(args)); } }[last];
    own(place, last, made);
  };

  for (let i = 0; i < 2; i++) known[i] = getOwnPropertyNames(natures[i]).length;

  return {
    result: (value) => stringify(encode(value, [])),
    show: (value) => {
      room = TEXT;
      try { return inspect(value, 1); } catch { return '[…]'; }
    },
    decode,
    describe: (error) => {
      const said = (of) => { try { return apply(slice, `${of()}`, [0, TEXT]); } catch { return ''; } };
      const isError = error instanceof kept.Error || (typeof error === 'object' && error !== null && 'message' in error);
      return stringify({
        __proto__: null,
        name: isError ? said(() => typeof error.name === 'string' && error.name ? error.name : error.constructor?.name ?? 'Error') : '',
        message: isError ? said(() => error.message) : said(() => text(error)),
        stack: isError ? said(() => error.stack ?? '') : '',
        host: isError ? said(() => error.hostError ?? '') : '',
        syntax: error instanceof SyntaxError,
      });
    },
    globals: (text) => {
      const values = decode(text);
      const names = keys(values);
      for (let i = 0; i < names.length; i++) own(globalThis, names[i], values[names[i]]);
    },
    define,
    settle: (id, ok, text) => {
      const { resolve, reject } = waiting[id];
      delete waiting[id];
      if (ok) resolve(decode(text)); else reject(failure(text));
    },
    fail: (text) => { throw failure(text); },
    entropy: () => { const random = () => host('random'); Math.random = random; },
    tick,
    apply: (call, text) => apply(call, undefined, decode(text)),
  };

  function failure(text) {
    const { name, message, id } = parse(text);
    const error = new kept.Error(message);
    own(error, 'name', name);
    own(error, 'hostError', id);
    return error;
  }
})()
