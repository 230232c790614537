// Checkpoints, cosignatures and one-receipt proofs: docs/formats/log.md.
import { createPublicKey, verify } from 'node:crypto';

import { Malformed, readBase64, utf8 } from './json.mjs';
import { sha256 } from './tree.mjs';

const END_OF_TIME_S = 253_402_300_799n;

export function edSigned(message, signature, raw) {
  const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: raw.toString('base64url') }, format: 'jwk' });
  return verify(null, message, key, signature);
}

export const keyHash = (name, type, raw) => sha256(`${name}\n`, Buffer.of(type), raw).subarray(0, 4);

/** What a note says; its signatures are not checked here. */
export function readCheckpoint(bytes) {
  if (bytes.length > 64 * 1024) throw new Malformed('a checkpoint that is too long');
  const text = utf8(bytes);
  const gap = text.lastIndexOf('\n\n');
  if (gap < 0 || !text.endsWith('\n') || text.length < gap + 3) throw new Malformed('not a signed note');
  if (/[\x00-\x09\x0b-\x1f]/.test(text)) throw new Malformed('a control character');
  const lines = text.slice(0, gap).split('\n');
  if (lines.length < 3 || lines.some((line) => !line)) throw new Malformed('no origin, size and root');
  const [origin, size, encoded] = lines;
  if (!/^(0|[1-9][0-9]{0,19})$/.test(size)) throw new Malformed('the size is no number');
  const root = readBase64(encoded);
  if (root.length !== 32) throw new Malformed('the root hash is not 32 bytes');
  const signatureLines = text.slice(gap + 2, -1).split('\n');
  if (signatureLines.length > 100) throw new Malformed('too many signatures');
  const signatures = signatureLines.map((line) => {
    const parts = /^\u2014 ([^ +]+) ([^ ]*)$/u.exec(line);
    if (!parts) throw new Malformed('a signature line is malformed');
    const raw = readBase64(parts[2]);
    if (raw.length < 5) throw new Malformed('a signature is too short');
    return { name: parts[1], hash: raw.subarray(0, 4), signature: raw.subarray(4) };
  });
  return { origin, size: Number(size), root, signed: Buffer.from(text.slice(0, gap + 1)), signatures };
}

export function isSignedByLog(checkpoint, raw) {
  const hash = keyHash(checkpoint.origin, 1, raw);
  return checkpoint.signatures.some(
    (line) => line.name === checkpoint.origin && line.hash.equals(hash) && edSigned(checkpoint.signed, line.signature, raw),
  );
}

/** When a cosigner signed, in seconds, if his signature is there and holds; and whether one is there and is false. */
export function cosignedAt(checkpoint, { name, key }) {
  const hash = keyHash(name, 4, key);
  let at = null;
  let isFalse = false;
  for (const line of checkpoint.signatures) {
    if (line.name !== name || !line.hash.equals(hash)) continue;
    const time = line.signature.length === 72 ? line.signature.readBigUInt64BE(0) : 0n;
    const said = Buffer.concat([Buffer.from(`cosignature/v1\ntime ${time}\n`), checkpoint.signed]);
    if (time > 0n && time < END_OF_TIME_S && edSigned(said, line.signature.subarray(8), key)) at = Number(time);
    else isFalse = true;
  }
  return { at, isFalse };
}

const FIRST_LINE = 'c2sp.org/tlog-proof@v1\n';

export const isProof = (bytes) => bytes.subarray(0, FIRST_LINE.length).toString('latin1') === FIRST_LINE;

/** The envelope, index, path and checkpoint in a .tlog-proof. */
export function readProof(bytes) {
  const gap = bytes.indexOf('\n\n');
  if (gap < 0) throw new Malformed('no checkpoint');
  const [, extra, index, ...path] = bytes.toString('latin1', 0, gap).split('\n');
  if (!extra?.startsWith('extra ') || !/^index (0|[1-9][0-9]{0,18})$/.test(index ?? '') || path.length > 64)
    throw new Malformed('no receipt or no index');
  const nodes = path.map(readBase64);
  if (nodes.some((node) => node.length !== 32)) throw new Malformed('a line that is no hash');
  return { envelope: readBase64(extra.slice(6)), index: Number(index.slice(6)), path: nodes, note: bytes.subarray(gap + 2) };
}
