// Signatures of people: docs/formats/receipt.md, "Signatures of people".
import { createPublicKey, verify } from 'node:crypto';

import { canonical, isObject } from './json.mjs';
import { sha256, sha256Hex } from './tree.mjs';

export function checkPeople(receipts, pinned, say) {
  let count = 0;
  for (const receipt of receipts) {
    const signature = receipt.said.control?.signature;
    if (receipt.said.phase !== 'approval' || signature === undefined || signature === null) continue;
    count += 1;
    const what = fault(receipt, signature);
    if (what) say('people', what, receipt);
    else if (pinned.size && !pinned.has(signature.key)) say('people', 'a key that the trust file does not name', receipt);
  }
  return count;
}

function statement({ said }, key) {
  const answer = { format: 'answerable-answer/1', tenant: said.tenant, run: said.run, key, scope: said.control.scope ?? 'action' };
  for (const name of ['approval', 'decision', 'digest', 'edited', 'reason', 'role']) answer[name] = said.control[name] ?? '';
  return Buffer.from(canonical(answer));
}

const PARTS = ['kind', 'key', 'publicKey', 'sig'];
const PASSKEY_PARTS = ['clientData', 'authenticatorData', 'rp'];

function fault(receipt, signature) {
  const wants = signature.kind === 'passkey' ? [...PARTS, ...PASSKEY_PARTS] : PARTS;
  if (!isObject(signature) || !Object.values(signature).every((part) => typeof part === 'string')) return 'not of its form';
  if (wants.some((name) => !(name in signature))) return 'not of its form';
  try {
    const der = strictBase64(signature.publicKey);
    if (sha256Hex(der) !== signature.key) return 'it names another key than it carries';
    const key = createPublicKey({ key: der, format: 'der', type: 'spki' });
    if (key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') return 'not a P-256 key';
    let message = statement(receipt, signature.key);
    if (signature.kind === 'passkey') {
      const [client, data] = [signature.clientData, signature.authenticatorData].map(strictBase64);
      const said = JSON.parse(client.toString('utf8'));
      const challenge = sha256(message).toString('base64url');
      if (!isObject(said) || said.type !== 'webauthn.get' || said.challenge !== challenge) return 'another challenge';
      if (data.length < 37 || !data.subarray(0, 32).equals(sha256(Buffer.from(signature.rp)))) return 'another site';
      if ((data[32] & 5) !== 5) return 'it did not verify who was there';
      message = Buffer.concat([data, sha256(client)]);
    }
    return verify('sha256', message, { key, dsaEncoding: 'der' }, strictBase64(signature.sig)) ? '' : 'it does not hold';
  } catch {
    return 'not of its form';
  }
}

function strictBase64(text) {
  const bytes = Buffer.from(text, 'base64');
  if (bytes.toString('base64') !== text) throw new Error('not base64');
  return bytes;
}
