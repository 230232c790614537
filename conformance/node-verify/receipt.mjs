// One receipt: docs/formats/receipt.md, "Envelope", "Statement", "Predicate".
import { isCount, isObject, Malformed, readBase64, readCanonical } from './json.mjs';
import { sha256Hex } from './tree.mjs';

export class BadReceipt extends Error {
  constructor(check, what, receipt = '') {
    super(what);
    this.check = check;
    this.receipt = receipt;
  }
}

const TYPE = 'application/vnd.in-toto+json';
const PHASES = new Set(
  ('run.open intent held denied approval outcome compensation observation signal timer version control erasure key ' +
    'run.close').split(' '),
);
const DIGEST = /^sha256:[0-9a-f]{64}$/;
const isText = (value) => typeof value === 'string';
const isList = Array.isArray;
const isWhole = Number.isSafeInteger;
const REQUIRED = { id: isText, tenant: isText, run: isText, seq: isWhole, boundary: isObject, phase: isText, at: isText, agent: isObject };
const OPTIONAL = {
  step: isText, branch: isText, prev: isText, attempt: isWhole, intentRef: isText, onBehalfOf: isText, action: isObject,
  authority: isObject, basis: isObject, effect: isObject, commitments: isObject, labels: isList, usage: isObject,
  control: isObject,
}; // prettier-ignore

export const pae = (body) => Buffer.concat([Buffer.from(`DSSEv1 ${TYPE.length} ${TYPE} ${body.length} `), body]);

/** The receipt in an envelope, well formed; its signature is checked elsewhere. */
export function readReceipt(envelope, member = '') {
  const { payload, keyid, sig } = attempt('envelope', () => outer(readCanonical(envelope)));
  const [body, signature] = attempt('envelope', () => [readBase64(payload), readBase64(sig)]);
  const statement = attempt('statement', () => readCanonical(body));
  const said = statement?.predicate;
  if (!isObject(statement) || !isObject(said)) throw new BadReceipt('statement', 'no predicate');
  const id = isText(said.id) && /^[a-z0-9_]{1,64}$/.test(said.id) ? said.id : '';
  const what = fault(statement, said, id);
  if (what) throw new BadReceipt('statement', what, id);
  return { member, digest: `sha256:${sha256Hex(envelope)}`, keyid, signature, body, said };
}

function attempt(check, read) {
  try {
    return read();
  } catch (error) {
    if (error instanceof Malformed) throw new BadReceipt(check, error.message);
    throw error;
  }
}

function outer(value) {
  const hasOnly = (found, names) => isObject(found) && Object.keys(found).sort().join() === names;
  if (!hasOnly(value, 'payload,payloadType,signatures')) throw new Malformed('not an envelope');
  const [signature, more] = isList(value.signatures) ? value.signatures : [];
  if (!hasOnly(signature, 'keyid,sig') || more !== undefined) throw new Malformed('not one signature');
  if (value.payloadType !== TYPE) throw new Malformed('another payload type');
  if (![value.payload, signature.keyid, signature.sig].every(isText)) throw new Malformed('not an envelope');
  if (!/^[0-9a-f]{64}$/.test(signature.keyid)) throw new Malformed('a key id of another form');
  return { payload: value.payload, ...signature };
}

function fault(statement, said, id) {
  if (statement._type !== 'https://in-toto.io/Statement/v1' || statement.predicateType !== 'urn:answerable:receipt:v1')
    return 'another type';
  for (const [name, fits] of Object.entries(REQUIRED)) if (!fits(said[name])) return `\`${name}\``;
  for (const [name, fits] of Object.entries(OPTIONAL)) if (name in said && !fits(said[name])) return `\`${name}\``;
  if (!id) return '`id`';
  if (![said.run, said.tenant].every((name) => /^[A-Za-z0-9_.:-]{1,128}$/.test(name))) return '`run` or `tenant`';
  const { phase, boundary, seq, prev } = said;
  if (!PHASES.has(phase)) return 'an unknown phase';
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/.test(said.at) || !isDate(said.at)) return '`at`';
  if (![boundary.id, boundary.boot, boundary.isolation].every(isText)) return '`boundary`';
  if (!isCount(boundary.n) || !isCount(seq)) return '`seq` or `boundary.n`';
  if ((seq === 0) !== !('prev' in said) || ('prev' in said && !DIGEST.test(prev))) return '`prev`';
  const isOfStep = ['intent', 'held', 'denied', 'outcome'].includes(phase);
  if (isOfStep && !said.step) return 'no step';
  if (['intent', 'outcome'].includes(phase) && !(said.attempt >= 1)) return 'no attempt';
  if (isOfStep && !(isText(said.action?.digest) && DIGEST.test(said.action.digest))) return 'no action digest';
  const authority = said.authority ?? {};
  const digests = Object.values(said.commitments ?? {});
  for (const name of ['request', 'policy']) if (name in authority) digests.push(authority[name]);
  if (!digests.every((name) => isText(name) && DIGEST.test(name))) return 'a commitment';
  for (const name of ['approvals', 'obligations'])
    if (name in authority && !(isList(authority[name]) && authority[name].every(isText))) return '`authority`';
  const first = isList(statement.subject) ? statement.subject[0] : undefined;
  const isRun =
    isObject(first) && Object.keys(first).sort().join() === 'digest,name' && first.name === said.run &&
    isObject(first.digest) && Object.keys(first.digest).join() === 'sha256' &&
    first.digest.sha256 === sha256Hex(Buffer.from(said.run)); // prettier-ignore
  return isRun ? '' : 'the first subject is not the run';
}

function isDate(text) {
  const at = Date.parse(`${text.slice(0, 19)}Z`);
  return text > '0001' && !Number.isNaN(at) && new Date(at).toISOString().slice(0, 19) === text.slice(0, 19);
}
