// The verifier's own trust file, and the keys a bundle claims: docs/formats/trust.md.
import { X509Certificate, createPublicKey } from 'node:crypto';

import { keyHash } from './checkpoint.mjs';
import { Malformed, isObject, readBase64, readJson, utf8 } from './json.mjs';
import { sha256Hex } from './tree.mjs';

export class BadTrust extends Error {}

const LINE = /^([A-Za-z0-9_]+)\s*=\s*"((?:[^"\\]|\\n)*)"\s*(?:#.*)?$/;
export const ISOLATIONS = ['same-process', 'same-user', 'separate-user', 'remote']; // the weakest first
const DATED = ['gate_key', 'log_key', 'person_key'];
const NUMBERED = /^(gate_key|log_key|person_key|witness|monitor|tsa_root)(_[0-9]+)?(_from|_until)?$/;
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$/;

/** The trust that a file states. */
export function readTrust(bytes) {
  if (bytes.length > 2 ** 20) throw new BadTrust('larger than 1 MiB');
  const said = new Map();
  for (const line of textOf(bytes).split('\n')) {
    if (/^\s*(#.*)?$/.test(line)) continue;
    const parts = LINE.exec(line.trim());
    if (!parts || said.has(parts[1])) throw new BadTrust(`a line that is not name = "value": ${line.slice(0, 60)}`);
    said.set(parts[1], parts[2].replaceAll('\\n', '\n'));
  }
  if (said.get('format') !== 'answerable-trust/1') throw new BadTrust('another format');
  const named = { gate_key: [], log_key: [], person_key: [], witness: [], monitor: [], tsa_root: [] };
  for (const name of [...said.keys()].sort()) {
    const found = NUMBERED.exec(name);
    if (!['format', 'origin', 'quorum', 'isolation'].includes(name) && (!found || (found[3] && !DATED.includes(found[1]))))
      throw new BadTrust(`\`${name}\` is not known`);
    if (found && !found[3]) named[found[1]].push(name);
  }
  const pems = (names) => names.map((name) => said.get(name));
  const trust = keysOf(said.get('origin'), pems(named.log_key), pems(named.gate_key));
  const ids = new Map();
  for (const name of [...named.gate_key, ...named.log_key]) ids.set(name, sha256Hex(rawKey(said.get(name))));
  for (const name of named.person_key) ids.set(name, personKey(said.get(name)));
  if (new Set(ids.values()).size < ids.size) throw new BadTrust('one key twice');
  for (const [name, id] of ids) {
    const [from, until] = ['_from', '_until'].map((end) => time(said.get(name + end)));
    if (from || until) trust.periods.set(id, { from, until });
  }
  trust.people = new Set(named.person_key.map((name) => ids.get(name)));
  trust.tsaRoots = named.tsa_root.map((name) => certificate(said.get(name)));
  const taken = new Set([...trust.logKeys, ...trust.gateKeys.values()].map(String));
  for (const role of ['witness', 'monitor'])
    for (const name of named[role]) {
      const cosigner = readCosigner(said.get(name));
      if (taken.has(String(cosigner.key))) throw new BadTrust(`the key of \`${name}\` is there in another role`);
      taken.add(String(cosigner.key));
      trust[role === 'witness' ? 'witnesses' : 'monitors'].push(cosigner);
    }
  trust.isolation = said.get('isolation') ?? '';
  if (trust.isolation && !ISOLATIONS.includes(trust.isolation)) throw new BadTrust('`isolation` is none that is known');
  const quorum = said.get('quorum');
  trust.quorum = quorum === undefined ? trust.witnesses.length : /^[0-9]+$/.test(quorum) ? Number(quorum) : -1;
  if ((trust.witnesses.length || quorum !== undefined) && !(trust.quorum >= 1 && trust.quorum <= trust.witnesses.length))
    throw new BadTrust('`quorum` does not fit its witnesses');
  return trust;
}

/** The keys a bundle says of itself. */
export function claimedTrust(bytes) {
  try {
    const said = readJson(bytes);
    if (!isObject(said?.log) || !Array.isArray(said.gate)) throw new BadTrust('names no keys');
    const { origin, pem, earlier = [] } = said.log;
    const logPems = [pem, ...(Array.isArray(earlier) ? earlier : [null])];
    return keysOf(origin, logPems, said.gate.map((gate) => gate?.pem));
  } catch (error) {
    if (error instanceof Malformed) throw new BadTrust(error.message);
    throw error;
  }
}

function keysOf(origin, logPems, gatePems) {
  if (typeof origin !== 'string' || !origin) throw new BadTrust('names no origin');
  if (!gatePems.length || !logPems.length) throw new BadTrust('names no gate key or no log key');
  const logKeys = logPems.map(rawKey);
  const gateKeys = new Map(gatePems.map(rawKey).map((raw) => [sha256Hex(raw), raw]));
  if (logKeys.some((raw) => gateKeys.has(sha256Hex(raw)))) throw new BadTrust('one key for log and gate');
  return { origin, logKeys, gateKeys, periods: new Map(), people: new Set(), witnesses: [], monitors: [], quorum: 0, tsaRoots: [] };
}

function rawKey(pem) {
  const key = publicKey(pem);
  if (key.asymmetricKeyType !== 'ed25519') throw new BadTrust('a key that is not Ed25519');
  return key.export({ format: 'der', type: 'spki' }).subarray(-32);
}

function personKey(pem) {
  const key = publicKey(pem);
  if (key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') throw new BadTrust('a key that is not P-256');
  return sha256Hex(key.export({ format: 'der', type: 'spki' }));
}

function publicKey(pem) {
  const body = typeof pem === 'string' && /^-----BEGIN PUBLIC KEY-----\n([^-]*)\n-----END PUBLIC KEY-----\n?$/.exec(pem);
  if (!body) throw new BadTrust('a key that is not PEM');
  try {
    return createPublicKey({ key: readBase64(body[1].replaceAll('\n', '')), format: 'der', type: 'spki' });
  } catch {
    throw new BadTrust('a key that is not PEM');
  }
}

function readCosigner(text) {
  const parts = /^([^+\s]+)\+([0-9a-f]{8})\+(.+)$/.exec(text);
  let raw;
  try {
    raw = readBase64(parts?.[3] ?? '');
  } catch {
    raw = Buffer.alloc(0);
  }
  if (!parts || raw.length !== 33 || raw[0] !== 4) throw new BadTrust('a witness that is no verifier key');
  const cosigner = { name: parts[1], key: raw.subarray(1) };
  if (keyHash(cosigner.name, 4, cosigner.key).toString('hex') !== parts[2]) throw new BadTrust('a key hash that is wrong');
  return cosigner;
}

function time(text) {
  if (text === undefined || text === '') return '';
  if (!TIME.test(text)) throw new BadTrust('a period that is no time');
  return `${text.slice(0, 19)}.${text.slice(20, -1).padEnd(6, '0')}Z`;
}

function certificate(pem) {
  try {
    return new X509Certificate(pem);
  } catch {
    throw new BadTrust('a root that is no certificate');
  }
}

function textOf(bytes) {
  try {
    return utf8(bytes);
  } catch {
    throw new BadTrust('not UTF-8');
  }
}
