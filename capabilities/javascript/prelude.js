// What every instance begins with, run once, before any script, when the warm image is baked (specs/javascript.md).
// It keeps the intrinsics that it uses, so that a script that changes them changes its own answers and nothing else.
// Nothing here is trusted by the host: all of it runs inside the sandbox, under the limits of the call.
(() => {
  'use strict';
  const host = globalThis.__host;
  delete globalThis.__host;
  const { stringify, parse } = JSON;
  const { isArray } = Array;
  const { keys, getPrototypeOf, setPrototypeOf, create, is, defineProperty, hasOwn } = Object;
  const { apply } = Reflect;
  const { isFinite } = Number;
  const { fromCharCode } = String;
  const { slice } = String.prototype;
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
      case 'bigint': return { __proto__: null, $: 'i', v: `${value}` };
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
      if (value instanceof kept.Date) return { __proto__: null, $: 'd', v: apply(time, value, []) };
      if (value instanceof kept.Map) {
        const made = list();
        apply(mapEach, value, [(v, k) => put(made, pair(encode(k, above), encode(v, above)))]);
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
      case 'i': return kept.BigInt(value.v);
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

  const printer = (stream) => function (...values) {
    let line = '';
    for (let i = 0; i < values.length; i++) line += (i ? ' ' : '') + text(values[i]);
    host('print', stream, `${line}\n`);
  };
  const [out, err] = [printer('stdout'), printer('stderr')];
  globalThis.console = {
    log: out, info: out, debug: out, dir: out, warn: err, error: err, trace: err,
    assert: (right, ...values) => { if (!right) apply(err, undefined, ['Assertion failed', ...values]); },
  };

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
        name: isError ? said(() => error.name) : '',
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
    entropy: () => { Math.random = () => host('random'); },
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
