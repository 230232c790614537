// The JSON profile of docs/formats/receipt.md, read strictly. JSON.parse would take doubled keys and large numbers.

export class Malformed extends Error {}

const LARGEST = Number.MAX_SAFE_INTEGER;
const DEEPEST = 128;
const MOST_BRACKETS = 10_000;
const NUMBER = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?/y;
const PLAIN = /[^"\\\u0000-\u001f]*/y;
const ESCAPES = { '"': '"', '\\': '\\', '/': '/', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' };

export function utf8(bytes) {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Malformed('not UTF-8');
  }
}

/** The value, from any JSON of the profile, however it is spaced. */
export function readJson(bytes) {
  const text = utf8(bytes);
  if ((text.match(/[{[]/g) ?? []).length > MOST_BRACKETS) throw new Malformed('too many objects and arrays');
  let at = 0;

  const fail = (what = 'not JSON') => {
    throw new Malformed(what);
  };
  const space = () => {
    while (' \t\n\r'.includes(text[at] ?? 'x')) at += 1;
  };
  const string = () => {
    let said = '';
    for (at += 1; ; ) {
      PLAIN.lastIndex = at;
      const plain = PLAIN.exec(text)[0];
      said += plain;
      at += plain.length;
      if (text[at] === '"') {
        at += 1;
        return said;
      }
      if (text[at] !== '\\') fail();
      const escaped = text[at + 1];
      if (escaped === 'u') {
        const digits = text.slice(at + 2, at + 6);
        if (!/^[0-9a-fA-F]{4}$/.test(digits)) fail();
        said += String.fromCharCode(parseInt(digits, 16));
        at += 6;
      } else {
        said += Object.hasOwn(ESCAPES, escaped ?? '') ? ESCAPES[escaped] : fail();
        at += 2;
      }
    }
  };
  const value = (depth) => {
    space();
    const first = text[at];
    if (first === '"') return string();
    if ((first === '{' || first === '[') && depth > DEEPEST) fail('nested too deeply');
    if (first === '{') {
      const found = Object.create(null);
      at += 1;
      space();
      if (text[at] === '}') at += 1;
      else
        for (;;) {
          space();
          if (text[at] !== '"') fail();
          const key = string();
          if (!/^[\x00-\x7f]*$/.test(key)) fail('a key outside ASCII');
          if (key in found) fail('a key twice');
          space();
          if (text[at] !== ':') fail();
          at += 1;
          found[key] = value(depth + 1);
          space();
          at += 1;
          if (text[at - 1] === '}') break;
          if (text[at - 1] !== ',') fail();
        }
      return found;
    }
    if (first === '[') {
      const found = [];
      at += 1;
      space();
      if (text[at] === ']') at += 1;
      else
        for (;;) {
          found.push(value(depth + 1));
          space();
          at += 1;
          if (text[at - 1] === ']') break;
          if (text[at - 1] !== ',') fail();
        }
      return found;
    }
    for (const [word, meant] of [['true', true], ['false', false], ['null', null]])
      if (text.startsWith(word, at)) {
        at += word.length;
        return meant;
      }
    NUMBER.lastIndex = at;
    const number = NUMBER.exec(text);
    if (!number) fail();
    if (number[1] || number[2]) fail('a floating-point number');
    at += number[0].length;
    const whole = Number(number[0]);
    if (Math.abs(whole) > LARGEST) fail('an integer of 2^53 or more');
    return whole + 0;
  };

  const found = value(1);
  space();
  if (at !== text.length) fail();
  return found;
}

/** Canonical JSON (RFC 8785) of a value of the profile. */
export function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (isObject(value)) {
    const members = Object.keys(value).sort();
    return `{${members.map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`).join(',')}}`;
  }
  if (Object.is(value, -0)) return '0';
  if (typeof value === 'string' && !value.isWellFormed()) throw new Malformed('text that has no UTF-8');
  return JSON.stringify(value);
}

/** The value, from its one canonical encoding. */
export function readCanonical(bytes) {
  const value = readJson(bytes);
  if (!Buffer.from(canonical(value), 'utf8').equals(bytes)) throw new Malformed('not canonical');
  return value;
}

/** The bytes, from canonical base64 (RFC 4648 §4, with padding). */
export function readBase64(text) {
  const bytes = Buffer.from(text, 'base64');
  if (bytes.toString('base64') !== text) throw new Malformed('not canonical base64');
  return bytes;
}

export const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
export const isCount = (value) => Number.isSafeInteger(value) && value >= 0;
