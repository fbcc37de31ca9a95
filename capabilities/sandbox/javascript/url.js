// URL and URLSearchParams as https://url.spec.whatwg.org/ has them, run once when the warm image is baked. Names of hosts
// are brought into ASCII by lower case, NFKC and Punycode, without the tables of IDNA.
(() => {
  'use strict';
  const PORTS = { __proto__: null, ftp: '21', file: '', http: '80', https: '443', ws: '80', wss: '443' };
  const encoder = new TextEncoder(), decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  const C0 = /[^\x20-\x7e]/u;
  const SETS = {
    fragment: /[^\x21\x23-\x3b\x3d\x3f-\x5f\x61-\x7e]/u,
    query: /[^\x21\x24-\x3b\x3d\x3f-\x7e]/u,
    special: /[^\x21\x24-\x26\x28-\x3b\x3d\x3f-\x7e]/u,
    path: /[^\x21\x24-\x3b\x3d\x40-\x5d\x5f\x61-\x7a\x7c\x7e]/u,
    userinfo: /[^\x21\x24-\x2e\x30-\x39\x41-\x5a\x5f\x61-\x7a\x7e]/u,
    form: /[^*\-.0-9A-Z_a-z]/u,
  };
  const percent = (text, set) => {
    let made = '';
    for (const part of text) {
      if (!set.test(part)) { made += part; continue; }
      for (const byte of encoder.encode(part)) made += `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
    }
    return made;
  };
  const unpercented = (text) => {
    const bytes = encoder.encode(text), made = [];
    for (let i = 0; i < bytes.length; i++) {
      const hex = bytes[i] === 0x25 ? String.fromCharCode(bytes[i + 1] ?? 0, bytes[i + 2] ?? 0) : '';
      if (/^[0-9a-f]{2}$/i.test(hex)) { made.push(parseInt(hex, 16)); i += 2; } else made.push(bytes[i]);
    }
    return decoder.decode(new Uint8Array(made));
  };

  // -- hosts: null is failure
  const punycode = (label) => {
    const points = [...label].map((each) => each.codePointAt(0));
    const basic = points.filter((each) => each < 128);
    let made = String.fromCharCode(...basic) + (basic.length ? '-' : '');
    const adapt = (delta, count, first) => {
      let k = 0;
      for (delta = (first ? Math.floor(delta / 700) : delta >> 1), delta += Math.floor(delta / count); delta > 455; k += 36) delta = Math.floor(delta / 35);
      return k + Math.floor(36 * delta / (delta + 38));
    };
    const digit = (value) => String.fromCharCode(value < 26 ? value + 97 : value + 22);
    for (let n = 128, delta = 0, bias = 72, done = basic.length; done < points.length; delta++, n++) {
      const next = Math.min(...points.filter((each) => each >= n));
      delta += (next - n) * (done + 1);
      n = next;
      for (const point of points) {
        if (point < n) delta++;
        if (point !== n) continue;
        let q = delta;
        for (let k = 36; ; k += 36) {
          const t = k <= bias ? 1 : k >= bias + 26 ? 26 : k - bias;
          if (q < t) break;
          made += digit(t + (q - t) % (36 - t));
          q = Math.floor((q - t) / (36 - t));
        }
        made += digit(q);
        bias = adapt(delta, done + 1, done === basic.length);
        delta = 0;
        done++;
      }
    }
    return `xn--${made}`;
  };
  const ipv4 = (host) => {
    const parts = host.split('.');
    if (parts.at(-1) === '' && parts.length > 1) parts.pop();
    if (parts.length > 4) return null;
    const numbers = [];
    for (const part of parts) {
      const [digits, radix] = /^0x/i.test(part) ? [part.slice(2), 16] : part.length > 1 && part[0] === '0' ? [part.slice(1), 8] : [part, 10];
      const allowed = radix === 16 ? /^[0-9a-f]*$/i : radix === 8 ? /^[0-7]*$/ : /^[0-9]+$/;
      if (!allowed.test(digits)) return null;
      numbers.push(digits === '' ? 0 : parseInt(digits, radix));
    }
    const last = numbers.pop();
    if (numbers.some((each) => each > 255) || last >= 256 ** (4 - numbers.length)) return null;
    let whole = last;
    numbers.forEach((each, i) => { whole += each * 256 ** (3 - i); });
    return [3, 2, 1, 0].map((i) => Math.floor(whole / 256 ** i) % 256).join('.');
  };
  const ipv6 = (text) => {
    let tail = [];
    const dotted = /^(.*:)(\d{1,3}(?:\.\d{1,3}){3})$/.exec(text);
    if (dotted) {
      const bytes = dotted[2].split('.');
      if (bytes.some((each) => +each > 255 || (each.length > 1 && each[0] === '0'))) return null;
      tail = [bytes[0] * 256 + +bytes[1], bytes[2] * 256 + +bytes[3]];
      text = dotted[1].endsWith('::') ? dotted[1] : dotted[1].slice(0, -1);
    }
    const halves = text.split('::');
    if (halves.length > 2) return null;
    const read = (half) => half === '' ? [] : half.split(':').map((each) => /^[0-9a-f]{1,4}$/i.test(each) ? parseInt(each, 16) : NaN);
    const [head, rest] = [read(halves[0]), halves.length > 1 ? read(halves[1]) : []];
    const room = 8 - head.length - rest.length - tail.length;
    if (halves.length > 1 ? room < 1 : room !== 0) return null;
    const pieces = [...head, ...Array(room).fill(0), ...rest, ...tail];
    if (pieces.some(Number.isNaN)) return null;
    let [start, length] = [-1, 1];
    for (let i = 0; i < 8; i++) {
      let n = 0;
      while (pieces[i + n] === 0) n++;
      if (n > length) [start, length] = [i, n];
    }
    const hex = pieces.map((each) => each.toString(16));
    return start < 0 ? hex.join(':') : `${hex.slice(0, start).join(':')}::${hex.slice(start + length).join(':')}`;
  };
  const FORBIDDEN = /[\0\t\n\r #/:<>?@[\\\]^|]/, FORBIDDEN_DOMAIN = /[\0-\x20"#%/:<>?@[\\\]^`{|}\x7f]/;
  const hostOf = (text, special) => {
    if (text[0] === '[') {
      const found = text.endsWith(']') ? ipv6(text.slice(1, -1)) : null;
      return found === null ? null : `[${found}]`;
    }
    if (!special) return FORBIDDEN.test(text) ? null : percent(text, C0);
    let domain = unpercented(text).normalize('NFKC').toLowerCase().replace(/[\u3002\uff0e\uff61]/g, '.').replace(/\xad/g, '');
    if (/[\ufffd\ud800-\udfff]/.test(domain) || /(^|\.)xn--(\.|$)/.test(domain)) return null;
    domain = domain.split('.').map((label) => C0.test(label) ? punycode(label) : label).join('.');
    if (domain === '' || FORBIDDEN_DOMAIN.test(domain)) return null;
    const labels = domain.split('.');
    const end = labels.at(-1) === '' && labels.length > 1 ? labels.at(-2) : labels.at(-1);
    return /^[0-9]+$/.test(end) || /^0x[0-9a-f]*$/i.test(end) ? ipv4(domain) : domain;
  };

  // -- parts: `path` is a list of segments, or a text that is opaque
  const DRIVE = /^[a-z][:|]$/i;
  const isSpecial = (url) => url.scheme in PORTS;
  const shorten = (url) => {
    if (url.scheme === 'file' && url.path.length === 1 && /^[a-z]:$/i.test(url.path[0])) return;
    url.path.pop();
  };
  const walk = (url, text) => {
    const segments = text.split(isSpecial(url) ? /[/\\]/ : '/');
    segments.forEach((segment, i) => {
      const last = i === segments.length - 1, plain = segment.replace(/%2e/gi, '.');
      if (plain === '..') {
        shorten(url);
        if (last) url.path.push('');
      } else if (plain === '.') {
        if (last) url.path.push('');
      } else {
        if (url.scheme === 'file' && url.path.length === 0 && DRIVE.test(segment)) segment = `${segment[0]}:`;
        url.path.push(percent(segment, SETS.path));
      }
    });
  };
  const authority = (url, text) => {
    const at = text.lastIndexOf('@');
    if (at >= 0) {
      const [user, ...password] = text.slice(0, at).split(':');
      url.username = percent(user, SETS.userinfo);
      url.password = percent(password.join(':'), SETS.userinfo);
    }
    const found = /^(\[[^\]]*\]|[^:]*)(?::(.*))?$/s.exec(text.slice(at + 1));
    if (found === null || (found[1] === '' && (isSpecial(url) || at >= 0 || found[2] !== undefined))) return false;
    url.host = found[1] === '' ? '' : hostOf(found[1], isSpecial(url));
    return url.host !== null && port(url, found[2] ?? '');
  };
  const port = (url, digits) => {
    if (!/^[0-9]*$/.test(digits) || +digits > 65535) return false;
    url.port = digits === '' || PORTS[url.scheme] === `${+digits}` ? '' : `${+digits}`;
    return true;
  };
  const likeBase = (url, base) => {
    const { username, password, host, port, path, query } = base;
    Object.assign(url, { username, password, host, port, path: [...path], query });
  };
  // What stands before `?` and `#`: false is failure.
  const hierarchy = (url, rest, base, scheme) => {
    const special = isSpecial(url), slash = special ? /^[/\\]/ : /^\//, two = special ? /^[/\\]{2}/ : /^\/\//;
    const split = (text) => {
      const end = text.search(special ? /[/\\]/ : /\//);
      return end < 0 ? [text, ''] : [text.slice(0, end), text.slice(end)];
    };
    const absolute = (text) => walk(url, slash.test(text) ? text.slice(1) : text);
    if (url.scheme === 'file') {
      url.host = '';
      if (two.test(rest)) {
        const [host, path] = split(rest.slice(2));
        if (DRIVE.test(host)) { absolute(rest.slice(2)); return true; }
        url.host = host === '' ? '' : hostOf(host, true);
        if (url.host === null) return false;
        if (url.host === 'localhost') url.host = '';
        absolute(path);
        return true;
      }
      if (base?.scheme === 'file') {
        const drive = /^[a-z][:|]([/\\]|$)/i;
        url.host = base.host;
        if (!slash.test(rest)) {
          if (drive.test(rest)) { walk(url, rest); return true; }
          likeBase(url, base);
          if (rest === '') return true;
          url.query = null;
          shorten(url);
          walk(url, rest);
          return true;
        }
        if (/^[a-z]:$/i.test(base.path[0] ?? '') && !drive.test(rest.slice(1))) url.path.push(base.path[0]);
      }
      absolute(rest);
      return true;
    }
    const relative = base && base.scheme === url.scheme && (!scheme || (special && !two.test(rest)));
    if (relative) {
      if (two.test(rest)) { /* an authority, below */ } else {
        likeBase(url, base);
        if (rest === '') return true;
        url.query = null;
        if (slash.test(rest)) url.path = []; else shorten(url);
        walk(url, slash.test(rest) ? rest.slice(1) : rest);
        return true;
      }
    }
    if (special || two.test(rest)) {
      const [text, path] = split(special ? rest.replace(/^[/\\]*/, '') : rest.slice(2));
      if (!authority(url, text)) return false;
      if (special || path !== '') absolute(path);
      return true;
    }
    if (rest[0] === '/') absolute(rest); else url.path = percent(rest, C0);
    return true;
  };
  const trimmed = (text) => text.toWellFormed().replace(/^[\0-\x20]+|[\0-\x20]+$/g, '').replace(/[\t\n\r]/g, '');
  const parse = (input, base = null) => {
    const text = trimmed(input);
    const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(text);
    if (!scheme && !base) return null;
    const url = { scheme: scheme ? scheme[1].toLowerCase() : base.scheme, username: '', password: '', host: null, port: '', path: [], query: null, fragment: null };
    const [, rest, query, fragment] = /^([^?#]*)(?:\?([^#]*))?(?:#(.*))?$/s.exec(scheme ? text.slice(scheme[0].length) : text);
    if (!scheme && typeof base.path === 'string') {
      if (rest !== '' || query !== undefined || fragment === undefined) return null;
      Object.assign(url, { path: base.path, query: base.query });
    } else if (!hierarchy(url, rest, base, scheme)) return null;
    if (query !== undefined) url.query = percent(query, isSpecial(url) ? SETS.special : SETS.query);
    if (fragment !== undefined) url.fragment = percent(fragment, SETS.fragment);
    return url;
  };
  const pathOf = (url) => typeof url.path === 'string' ? url.path : url.path.map((each) => `/${each}`).join('');
  const hostPort = (url) => (url.host ?? '') + (url.port === '' ? '' : `:${url.port}`);
  const written = (url) => {
    const who = url.username + (url.password === '' ? '' : `:${url.password}`);
    const before = url.host !== null ? `//${who === '' ? '' : `${who}@`}${hostPort(url)}` : typeof url.path !== 'string' && url.path.length > 1 && url.path[0] === '' ? '/.' : '';
    return `${url.scheme}:${before}${pathOf(url)}${url.query === null ? '' : `?${url.query}`}${url.fragment === null ? '' : `#${url.fragment}`}`;
  };

  // -- what scripts see
  const plus = (text) => percent(text, SETS.form).replaceAll('%20', '+');
  const pairsOf = (text) => text === '' ? [] : text.split('&').filter((each) => each !== '').map((each) => {
    const at = each.indexOf('=');
    const read = (part) => unpercented(part.replaceAll('+', ' '));
    return at < 0 ? [read(each), ''] : [read(each.slice(0, at)), read(each.slice(at + 1))];
  });
  let linked;
  class URLSearchParams {
    #pairs = [];
    #changed = null;
    static { linked = (params, pairs, changed) => { params.#pairs = pairs; if (changed) params.#changed = changed; return params; }; }
    constructor(init = '') {
      if (typeof init === 'object' && init !== null) {
        if (Symbol.iterator in init) {
          for (const pair of init) {
            const both = [...pair];
            if (both.length !== 2) throw new TypeError('each of the pairs of URLSearchParams has a name and a value');
            this.append(...both);
          }
        } else for (const name of Object.keys(init)) this.append(name, init[name]);
      } else this.#pairs = pairsOf(`${init}`.toWellFormed().replace(/^\?/, ''));
    }
    #tell() { this.#changed?.(this.toString()); }
    get size() { return this.#pairs.length; }
    append(name, value) { this.#pairs.push([`${name}`.toWellFormed(), `${value}`.toWellFormed()]); this.#tell(); }
    delete(name, value) { this.#pairs = this.#pairs.filter(([n, v]) => n !== `${name}` || (value !== undefined && v !== `${value}`)); this.#tell(); }
    get(name) { return this.#pairs.find(([n]) => n === `${name}`)?.[1] ?? null; }
    getAll(name) { return this.#pairs.filter(([n]) => n === `${name}`).map(([, v]) => v); }
    has(name, value) { return this.#pairs.some(([n, v]) => n === `${name}` && (value === undefined || v === `${value}`)); }
    set(name, value) {
      const at = this.#pairs.findIndex(([n]) => n === `${name}`);
      if (at < 0) { this.append(name, value); return; }
      this.#pairs[at][1] = `${value}`.toWellFormed();
      this.#pairs = this.#pairs.filter(([n], i) => i <= at || n !== `${name}`);
      this.#tell();
    }
    sort() { this.#pairs.sort(([a], [b]) => a < b ? -1 : a > b ? 1 : 0); this.#tell(); }
    toString() { return this.#pairs.map(([n, v]) => `${plus(n)}=${plus(v)}`).join('&'); }
    forEach(call, self) { for (const [n, v] of this) call.call(self, v, n, this); }
    *entries() { for (let i = 0; i < this.#pairs.length; i++) yield [...this.#pairs[i]]; }
    *keys() { for (const [n] of this) yield n; }
    *values() { for (const [, v] of this) yield v; }
    [Symbol.iterator]() { return this.entries(); }
    get [Symbol.toStringTag]() { return 'URLSearchParams'; }
  }
  const known = (url, base) => {
    const under = base === undefined ? null : parse(`${base}`);
    return base !== undefined && under === null ? null : parse(`${url}`, under);
  };
  class URL {
    #url;
    #params;
    constructor(url, base) {
      this.#url = known(url, base);
      if (this.#url === null) throw new TypeError(`Invalid URL: ${`${url}`.slice(0, 200)}`);
      this.#params = linked(new URLSearchParams(), pairsOf(this.#url.query ?? ''), (query) => { this.#url.query = query === '' ? null : query; });
    }
    static canParse(url, base) { return known(url, base) !== null; }
    static parse(url, base) { return known(url, base) === null ? null : new URL(url, base); }
    #fixed() { return this.#url.host === null || this.#url.host === '' || this.#url.scheme === 'file'; }
    // The same URL with one part written in another way, if that is one.
    #again(change) {
      const made = { ...this.#url, path: typeof this.#url.path === 'string' ? this.#url.path : [...this.#url.path] };
      if (change(made) !== false) this.#url = made;
    }
    get href() { return written(this.#url); }
    set href(value) {
      const made = parse(`${value}`);
      if (made === null) throw new TypeError(`Invalid URL: ${`${value}`.slice(0, 200)}`);
      this.#url = made;
      linked(this.#params, pairsOf(made.query ?? ''), null);
    }
    get origin() {
      const { scheme, path } = this.#url;
      if (scheme === 'blob') { const inner = parse(`${path}`); return inner && /^https?$/.test(inner.scheme) ? `${inner.scheme}://${hostPort(inner)}` : 'null'; }
      return scheme in PORTS && scheme !== 'file' ? `${scheme}://${hostPort(this.#url)}` : 'null';
    }
    get protocol() { return `${this.#url.scheme}:`; }
    set protocol(value) {
      const scheme = /^([a-z][a-z0-9+.-]*)(:|$)/i.exec(trimmed(`${value}`))?.[1].toLowerCase();
      if (scheme === undefined || (scheme in PORTS) !== isSpecial(this.#url)) return;
      if (scheme === 'file' ? this.#url.username !== '' || this.#url.password !== '' || this.#url.port !== '' : this.#url.scheme === 'file' && this.#url.host === '') return;
      this.#again((url) => { url.scheme = scheme; port(url, url.port); });
    }
    get username() { return this.#url.username; }
    set username(value) { if (!this.#fixed()) this.#url.username = percent(`${value}`.toWellFormed(), SETS.userinfo); }
    get password() { return this.#url.password; }
    set password(value) { if (!this.#fixed()) this.#url.password = percent(`${value}`.toWellFormed(), SETS.userinfo); }
    get host() { return hostPort(this.#url); }
    set host(value) { this.#hosted(value, true); }
    get hostname() { return this.#url.host ?? ''; }
    set hostname(value) { this.#hosted(value, false); }
    #hosted(value, withPort) {
      if (typeof this.#url.path === 'string') return;
      const text = trimmed(`${value}`).split(isSpecial(this.#url) ? /[/\\?#]/ : /[/?#]/)[0];
      const [, name, digits] = /^(\[[^\]]*\]|[^:]*)(?::([0-9]*))?/.exec(text);
      if (this.#url.scheme === 'file' && digits !== undefined) return;
      if ((!withPort && digits !== undefined) || (name === '' && this.#url.scheme !== 'file' && (isSpecial(this.#url) || this.#url.username !== '' || this.#url.port !== ''))) return;
      this.#again((url) => {
        url.host = name === '' ? '' : hostOf(name, isSpecial(url));
        if (url.host !== null && digits) port(url, digits);
        return url.host !== null;
      });
    }
    get port() { return this.#url.port; }
    set port(value) {
      const text = `${value}`.replace(/[\t\n\r]/g, ''), digits = /^[0-9]*/.exec(text)[0];
      if (!this.#fixed() && (digits !== '' || text === '')) this.#again((url) => port(url, digits));
    }
    get pathname() { return pathOf(this.#url); }
    set pathname(value) {
      if (typeof this.#url.path === 'string') return;
      this.#again((url) => {
        const text = `${value}`.toWellFormed().replace(/[\t\n\r]/g, '');
        url.path = [];
        if (text !== '' || isSpecial(url)) walk(url, (isSpecial(url) ? /^[/\\]/ : /^\//).test(text) ? text.slice(1) : text);
        url.path = url.path.map((each) => each.replaceAll('?', '%3F').replaceAll('#', '%23'));
      });
    }
    get search() { return this.#url.query ? `?${this.#url.query}` : ''; }
    set search(value) {
      const text = `${value}`.toWellFormed().replace(/[\t\n\r]/g, '').replace(/^\?/, '');
      this.#url.query = `${value}` === '' ? null : percent(text, isSpecial(this.#url) ? SETS.special : SETS.query);
      linked(this.#params, pairsOf(this.#url.query ?? ''), null);
    }
    get searchParams() { return this.#params; }
    get hash() { return this.#url.fragment ? `#${this.#url.fragment}` : ''; }
    set hash(value) { this.#url.fragment = `${value}` === '' ? null : percent(`${value}`.toWellFormed().replace(/[\t\n\r]/g, '').replace(/^#/, ''), SETS.fragment); }
    toString() { return this.href; }
    toJSON() { return this.href; }
    get [Symbol.toStringTag]() { return 'URL'; }
  }
  for (const made of [URL, URLSearchParams]) Object.defineProperty(globalThis, made.name, { value: made, writable: true, configurable: true });
})();
