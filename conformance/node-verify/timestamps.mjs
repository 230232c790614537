// RFC 3161 timestamps: docs/formats/log.md, "Timestamps".
import { createHash, verify } from 'node:crypto';

import { publicKeyOf, leadsToRoot, readCertificate, signatureOf } from './certificates.mjs';
import { TAGS, count, expect, identified, inOrder, integer, oid, only, several, time, valuesIn, valuesInSet } from './der.mjs';
import { Malformed } from './json.mjs';

const SIGNED_DATA = '1.2.840.113549.1.7.2';
const TST_INFO = '1.2.840.113549.1.9.16.1.4';
const [CONTENT_TYPE, MESSAGE_DIGEST] = ['1.2.840.113549.1.9.3', '1.2.840.113549.1.9.4'];
const SIGNING_CERTIFICATES = { '1.2.840.113549.1.9.16.2.12': 'sha1', '1.2.840.113549.1.9.16.2.47': 'sha256' };
const RSA = '1.2.840.113549.1.1.1'; // as the name of a signature it leaves the digest open
const DIGESTS = {
  '2.16.840.1.101.3.4.2.1': 'sha256',
  '2.16.840.1.101.3.4.2.2': 'sha384',
  '2.16.840.1.101.3.4.2.3': 'sha512',
};
const [OPTIONAL_0, OPTIONAL_1] = [0xa0, 0xa1];
const [MOST_CERTIFICATES, LARGEST] = [16, 1 << 18];

/** When the authority saw the text, in whole seconds since 1970. */
export function stampedAt(answer, text, roots) {
  const { stamp, signer, certificates } = readAnswer(answer);
  if (!stamp.imprint.equals(createHash(stamp.digest).update(text).digest())) throw new Malformed('of another text');
  if (oid(signer.attributes.get(CONTENT_TYPE)) !== TST_INFO) throw new Malformed('signed as something else');
  const digest = expect(signer.attributes.get(MESSAGE_DIGEST), TAGS.octets).content;
  if (!digest.equals(createHash(signer.digest).update(stamp.raw).digest())) throw new Malformed('of another content');
  const leaf = certificates.find(({ issuer, serial }) => issuer.equals(signer.issuer) && serial.equals(signer.serial));
  if (!leaf) throw new Malformed('the certificate that signed is not here');
  if (!isNamed(leaf, signer.attributes)) throw new Malformed('by another certificate than it names');
  const key = publicKeyOf(leaf);
  if (!key || !signer.kinds.includes(key.asymmetricKeyType) || !verify(signer.digest, signer.signed, key, signer.signature))
    throw new Malformed('the signature does not hold');
  if (!leaf.isForStamps) throw new Malformed('the certificate is not for timestamps');
  const trusted = readable(roots);
  if (!leadsToRoot(leaf, [...certificates, ...trusted], trusted, stamp.at)) throw new Malformed('no path to a root of the trust file');
  return stamp.at;
}

/** The certificates that can be read as certificates of a token are; nothing leads to the others. */
function readable(roots) {
  return roots.flatMap((root) => {
    try {
      return [readCertificate(root.raw)];
    } catch (error) {
      if (error instanceof Malformed) return [];
      throw error;
    }
  });
}

function readAnswer(answer) {
  if (answer.length > LARGEST) throw new Malformed('larger than 256 KiB');
  const [status, token] = several(only(answer, TAGS.sequence).content, TAGS.sequence, TAGS.sequence);
  // a text for people may follow
  if (!status.content.subarray(0, 3).equals(Buffer.of(TAGS.integer, 1, 0))) throw new Malformed('it was not granted');
  const [kind, wrapped] = several(token.content, TAGS.oid, OPTIONAL_0);
  if (oid(kind) !== SIGNED_DATA) throw new Malformed('not signed data');
  const [version, digests, content, ...rest] = valuesIn(only(wrapped.content, TAGS.sequence).content);
  if (count(version) !== 3) throw new Malformed('signed data of another version');
  const named = valuesInSet(expect(digests, TAGS.set).content).map(digestOf);
  const [contentKind, octets] = several(expect(content, TAGS.sequence).content, TAGS.oid, OPTIONAL_0);
  if (oid(contentKind) !== TST_INFO) throw new Malformed('no timestamp in it');
  const certificates = rest[0]?.tag === OPTIONAL_0 ? valuesInSet(rest.shift().content) : [];
  if (certificates.length > MOST_CERTIFICATES) throw new Malformed('more certificates than are looked at');
  if (rest[0]?.tag === OPTIONAL_1) rest.shift(); // revocations, which are not looked at
  const infos = valuesInSet(expect(rest[0], TAGS.set).content);
  if (infos.length !== 1 || rest.length !== 1) throw new Malformed('not one signature');
  const signer = readSigner(expect(infos[0], TAGS.sequence).content);
  if (!named.includes(signer.digest)) throw new Malformed('a digest that is not named');
  const stamp = readStamp(only(octets.content, TAGS.octets).content);
  return { stamp, signer, certificates: certificates.map(({ whole }) => readCertificate(whole)) };
}

function digestOf(algorithm) {
  const digest = DIGESTS[identified(algorithm)];
  if (!digest) throw new Malformed('a digest other than SHA-256, SHA-384 and SHA-512');
  return digest;
}

function readStamp(raw) {
  const [version, policy, imprint, serial, at, ...rest] = valuesIn(only(raw, TAGS.sequence).content);
  if (count(version) !== 1) throw new Malformed('a timestamp of another version');
  oid(policy);
  integer(serial);
  checkRest(rest);
  const [algorithm, hash] = several(expect(imprint, TAGS.sequence).content, TAGS.sequence, TAGS.octets);
  return { raw, digest: digestOf(algorithm), imprint: hash.content, at: time(expect(at, 0x18)) };
}

/** What may follow the time: accuracy, ordering, nonce, the authority's name and extensions. */
function checkRest(values) {
  const [accuracy, ordering, nonce] = inOrder(values, TAGS.sequence, TAGS.boolean, TAGS.integer, OPTIONAL_0, OPTIONAL_1);
  const [seconds, ...parts] = inOrder(accuracy ? valuesIn(accuracy.content) : [], TAGS.integer, 0x80, 0x81);
  for (const value of [seconds, nonce]) if (value && integer(value)[0] >= 0x80) throw new Malformed('less than nothing');
  for (const { content } of parts.filter(Boolean)) {
    const part = count({ tag: TAGS.integer, content });
    if (part < 1 || part > 999) throw new Malformed('no thousandths');
  }
  // what is not ordered does not say so
  if (ordering && ordering.content.toString('hex') !== 'ff') throw new Malformed('not DER');
}

function readSigner(bytes) {
  const parts = valuesIn(bytes);
  const tags = [TAGS.integer, TAGS.sequence, TAGS.sequence, OPTIONAL_0, TAGS.sequence, TAGS.octets];
  if (parts.length === 7) expect(parts.pop(), OPTIONAL_1); // attributes that nobody signed
  const [version, by, algorithm, listed, name, signature] = several(Buffer.concat(parts.map(({ whole }) => whole)), ...tags);
  if (count(version) !== 1) throw new Malformed('a signature of another version');
  const [issuer, serial] = several(by.content, TAGS.sequence, TAGS.integer);
  const attributes = new Map();
  for (const each of valuesInSet(listed.content)) {
    const [kind, values] = several(expect(each, TAGS.sequence).content, TAGS.oid, TAGS.set);
    const [value, more] = valuesIn(values.content);
    if (!value || more || attributes.has(oid(kind))) throw new Malformed('an attribute twice');
    attributes.set(oid(kind), value);
  }
  const digest = digestOf(algorithm);
  return {
    ...{ issuer: issuer.whole, serial: serial.content, digest, signature: signature.content, attributes },
    kinds: kindsOf(name, digest),
    // RFC 5652 §5.4: what is signed is the set under its own tag, not under that of its place.
    signed: Buffer.concat([Buffer.of(TAGS.set), listed.whole.subarray(1)]),
  };
}

/** The kinds of key that a signature may be by, as its algorithm is named and with the digest that was stated. */
function kindsOf(name, digest) {
  const said = signatureOf(name);
  if (said) return said.digest === digest ? [said.kind] : [];
  return identified(name) === RSA ? ['rsa'] : [];
}

/** Whether the signature covers which certificate it is by, and it is this one. */
function isNamed(leaf, attributes) {
  const found = Object.entries(SIGNING_CERTIFICATES).filter(([kind]) => attributes.has(kind));
  const isThis = ([kind, otherwise]) => {
    const [listed] = valuesIn(expect(attributes.get(kind), TAGS.sequence).content);
    const [first] = valuesIn(expect(listed, TAGS.sequence).content);
    const parts = valuesIn(expect(first, TAGS.sequence).content);
    const digest = otherwise !== 'sha1' && parts[0]?.tag === TAGS.sequence ? digestOf(parts.shift()) : otherwise;
    return expect(parts[0], TAGS.octets).content.equals(createHash(digest).update(leaf.raw).digest());
  };
  return found.length > 0 && found.every(isThis);
}
