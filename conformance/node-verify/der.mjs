// DER (X.690), as much as timestamps and certificates need, read strictly: lengths in their shortest form, sets sorted.
import { Malformed } from './json.mjs';

export const TAGS = { boolean: 0x01, integer: 0x02, bits: 0x03, octets: 0x04, null: 0x05, oid: 0x06, sequence: 0x30, set: 0x31 };

/** One value at a place: its tag, its content, and all of it with what stands before the content. */
function valueAt(bytes, at) {
  const fail = () => {
    throw new Malformed('not DER');
  };
  if (at + 2 > bytes.length || (bytes[at] & 0x1f) === 0x1f) fail();
  let length = bytes[at + 1];
  let start = at + 2;
  if (length >= 0x80) {
    const digits = length - 0x80;
    if (digits < 1 || digits > 4 || start + digits > bytes.length) fail();
    length = bytes.readUIntBE(start, digits);
    start += digits;
    if (length < 0x80 || length < 256 ** (digits - 1)) fail();
  }
  if (start + length > bytes.length) fail();
  return { tag: bytes[at], content: bytes.subarray(start, start + length), whole: bytes.subarray(at, start + length) };
}

/** The values that follow one another in some bytes. */
export function valuesIn(bytes) {
  const found = [];
  for (let at = 0; at < bytes.length; at += found.at(-1).whole.length) found.push(valueAt(bytes, at));
  return found;
}

/** The one value that some bytes are, of this tag. */
export function only(bytes, tag) {
  const [value, more] = valuesIn(bytes);
  return more ? expect(undefined, tag) : expect(value, tag);
}

export function expect(value, tag) {
  if (value?.tag !== tag) throw new Malformed('another ASN.1 type than expected');
  return value;
}

/** The values that some bytes are: as many as there are tags, each of its own. */
export function several(bytes, ...tags) {
  const found = valuesIn(bytes);
  if (found.length !== tags.length) throw new Malformed('another ASN.1 type than expected');
  return found.map((value, at) => expect(value, tags[at]));
}

/** Values that may each be there, in the order of these tags, at its tag's place. */
export function inOrder(values, ...tags) {
  const left = [...values];
  const found = tags.map((tag) => (left[0]?.tag === tag ? left.shift() : undefined));
  if (left.length) throw new Malformed('another ASN.1 type than expected');
  return found;
}

/** The values in a set, which DER sorts by their encoding. */
export function valuesInSet(bytes) {
  const found = valuesIn(bytes);
  found.slice(1).forEach((value, at) => {
    if (Buffer.compare(found[at].whole, value.whole) > 0) throw new Malformed('a set that is not sorted');
  });
  return found;
}

/** An object identifier in dotted decimals. */
export function oid(value) {
  const { content } = expect(value, TAGS.oid);
  const numbers = [];
  let number = 0n;
  content.forEach((byte, at) => {
    if (number === 0n && byte === 0x80) throw new Malformed('not an object identifier');
    number = (number << 7n) | BigInt(byte & 0x7f);
    if (!(byte & 0x80)) {
      numbers.push(number);
      number = 0n;
    } else if (at === content.length - 1) throw new Malformed('not an object identifier');
  });
  if (!numbers.length) throw new Malformed('not an object identifier');
  const [first, ...rest] = numbers;
  const top = first < 80n ? first / 40n : 2n;
  return [top, first - top * 40n, ...rest].join('.');
}

/** The object identifier of an AlgorithmIdentifier without parameters, or with NULL. */
export function identified(algorithm) {
  const [kind, parameters, more] = valuesIn(expect(algorithm, TAGS.sequence).content);
  if (more || (parameters && (parameters.tag !== TAGS.null || parameters.content.length)))
    throw new Malformed('an algorithm with parameters');
  return oid(kind);
}

/** The octets of a whole number, which are as few as can be. */
export function integer(value) {
  const { content } = expect(value, TAGS.integer);
  const isLong = content.length > 1 && [0, 0xff].includes(content[0]) && content[0] >> 7 === content[1] >> 7;
  if (!content.length || isLong) throw new Malformed('not a number');
  return content;
}

/** A whole number of at most 48 bits that is not negative. */
export function count(value) {
  const content = integer(value);
  if (content.length > 6 || content[0] >= 0x80) throw new Malformed('not a small number');
  return content.readUIntBE(0, content.length);
}

/** Seconds since 1970 of a UTCTime (0x17) or GeneralizedTime (0x18), in UTC. */
export function time(value) {
  const text = value.content.toString('latin1');
  const century = Number(text.slice(0, 2)) >= 50 ? '19' : '20';
  const digits = value.tag === 0x17 ? century + text : value.tag === 0x18 ? text : '';
  const parts = /^(?!0000)(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(digits);
  const said = parts && `${parts[1]}-${parts[2]}-${parts[3]}T${parts[4]}:${parts[5]}:${parts[6]}`;
  const at = said ? Date.parse(`${said}Z`) : NaN;
  if (Number.isNaN(at) || new Date(at).toISOString().slice(0, 19) !== said) throw new Malformed('not a time');
  return at / 1000;
}
