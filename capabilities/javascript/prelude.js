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
  const mapEach = Map.prototype.forEach, setEach = Set.prototype.forEach, time = Date.prototype.getTime;
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
  // Text of a value for people: strings as they are, the rest about as it would be written.
  const inspect = (value, depth) => {
    switch (typeof value) {
      case 'string': return depth === 0 ? value : stringify(value);
      case 'bigint': return `${value}n`;
      case 'symbol': return `Symbol(${value.description})`;
      case 'function': return `[Function: ${value.name || 'anonymous'}]`;
      case 'number': return is(value, -0) ? '-0' : `${value}`;
      case 'object': break;
      default: return `${value}`;
    }
    if (value === null) return 'null';
    if (value instanceof kept.Error) return `${value.name}: ${value.message}${value.stack ? `\n${value.stack}` : ''}`;
    if (depth > 4) return '[…]';
    const made = [];
    const add = (text) => made.length < 100 && put(made, text);
    let open = '{', close = '}';
    if (isArray(value)) {
      open = '['; close = ']';
      for (let i = 0; i < value.length && i <= 100; i++) add(i === 100 ? '…' : inspect(value[i], depth + 1));
    } else if (value instanceof kept.Map) {
      open = 'Map {';
      apply(mapEach, value, [(v, k) => add(`${inspect(k, depth + 1)} => ${inspect(v, depth + 1)}`)]);
    } else if (value instanceof kept.Set) {
      open = 'Set {';
      apply(setEach, value, [(v) => add(inspect(v, depth + 1))]);
    } else if (value instanceof kept.Date || value instanceof kept.RegExp) {
      return `${value instanceof kept.Date ? value.toISOString() : value}`;
    } else {
      const names = keys(value);
      for (let i = 0; i < names.length && i < 100; i++) add(`${names[i]}: ${inspect(value[names[i]], depth + 1)}`);
    }
    let text = open;
    for (let i = 0; i < made.length; i++) text += (i ? ', ' : ' ') + made[i];
    return text + (made.length ? ` ${close}` : close);
  };

  const printer = (stream) => function (...values) {
    let text = '';
    for (let i = 0; i < values.length; i++) text += (i ? ' ' : '') + inspect(values[i], 0);
    host('print', stream, `${text}\n`);
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
    decode,
    describe: (error) => {
      const text = (of) => { try { return apply(slice, `${of()}`, [0, TEXT]); } catch { return ''; } };
      const isError = error instanceof kept.Error || (typeof error === 'object' && error !== null && 'message' in error);
      return stringify({
        __proto__: null,
        name: isError ? text(() => error.name) : '',
        message: isError ? text(() => error.message) : text(() => inspect(error, 0)),
        stack: isError ? text(() => error.stack ?? '') : '',
        host: isError ? text(() => error.hostError ?? '') : '',
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
