// Certificates of time-stamping authorities: docs/formats/log.md, "Timestamps".
import { createPublicKey, verify } from 'node:crypto';

import { TAGS, count, expect, identified, oid, only, several, time, valuesIn } from './der.mjs';
import { Malformed } from './json.mjs';

const SIGNATURES = {
  '1.2.840.113549.1.1.11': { kind: 'rsa', digest: 'sha256' },
  '1.2.840.113549.1.1.12': { kind: 'rsa', digest: 'sha384' },
  '1.2.840.113549.1.1.13': { kind: 'rsa', digest: 'sha512' },
  '1.2.840.10045.4.3.2': { kind: 'ec', digest: 'sha256' },
  '1.2.840.10045.4.3.3': { kind: 'ec', digest: 'sha384' },
  '1.2.840.10045.4.3.4': { kind: 'ec', digest: 'sha512' },
};
const TIME_STAMPING = '1.3.6.1.5.5.7.3.8';
const [KEY_USAGE, BASIC_CONSTRAINTS, EXTENDED_KEY_USAGE] = ['2.5.29.15', '2.5.29.19', '2.5.29.37'];
const NAME_CONSTRAINTS = '2.5.29.30';
// Subject alternative name and certificate policies take nothing away from what a certificate may be used for.
const UNDERSTOOD = new Set([KEY_USAGE, BASIC_CONSTRAINTS, EXTENDED_KEY_USAGE, '2.5.29.17', '2.5.29.32']);
const LONGEST_PATH = 8;

/** Kind of key and digest that a signature's algorithm names; undefined if it is none that is taken. */
export function signatureOf(algorithm) {
  try {
    return SIGNATURES[identified(algorithm)];
  } catch (error) {
    if (error instanceof Malformed) return undefined;
    throw error;
  }
}

/** The key of a certificate; undefined if it cannot be read. */
export function publicKeyOf({ key }) {
  try {
    return createPublicKey({ key, format: 'der', type: 'spki' });
  } catch {
    return undefined;
  }
}

/** What a path is judged by (RFC 5280 §4.1). */
export function readCertificate(raw) {
  const [signed, outer, bits] = several(only(raw, TAGS.sequence).content, TAGS.sequence, TAGS.sequence, TAGS.bits);
  const [version, serial, inner, issuer, period, subject, key, ...rest] = valuesIn(signed.content);
  if (count(only(expect(version, 0xa0).content, TAGS.integer)) !== 2) throw new Malformed('a certificate not of version 3');
  // RFC 5280 §4.1.1.2: the outer name of the algorithm is not signed, and has to equal the one that is
  if (!expect(inner, TAGS.sequence).whole.equals(outer.whole)) throw new Malformed('two algorithms for one signature');
  if (bits.content[0] !== 0) throw new Malformed('a signature not of whole octets');
  const [from, until, more] = valuesIn(expect(period, TAGS.sequence).content);
  if (!from || !until || more) throw new Malformed('another ASN.1 type than expected');
  const extensions = readExtensions(rest.find(({ tag }) => tag === 0xa3));
  return {
    ...{ raw, signed: signed.whole, signature: bits.content.subarray(1), signedWith: signatureOf(outer) },
    serial: expect(serial, TAGS.integer).content,
    issuer: expect(issuer, TAGS.sequence).whole,
    ...{ from: time(from), until: time(until) },
    subject: expect(subject, TAGS.sequence).whole,
    key: expect(key, TAGS.sequence).whole,
    isForStamps: isForStamps(extensions),
    mostBelow: mostBelow(extensions),
    isUnderstood:
      !extensions.has(NAME_CONSTRAINTS) && [...extensions].every(([kind, { isCritical }]) => !isCritical || UNDERSTOOD.has(kind)),
  };
}

function readExtensions(listed) {
  const found = new Map();
  for (const each of listed ? valuesIn(only(listed.content, TAGS.sequence).content) : []) {
    const [kind, ...rest] = valuesIn(expect(each, TAGS.sequence).content);
    const isCritical = rest.length === 2;
    // what is not critical does not say so
    if (isCritical && expect(rest.shift(), TAGS.boolean).content.toString('hex') !== 'ff') throw new Malformed('not DER');
    if (found.has(oid(kind)) || rest.length !== 1) throw new Malformed('an extension twice, or of another form');
    found.set(oid(kind), { isCritical, content: expect(rest[0], TAGS.octets).content });
  }
  return found;
}

/** The octets of a key usage; undefined if there is none. */
function usageOf(extensions) {
  const usage = extensions.get(KEY_USAGE);
  return usage && only(usage.content, TAGS.bits).content.subarray(1);
}

/** Whether the key is for timestamps, and for nothing else (RFC 3161 §2.3). */
function isForStamps(extensions) {
  const usage = usageOf(extensions);
  const extended = extensions.get(EXTENDED_KEY_USAGE);
  const purposes = extended ? valuesIn(only(extended.content, TAGS.sequence).content).map(oid) : [];
  // digitalSignature and nonRepudiation
  const isUsable = !usage || (usage.length === 1 && usage[0] !== 0 && (usage[0] & ~0xc0) === 0);
  return Boolean(extended?.isCritical && purposes.length === 1 && purposes[0] === TIME_STAMPING && isUsable);
}

/** How many certificates of authorities may stand below; -1 if it may sign none. */
function mostBelow(extensions) {
  const usage = usageOf(extensions);
  const constraints = extensions.get(BASIC_CONSTRAINTS);
  if (!constraints) return -1;
  const [isAuthority, longest, more] = valuesIn(only(constraints.content, TAGS.sequence).content);
  // what is no authority does not say so
  if (more || (isAuthority && isAuthority.whole.toString('hex') !== '0101ff')) throw new Malformed('not DER');
  const most = longest ? count(longest) : LONGEST_PATH;
  return isAuthority && (!usage || ((usage[0] ?? 0) & 0x04) !== 0) ? most : -1; // keyCertSign
}

function isSound({ from, until, isUnderstood }, at) {
  return from <= at && at < until && isUnderstood;
}

function isSigned({ signed, signature, signedWith }, issuer) {
  const key = publicKeyOf(issuer);
  return Boolean(signedWith && key?.asymmetricKeyType === signedWith.kind && verify(signedWith.digest, signed, key, signature));
}

/** Whether a certificate issued the last on a way, on which its name does not stand yet. */
function issued(issuer, way) {
  const top = way.at(-1);
  if (!issuer.subject.equals(top.issuer) || way.length - 1 > issuer.mostBelow) return false;
  return way.every(({ subject }) => !subject.equals(issuer.subject)) && isSigned(top, issuer);
}

/** Whether the certificates lead from one to a root, all of them sound at that time. */
export function leadsToRoot(leaf, others, roots, at) {
  const ways = [[leaf]];
  const left = new Set(others.filter((other) => other !== leaf)); // each is reached once, on the shortest way
  const isItself = (root) => root.raw.equals(leaf.raw) && isSigned(leaf, root);
  const isRoot = (root, way) =>
    root.subject.equals(root.issuer) && isSound(root, at) && (isItself(root) || issued(root, way));
  for (const way of ways) {
    if (!isSound(way.at(-1), at)) continue;
    if (roots.some((root) => isRoot(root, way))) return true;
    if (way.length > LONGEST_PATH) continue;
    for (const other of left)
      if (issued(other, way)) {
        left.delete(other);
        ways.push([...way, other]);
      }
  }
  return false;
}
