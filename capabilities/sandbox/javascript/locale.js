// Intl and toLocaleString for en-US and UTC alone, run once when the warm image is baked. What is asked for in another
// language, time zone or manner is a RangeError that says so, never a text that is silently wrong.
(() => {
  'use strict';
  const refuse = (what, which, there) => { throw new RangeError(`${what} ${which} is not there: this sandbox has ${there} only`); };
  const checked = (locales) => {
    for (const each of locales === undefined ? [] : typeof locales === 'string' ? [locales] : [...locales]) {
      if (!/^[a-z]{2,3}(-[a-z0-9]{1,8})*$/i.test(`${each}`)) throw new RangeError(`Incorrect locale information provided: ${each}`);
      if (/^en(-US)?(-u-.*)?$/i.test(`${each}`)) return;
      refuse('the locale', each, 'en-US');
    }
  };
  const choice = (options, name, among, otherwise) => {
    const value = options[name];
    if (value === undefined) return otherwise;
    if (!among.includes(`${value}`)) refuse(`${name}:`, value, among.filter(Boolean).join(', '));
    return `${value}`;
  };
  const count = (options, name, least, most, otherwise) => {
    const value = options[name];
    if (value === undefined) return otherwise;
    if (!(+value >= least && +value <= most)) throw new RangeError(`${name} is ${value}; it may be ${least} to ${most}`);
    return Math.floor(value);
  };
  const unknown = (options, names) => {
    for (const name of names) if (options[name] !== undefined) refuse('the option', name, 'common ones');
  };

  // -- numbers: digits as text, with the place of the point
  const decimal = (value) => {
    const text = typeof value === 'bigint' ? `${value}` : Number(value).toString();
    const [, sign, whole, part = '', exponent = '0'] = /^(-?)(\d+)(?:\.(\d+))?(?:e([+-]\d+))?$/.exec(text);
    const digits = (whole + part).replace(/^0+(?=.)/, '');
    return { sign: sign || Object.is(value, -0) ? '-' : '', digits, point: digits.length - part.length + +exponent };
  };
  // Half away from zero, as the shortest decimal of the number has it.
  const rounded = ({ digits, point }, places) => {
    let keep = point + places;
    if (keep < 0) return { digits: '0', point: 1 };
    if (keep >= digits.length) return { digits, point };
    const up = digits[keep] >= '5';
    let kept = digits.slice(0, keep);
    if (up) {
      const next = `${BigInt(kept || '0') + 1n}`.padStart(kept.length, '0');
      point += next.length - kept.length;
      kept = next;
    }
    return kept === '' ? { digits: '0', point: 1 } : { digits: kept, point };
  };
  const written = ({ digits, point }, least, most, group, integers) => {
    let whole = point > 0 ? digits.slice(0, point).padEnd(point, '0') : '0';
    let part = point > 0 ? digits.slice(point) : '0'.repeat(-point) + digits;
    if (/^0*$/.test(digits)) part = '';
    part = part.slice(0, most).replace(/0+$/, '').padEnd(least, '0');
    whole = whole.replace(/^0+(?=.)/, '').padStart(integers, '0');
    if (group) whole = whole.replace(/\B(?=(\d{3})+$)/g, ',');
    return part === '' ? whole : `${whole}.${part}`;
  };
  const SYMBOLS = { __proto__: null, USD: '$', EUR: '€', GBP: '£', JPY: '¥', INR: '₹', CNY: 'CN¥', KRW: '₩', CAD: 'CA$', AUD: 'A$', MXN: 'MX$', BRL: 'R$', NZD: 'NZ$', HKD: 'HK$', ILS: '₪', VND: '₫', TWD: 'NT$', XAF: 'FCFA', PHP: '₱' };
  const WHOLE = ['JPY', 'KRW', 'VND', 'CLP', 'ISK', 'UGX', 'XAF', 'XOF'];
  const shape = (options) => {
    unknown(options, ['unit', 'roundingIncrement', 'roundingMode', 'roundingPriority', 'trailingZeroDisplay', 'numberingSystem']);
    const style = choice(options, 'style', ['decimal', 'percent', 'currency'], 'decimal');
    const currency = options.currency === undefined ? undefined : `${options.currency}`.toUpperCase();
    if (style === 'currency' && !/^[A-Z]{3}$/.test(currency ?? '')) throw new TypeError('Currency code is required with currency style.');
    const notation = choice(options, 'notation', ['standard', 'compact'], 'standard');
    const usual = style === 'currency' ? WHOLE.includes(currency) ? [0, 0] : [2, 2] : style === 'percent' || notation === 'compact' ? [0, 0] : [0, 3];
    const [least, most] = [count(options, 'minimumFractionDigits', 0, 100), count(options, 'maximumFractionDigits', 0, 100)];
    if (least !== undefined && most !== undefined && least > most) throw new RangeError('maximumFractionDigits value is out of range.');
    const made = { style, notation, currency, least: least ?? Math.min(usual[0], most ?? usual[0]), most: most ?? Math.max(usual[1], least ?? usual[1]) };
    made.given = least !== undefined || most !== undefined;
    made.significant = [count(options, 'minimumSignificantDigits', 1, 21), count(options, 'maximumSignificantDigits', 1, 21)];
    made.integers = count(options, 'minimumIntegerDigits', 1, 21, 1);
    made.group = options.useGrouping === undefined || (options.useGrouping !== false && options.useGrouping !== 'false');
    made.sign = choice(options, 'signDisplay', ['auto', 'always', 'never', 'exceptZero', 'negative'], 'auto');
    made.display = choice(options, 'currencyDisplay', ['symbol', 'narrowSymbol', 'code'], 'symbol');
    made.accounting = choice(options, 'currencySign', ['standard', 'accounting'], 'standard') === 'accounting';
    if (notation === 'compact') choice(options, 'compactDisplay', ['short'], 'short');
    return made;
  };
  const magnitude = (found, how) => {
    let unit = '', { least, most } = how;
    let [fewest, largest] = how.significant;
    if (how.style === 'percent') found = { ...found, point: found.point + 2 };
    if (how.notation === 'compact') {
      const size = () => found.digits === '0' ? 1 : found.point;
      const scaled = (at) => ({ ...found, point: found.point - 3 * at });
      let step = Math.min(4, Math.max(0, Math.ceil(size() / 3) - 1));
      const places = (at) => how.given ? most : Math.max(0, 2 - (size() - 3 * at));
      if (step < 4 && rounded(scaled(step), places(step)).point > 3) step++;
      [most, unit] = [places(step), ['', 'K', 'M', 'B', 'T'][step]];
      found = scaled(step);
      if (!how.given) least = 0;
    }
    if (fewest !== undefined || largest !== undefined) {
      [fewest, largest] = [fewest ?? 1, largest ?? 21];
      const first = found.digits === '0' ? 1 : found.point;
      const cut = rounded(found, largest - first);
      return written(cut, Math.max(0, fewest - cut.point), Math.max(0, largest - cut.point), how.group, how.integers) + unit;
    }
    return written(rounded(found, most), least, most, how.group, how.integers) + unit;
  };
  const number = (value, how) => {
    if (typeof value !== 'bigint') value = Number(value);
    const isNumber = value === value, finite = typeof value === 'bigint' || Number.isFinite(value);
    const found = finite ? decimal(value) : { sign: value < 0 ? '-' : '', digits: '1', point: 1 };
    let text = finite ? magnitude(found, how) : isNumber ? '∞' : 'NaN';
    const zero = !/[1-9∞]/.test(text), negative = found.sign === '-';
    if (how.style === 'percent') text += '%';
    if (how.style === 'currency') {
      const symbol = how.display === 'code' ? how.currency : SYMBOLS[how.currency] ?? how.currency;
      text = (/^[A-Z]{3}$/.test(symbol) ? `${symbol}\u00a0` : how.display === 'narrowSymbol' ? symbol.replace(/^[A-Z]+(?=[^A-Z])/, '') : symbol) + text;
    }
    const shown = { auto: negative && isNumber, always: true, never: false, exceptZero: !zero && isNumber, negative: negative && !zero }[how.sign];
    if (shown && negative && how.accounting && how.style === 'currency') return `(${text})`;
    return shown ? `${negative ? '-' : '+'}${text}` : text;
  };

  // -- dates, in UTC
  const MONTHS = ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October', 'November', 'December'];
  const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];
  const DATE = ['weekday', 'year', 'month', 'day'], TIME = ['hour', 'minute', 'second', 'fractionalSecondDigits'];
  const TEXTS = ['narrow', 'short', 'long'], NUMBERS = ['numeric', '2-digit'];
  const STYLES = ['full', 'long', 'medium', 'short'];
  const BY_DATE = {
    full: { weekday: 'long', year: 'numeric', month: 'long', day: 'numeric' }, long: { year: 'numeric', month: 'long', day: 'numeric' },
    medium: { year: 'numeric', month: 'short', day: 'numeric' }, short: { year: '2-digit', month: 'numeric', day: 'numeric' },
  };
  const BY_TIME = {
    full: { hour: 'numeric', minute: '2-digit', second: '2-digit', timeZoneName: 'long' }, long: { hour: 'numeric', minute: '2-digit', second: '2-digit', timeZoneName: 'short' },
    medium: { hour: 'numeric', minute: '2-digit', second: '2-digit' }, short: { hour: 'numeric', minute: '2-digit' },
  };
  const calendar = (given, wanted, usual) => {
    const options = { ...given };
    unknown(options, ['era', 'dayPeriod', 'numberingSystem']);
    choice(options, 'calendar', ['gregory'], 'gregory');
    if (options.timeZone !== undefined && !/^(utc|gmt|etc\/(utc|gmt)|\+00:00)$/i.test(`${options.timeZone}`)) refuse('the time zone', options.timeZone, 'UTC');
    const [date, time] = [choice(options, 'dateStyle', STYLES), choice(options, 'timeStyle', STYLES)];
    if ((date && wanted === 'time') || (time && wanted === 'date')) throw new TypeError(`Invalid option : ${date && wanted === 'time' ? 'dateStyle' : 'timeStyle'}`);
    if (date ?? time) {
      if ([...DATE, ...TIME].some((name) => options[name] !== undefined)) throw new TypeError("Can't set a part of a date when dateStyle or timeStyle is used");
      Object.assign(options, BY_DATE[date], BY_TIME[time]);
    } else if (![...(wanted === 'time' ? [] : DATE), ...(wanted === 'date' ? [] : TIME)].some((name) => options[name] !== undefined)) {
      if (usual !== 'time') for (const name of DATE.slice(1)) options[name] = 'numeric';
      if (usual !== 'date') for (const name of TIME.slice(0, 3)) options[name] = 'numeric';
    }
    const made = { weekday: choice(options, 'weekday', TEXTS) };
    made.month = choice(options, 'month', [...NUMBERS, ...TEXTS]);
    for (const name of ['year', 'day', 'hour', 'minute', 'second']) made[name] = choice(options, name, NUMBERS);
    made.fraction = count(options, 'fractionalSecondDigits', 1, 3);
    made.zone = choice(options, 'timeZoneName', ['short', 'long']);
    const cycle = choice(options, 'hourCycle', ['h11', 'h12', 'h23', 'h24'], 'h12');
    made.joined = date ? date === 'full' || date === 'long' ? ' at ' : ', ' : made.month === 'long' ? ' at ' : made.weekday && !made.month && !made.day && !made.year ? ' ' : ', ';
    made.half = options.hour12 === undefined ? cycle === 'h11' || cycle === 'h12' : !!options.hour12;
    return made;
  };
  const two = (value) => `${value}`.padStart(2, '0');
  const as = (value, how) => how === '2-digit' ? two(value % 100) : `${value}`;
  const named = (names, at, how) => how === 'long' ? names[at] : how === 'short' ? names[at].slice(0, 3) : names[at][0];
  const dated = (date, how) => {
    const year = how.year && as(date.getUTCFullYear(), how.year), day = how.day && as(date.getUTCDate(), how.day);
    const weekday = how.weekday && named(DAYS, date.getUTCDay(), how.weekday);
    let text;
    if (TEXTS.includes(how.month)) {
      const month = named(MONTHS, date.getUTCMonth(), how.month);
      const front = day ? `${month} ${day}` : month;
      text = year ? `${front}${day ? ',' : ''} ${year}` : front;
    } else {
      text = [how.month && as(date.getUTCMonth() + 1, how.month), day, year].filter((each) => each !== undefined).join('/');
      if (weekday && day && !how.month && !year) return `${day} ${weekday}`;
    }
    return [weekday, text].filter(Boolean).join(', ');
  };
  const timed = (date, how) => {
    const hours = date.getUTCHours(), parts = [];
    if (how.hour) parts.push(how.half ? as(hours % 12 || 12, how.hour) : two(hours));
    if (how.minute) parts.push(how.hour || how.second ? two(date.getUTCMinutes()) : `${date.getUTCMinutes()}`);
    if (how.second) parts.push(how.minute ? two(date.getUTCSeconds()) : `${date.getUTCSeconds()}`);
    let text = parts.join(':');
    if (how.fraction) text += `${text && '.'}${`${date.getUTCMilliseconds()}`.padStart(3, '0').slice(0, how.fraction)}`;
    if (how.hour && how.half) text += hours < 12 ? ' AM' : ' PM';
    return text;
  };
  const moment = (value, how) => {
    const date = new Date(value === undefined ? Date.now() : value);
    if (!Number.isFinite(date.getTime())) throw new RangeError('Invalid time value');
    const text = [dated(date, how), timed(date, how)].filter(Boolean).join(how.joined);
    return how.zone ? `${text}${how.hour ? ' ' : ', '}${how.zone === 'long' ? 'Coordinated Universal Time' : 'UTC'}` : text;
  };

  // -- texts: by letters, then accents, then case, which is about what other engines do
  const SIGNS = ` \t\n_-,;:!?.'"()[]{}@*/\\&#%\`^+<=>|~$`, LETTERS = { __proto__: null, ß: 'ss', æ: 'ae', œ: 'oe', ø: 'o', đ: 'd', ł: 'l', ı: 'i', þ: 'th' };
  const signed = (text) => text.replace(/[ \t\n!-/:-@[-`{-~]/g, (each) => String.fromCharCode(1 + SIGNS.indexOf(each)));
  const plainly = (text) => text.toLowerCase().replace(/[ßæœøđłıþ]/g, (each) => LETTERS[each]);
  const base = (text) => signed(/[^\0-\x7e]/.test(text) ? plainly(text.normalize('NFD').replace(/\p{M}/gu, '')) : text.toLowerCase());
  const fold = (text) => signed(/[^\0-\x7e]/.test(text) ? text.normalize('NFD').toLowerCase() : text.toLowerCase());
  const order = (a, b, key, numeric) => {
    [a, b] = [key(a), key(b)];
    if (numeric) {
      const [xs, ys] = [a.match(/\d+|\D+/g) ?? [], b.match(/\d+|\D+/g) ?? []];
      for (let i = 0; i < xs.length && i < ys.length; i++) {
        const both = /^\d/.test(xs[i]) && /^\d/.test(ys[i]);
        const [x, y] = both ? [BigInt(xs[i]), BigInt(ys[i])] : [xs[i], ys[i]];
        if (x !== y) return x < y ? -1 : 1;
      }
      return Math.sign(xs.length - ys.length);
    }
    return a < b ? -1 : a > b ? 1 : 0;
  };
  const collation = (options) => {
    unknown(options, ['ignorePunctuation']);
    return { numeric: !!options.numeric, upper: choice(options, 'caseFirst', ['upper', 'lower', 'false'], 'false') === 'upper', sensitivity: choice(options, 'sensitivity', ['base', 'accent', 'case', 'variant'], 'variant') };
  };
  const swapped = (text) => [...text.normalize('NFC')].map((each) => each === each.toLowerCase() ? each.toUpperCase() : each.toLowerCase()).join('');
  const plain = (text) => text.normalize('NFD').replace(/\p{M}/gu, '');
  const compared = (a, b, how) => {
    const { sensitivity, numeric } = how;
    if (a === b) return 0;
    const cased = (key) => order(a, b, how.upper ? key : (text) => swapped(key(text)), false);
    return order(a, b, base, numeric)
      || (sensitivity === 'accent' || sensitivity === 'variant' ? order(a, b, fold, numeric) : 0)
      || (sensitivity === 'variant' ? cased((text) => text.normalize('NFC')) : sensitivity === 'case' ? cased(plain) : 0);
  };

  // -- what scripts see
  const fixed = (made) => ({ locale: 'en-US', ...made });
  const supported = (locales) => (locales === undefined ? [] : [locales].flat()).filter((each) => /^en(-US)?$/i.test(`${each}`));
  class NumberFormat {
    #how;
    constructor(locales, options = {}) { checked(locales); this.#how = shape(options ?? {}); }
    get format() { return (value) => number(value, this.#how); }
    resolvedOptions() { const { style, currency, notation, least, most } = this.#how; return fixed({ numberingSystem: 'latn', style, currency, notation, minimumFractionDigits: least, maximumFractionDigits: most }); }
  }
  class DateTimeFormat {
    #how;
    constructor(locales, options = {}) { checked(locales); this.#how = calendar(options ?? {}, 'any', 'date'); }
    get format() { return (value) => moment(value, this.#how); }
    resolvedOptions() { return fixed({ calendar: 'gregory', numberingSystem: 'latn', timeZone: 'UTC' }); }
  }
  class Collator {
    #how;
    constructor(locales, options = {}) { checked(locales); this.#how = collation(options ?? {}); }
    get compare() { return (a, b) => compared(`${a}`, `${b}`, this.#how); }
    resolvedOptions() { return fixed({ usage: 'sort', ...this.#how }); }
  }
  class PluralRules {
    #ordinal;
    constructor(locales, options = {}) { checked(locales); this.#ordinal = choice(options ?? {}, 'type', ['cardinal', 'ordinal'], 'cardinal') === 'ordinal'; }
    select(value) {
      const n = Math.abs(Number(value));
      if (!this.#ordinal) return n === 1 ? 'one' : 'other';
      const [ten, hundred] = [n % 10, n % 100];
      return ten === 1 && hundred !== 11 ? 'one' : ten === 2 && hundred !== 12 ? 'two' : ten === 3 && hundred !== 13 ? 'few' : 'other';
    }
    resolvedOptions() { return fixed({ type: this.#ordinal ? 'ordinal' : 'cardinal' }); }
  }
  class ListFormat {
    #word; #how;
    constructor(locales, options = {}) {
      checked(locales);
      const type = choice(options ?? {}, 'type', ['conjunction', 'disjunction', 'unit'], 'conjunction');
      this.#how = choice(options ?? {}, 'style', ['long', 'short', 'narrow'], 'long');
      this.#word = type === 'unit' ? '' : type === 'disjunction' ? 'or' : this.#how === 'long' ? 'and' : this.#how === 'short' ? '&' : '';
    }
    format(list) {
      const items = [...list];
      const last = items.pop() ?? '';
      if (!items.length) return last;
      if (!this.#word) return `${items.join(', ')}, ${last}`;
      return items.length === 1 ? `${items[0]} ${this.#word} ${last}` : `${items.join(', ')}, ${this.#word} ${last}`;
    }
  }
  class RelativeTimeFormat {
    #auto;
    constructor(locales, options = {}) {
      checked(locales);
      choice(options ?? {}, 'style', ['long'], 'long');
      this.#auto = choice(options ?? {}, 'numeric', ['always', 'auto'], 'always') === 'auto';
    }
    format(value, unit) {
      const name = `${unit}`.replace(/s$/, '');
      if (!['second', 'minute', 'hour', 'day', 'week', 'month', 'quarter', 'year'].includes(name)) throw new RangeError(`Invalid unit argument for format() '${unit}'`);
      if (this.#auto && value === 0) return { second: 'now', day: 'today' }[name] ?? `this ${name}`;
      if (this.#auto && Math.abs(value) === 1 && !['second', 'minute', 'hour'].includes(name)) return name === 'day' ? value > 0 ? 'tomorrow' : 'yesterday' : `${value > 0 ? 'next' : 'last'} ${name}`;
      const size = Math.abs(value), text = `${number(size, shape({}))} ${name}${size === 1 ? '' : 's'}`;
      return value < 0 || Object.is(value, -0) ? `${text} ago` : `in ${text}`;
    }
  }
  const give = (object, name, value) => Object.defineProperty(object, name, { value, writable: true, configurable: true });
  const Intl = {};
  give(Intl, Symbol.toStringTag, 'Intl');
  for (const made of [NumberFormat, DateTimeFormat, Collator, PluralRules, ListFormat, RelativeTimeFormat]) {
    // Without `new` too, as those of old may be called.
    const callable = new Proxy(made, { apply: (of, _self, args) => new of(...args) });
    give(made, 'supportedLocalesOf', supported);
    give(made.prototype, 'constructor', callable);
    give(Intl, made.name, callable);
  }
  for (const name of ['DisplayNames', 'DurationFormat', 'Locale', 'Segmenter']) {
    give(Intl, name, { [name]: class { constructor() { throw new TypeError(`Intl.${name} is not there: this sandbox has NumberFormat, DateTimeFormat, Collator, PluralRules, ListFormat and RelativeTimeFormat for en-US`); } } }[name]);
  }
  give(Intl, 'getCanonicalLocales', (locales) => (locales === undefined ? [] : [locales].flat()).map((each) => `${each}`));
  give(globalThis, 'Intl', Intl);

  // Of the language's own objects: methods as it has them, of that length, no constructors, and only of their own kind.
  const own = (object, name, length, call) => {
    const method = { [name](...given) { return call(this, ...given); } }[name];
    give(object, name, Object.defineProperty(method, 'length', { value: length, configurable: true }));
  };
  for (const kind of [Number, BigInt]) {
    const { valueOf } = kind.prototype;
    own(kind.prototype, 'toLocaleString', 0, (self, locales, options) => {
      const value = valueOf.call(self);
      checked(locales);
      return number(value, shape(options ?? {}));
    });
  }
  const dates = { toLocaleString: ['any', 'all'], toLocaleDateString: ['date', 'date'], toLocaleTimeString: ['time', 'time'] };
  const { getTime } = Date.prototype;
  for (const [name, [wanted, usual]] of Object.entries(dates)) {
    own(Date.prototype, name, 0, (self, locales, options) => {
      const ms = getTime.call(self);
      checked(locales);
      return ms === ms ? moment(ms, calendar(options ?? {}, wanted, usual)) : 'Invalid Date';
    });
  }
  const text = (self, name) => {
    if (self === undefined || self === null) throw new TypeError(`String.prototype.${name} of ${self}`);
    return `${self}`;
  };
  own(String.prototype, 'localeCompare', 1, (self, that, locales, options) => {
    const [one, other] = [text(self, 'localeCompare'), `${that}`];
    checked(locales);
    return compared(one, other, collation(options ?? {}));
  });
  for (const name of ['toLocaleLowerCase', 'toLocaleUpperCase']) {
    const plain = String.prototype[name.replace('Locale', '')];
    own(String.prototype, name, 0, (self, locales) => {
      const value = text(self, name);
      checked(locales);
      return plain.call(value);
    });
  }
})();
