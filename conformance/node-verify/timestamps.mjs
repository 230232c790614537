// RFC 3161 timestamps: docs/formats/log.md, "Timestamps".
import { X509Certificate, createHash, verify } from 'node:crypto';

import { TAGS, count, expect, oid, only, time, valuesIn, valuesInSet } from './der.mjs';
import { Malformed } from './json.mjs';

const SIGNED_DATA = '1.2.840.113549.1.7.2';
const TST_INFO = '1.2.840.113549.1.9.16.1.4';
const MESSAGE_DIGEST = '1.2.840.113549.1.9.4';
const TIME_STAMPING = '1.3.6.1.5.5.7.3.8';
const DIGESTS = {
  '2.16.840.1.101.3.4.2.1': 'sha256',
  '2.16.840.1.101.3.4.2.2': 'sha384',
  '2.16.840.1.101.3.4.2.3': 'sha512',
};
const [KEY_USAGE, BASIC_CONSTRAINTS, EXTENDED_KEY_USAGE] = ['2.5.29.15', '2.5.29.19', '2.5.29.37'];
// Subject alternative name and certificate policies take nothing away from what a certificate may be used for.
const UNDERSTOOD = new Set([KEY_USAGE, BASIC_CONSTRAINTS, EXTENDED_KEY_USAGE, '2.5.29.17', '2.5.29.32']);
const [OPTIONAL_0, OPTIONAL_1] = [0xa0, 0xa1];
const LONGEST_PATH = 8;

/** When the authority saw the text, in whole seconds since 1970. */
export function stampedAt(answer, text, roots) {
  const { stamp, signer, attributes, attributesWhole, certificates } = readAnswer(answer);
  if (!stamp.imprint.equals(createHash(stamp.digest).update(text).digest())) throw new Malformed('of another text');
  const digest = expect(attributes.get(MESSAGE_DIGEST), TAGS.octets).content;
  if (!digest.equals(createHash(signer.digest).update(stamp.raw).digest())) throw new Malformed('of another content');
  const leaf = certificates.find(({ issuer, serial }) => issuer.equals(signer.issuer) && serial.equals(signer.serial));
  if (!leaf) throw new Malformed('the certificate that signed is not here');
  if (!isSigned(signer, attributesWhole, leaf)) throw new Malformed('the signature does not hold');
  if (!isForStamps(leaf)) throw new Malformed('the certificate is not for timestamps');
  const trusted = roots.map((root) => readCertificate(root.raw));
  if (!leadsToRoot(leaf, certificates, trusted, stamp.at, [])) throw new Malformed('no path to a root of the trust file');
  return stamp.at;
}

function readAnswer(answer) {
  const [status, token] = valuesIn(only(answer, TAGS.sequence).content);
  if (count(valuesIn(expect(status, TAGS.sequence).content)[0]) !== 0) throw new Malformed('it was not granted');
  const [kind, wrapped] = valuesIn(expect(token, TAGS.sequence).content);
  if (oid(kind) !== SIGNED_DATA) throw new Malformed('not signed data');
  const inner = only(expect(wrapped, OPTIONAL_0).content, TAGS.sequence).content;
  const [version, digests, content, ...rest] = valuesIn(inner);
  count(version);
  const named = valuesInSet(expect(digests, TAGS.set).content).map(digestOf);
  const [contentKind, octets] = valuesIn(expect(content, TAGS.sequence).content);
  if (oid(contentKind) !== TST_INFO) throw new Malformed('no timestamp in it');
  const raw = only(expect(octets, OPTIONAL_0).content, TAGS.octets).content;
  const certificates = rest[0]?.tag === OPTIONAL_0 ? valuesInSet(rest.shift().content) : [];
  if (rest[0]?.tag === OPTIONAL_1) rest.shift(); // revocations, which are not looked at
  const [info, more] = valuesInSet(expect(rest[0], TAGS.set).content);
  if (!info || more || rest.length > 1) throw new Malformed('not one signature');
  const { attributes, attributesWhole, ...signer } = readSigner(expect(info, TAGS.sequence).content);
  if (!named.includes(signer.digest)) throw new Malformed('the digest is not one of those named');
  const read = certificates.map(({ whole }) => readCertificate(whole));
  return { stamp: readStamp(raw), signer, attributes, attributesWhole, certificates: read };
}

function digestOf(value) {
  const [kind, parameters] = valuesIn(expect(value, TAGS.sequence).content);
  const digest = DIGESTS[oid(kind)];
  if (parameters && (parameters.tag !== TAGS.null || parameters.content.length)) throw new Malformed('a digest with parameters');
  if (!digest) throw new Malformed('a digest other than SHA-256, SHA-384 and SHA-512');
  return digest;
}

function readStamp(raw) {
  const [version, policy, imprint, serial, at] = valuesIn(only(raw, TAGS.sequence).content);
  count(version);
  oid(policy);
  expect(serial, TAGS.integer);
  const [algorithm, hash] = valuesIn(expect(imprint, TAGS.sequence).content);
  return { raw, digest: digestOf(algorithm), imprint: expect(hash, TAGS.octets).content, at: time(expect(at, 0x18)) };
}

function readSigner(bytes) {
  const [version, sid, algorithm, signed, ...rest] = valuesIn(bytes);
  count(version);
  const [issuer, serial] = valuesIn(expect(sid, TAGS.sequence).content);
  const attributes = new Map();
  for (const each of valuesInSet(expect(signed, OPTIONAL_0).content)) {
    const [kind, values] = valuesIn(expect(each, TAGS.sequence).content);
    const [value, more] = valuesInSet(expect(values, TAGS.set).content);
    if (attributes.has(oid(kind)) || more) throw new Malformed('an attribute twice');
    attributes.set(oid(kind), value);
  }
  // RFC 5652 §5.4: what is signed is the set under its own tag, not under that of its place.
  const attributesWhole = Buffer.concat([Buffer.of(TAGS.set), signed.whole.subarray(1)]);
  oid(valuesIn(expect(rest[0], TAGS.sequence).content)[0]); // the kind of key and the digest say all there is to say
  const signature = expect(rest[1], TAGS.octets).content;
  return {
    ...{ issuer: issuer.whole, serial: expect(serial, TAGS.integer).content },
    ...{ digest: digestOf(algorithm), signature, attributes, attributesWhole },
  };
}

function isSigned({ digest, signature }, signed, { x509 }) {
  const key = publicKeyOf(x509);
  return ['rsa', 'ec'].includes(key.asymmetricKeyType) && verify(digest, signed, key, signature);
}

function publicKeyOf(x509) {
  try {
    return x509.publicKey;
  } catch {
    throw new Malformed('a key that cannot be read');
  }
}

/** What a path is judged by: names, period and extensions of a certificate (RFC 5280 §4.1). */
function readCertificate(raw) {
  let x509;
  try {
    x509 = new X509Certificate(raw);
  } catch {
    throw new Malformed('not a certificate');
  }
  const parts = valuesIn(valuesIn(only(raw, TAGS.sequence).content)[0].content);
  if (parts[0].tag === OPTIONAL_0) parts.shift(); // its version
  const [serial, , issuer, period, subject] = parts;
  const [from, until] = valuesIn(period.content).map(time);
  const extensions = new Map();
  const listed = parts.find(({ tag }) => tag === 0xa3);
  for (const each of listed ? valuesIn(only(listed.content, TAGS.sequence).content) : []) {
    const [kind, ...rest] = valuesIn(each.content);
    const isCritical = rest[0].tag === TAGS.boolean && rest.shift().content[0] === 0xff;
    extensions.set(oid(kind), { isCritical, content: expect(rest[0], TAGS.octets).content });
  }
  return { x509, raw, serial: serial.content, issuer: issuer.whole, subject: subject.whole, from, until, extensions };
}

function isForStamps({ extensions }) {
  const usage = extensions.get(EXTENDED_KEY_USAGE);
  if (!usage?.isCritical) return false;
  const purposes = valuesIn(only(usage.content, TAGS.sequence).content).map(oid);
  return purposes.length === 1 && purposes[0] === TIME_STAMPING;
}

/** Whether a certificate may sign others, with so many certificates of authorities below it. */
function maySign({ extensions }, below) {
  const constraints = extensions.get(BASIC_CONSTRAINTS);
  if (!constraints) return false;
  const [isAuthority, longest] = valuesIn(only(constraints.content, TAGS.sequence).content);
  if (isAuthority?.tag !== TAGS.boolean || isAuthority.content[0] !== 0xff) return false;
  if (longest && count(longest) < below) return false;
  const usage = extensions.get(KEY_USAGE);
  return !usage || ((only(usage.content, TAGS.bits).content[1] ?? 0) & 0x04) !== 0; // keyCertSign
}

function isSound({ from, until, extensions }, at) {
  const isUnderstood = [...extensions].every(([kind, { isCritical }]) => !isCritical || UNDERSTOOD.has(kind));
  return from <= at && at <= until && isUnderstood;
}

function issued(issuer, certificate, below) {
  return (
    issuer.subject.equals(certificate.issuer) &&
    maySign(issuer, below) &&
    certificate.x509.checkIssued(issuer.x509) &&
    certificate.x509.verify(publicKeyOf(issuer.x509))
  );
}

/** Whether the certificates lead from one to a root, all of them sound at that time. */
function leadsToRoot(certificate, others, roots, at, path) {
  if (path.length > LONGEST_PATH || !isSound(certificate, at)) return false;
  const below = path.length;
  const isRoot = (root) => root.subject.equals(root.issuer) && isSound(root, at) && issued(root, certificate, below);
  if (roots.some(isRoot)) return true;
  const next = others.filter((other) => other !== certificate && !path.includes(other) && issued(other, certificate, below));
  return next.some((other) => leadsToRoot(other, others, roots, at, [...path, certificate]));
}
