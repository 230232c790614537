// Every check of docs/formats/bundle.md, "What a verifier checks".
import { cosignedAt, edSigned, isProof, isSignedByLog, readCheckpoint, readProof } from './checkpoint.mjs';
import { BadContainer, readContainer } from './container.mjs';
import { checkErasures, checkGone, checkTold } from './erasures.mjs';
import { checkChain, checkCounters, checkSteps, groupBy } from './journal.mjs';
import { isCount, isObject, Malformed, readJson } from './json.mjs';
import { checkPeople } from './people.mjs';
import { BadReceipt, pae, readReceipt } from './receipt.mjs';
import { stampedAt } from './timestamps.mjs';
import { BadProof, leafHash, pathRoot, prefixRoot, sha256, sha256Hex, sharedRoot } from './tree.mjs';
import { BadTrust, claimedTrust, ISOLATIONS } from './trust.mjs';

export const CHECKS =
  ('container manifest envelope statement signature key-role chain key-period time counters steps approvals people ' +
    'digests texts erasures requests inclusion complete checkpoint witnesses timestamps').split(' ');
const REQUIRED = ['manifest.json', 'checkpoint.txt', 'proofs.json', 'keys.json'];
const OLDER = 'checkpoint.from.txt';
const SKEW_S = 300;
const LARGEST_PROOF = 2 ** 21;

/** The report on a file: an evidence ZIP or a .tlog-proof. */
export function verifyFile(bytes, trust = null) {
  try {
    if (!isProof(bytes)) return verifyMembers(readContainer(bytes), trust);
    if (!trust) throw new BadTrust('a tlog-proof carries no keys: give a trust file');
    return verifyProof(readProof(bytes.subarray(0, LARGEST_PROOF)), trust);
  } catch (error) {
    if (!(error instanceof BadContainer || error instanceof Malformed)) throw error;
    return unread(error.message, error.member);
  }
}

/** The report on a file that is no bundle. */
export function unread(what, member) {
  const desk = new Desk(new Map(), null);
  desk.say('container', what, undefined, member);
  return desk.report();
}

/** The report on a bundle's members, by name. */
export function verifyMembers(members, trust = null) {
  const desk = new Desk(members, trust);
  const manifest = checkManifest(desk);
  const keys = trust ?? claimedKeys(desk);
  const receipts = readReceipts(desk, keys);
  const start = spanOf(desk, manifest);
  checkRuns(desk, receipts, manifest, start);
  checkTexts(desk, receipts);
  if (!desk.damaged.size && !desk.unreadable) checkGone(desk, receipts);
  checkRequests(desk, receipts);
  checkPeople(receipts, trust?.people ?? new Set(), desk.say);
  for (const receipt of receipts) {
    const signature = receipt.said.control?.signature;
    if (receipt.said.phase === 'approval' && isObject(signature)) checkPeriod(desk, signature.key, receipt);
  }
  checkLog(desk, receipts, keys, start);
  if (start !== null && !desk.findings.length) checkTold(receipts, desk.say);
  checkIsolation(desk, receipts);
  return desk.report(receipts);
}

function verifyProof({ envelope, index, path, note }, trust) {
  const desk = new Desk(new Map([['receipts/000001.json', envelope], ['checkpoint.txt', note]]), trust);
  const receipts = readReceipts(desk, trust);
  const checkpoint = desk.checkpoint('checkpoint.txt');
  if (checkpoint) {
    try {
      const root = pathRoot(leafHash(sha256(envelope)), index, checkpoint.size, path);
      if (!root.equals(checkpoint.root)) desk.say('inclusion', 'another root hash');
    } catch (error) {
      if (!(error instanceof BadProof)) throw error;
      desk.say('inclusion', error.message);
    }
    checkCheckpoint(desk, checkpoint, receipts, trust, 'checkpoint.txt');
  }
  return desk.report(receipts);
}

class Desk {
  findings = [];
  questions = [];
  unknown = [];
  damaged = new Set();
  unreadable = 0;
  assurance = 'local';

  constructor(members, trust) {
    this.members = members;
    this.trust = trust;
  }

  say = (check, what, receipt, member = '') => {
    const found = { check, what, receipt: receipt?.said.id ?? '', member: receipt?.member ?? member };
    this.findings.push(found);
  };

  /** Names the receipt too, where the member can be read as one. */
  sayMember(check, what, member) {
    let receipt = '';
    try {
      receipt = readReceipt(this.members.get(member)).said.id;
    } catch (error) {
      if (!(error instanceof BadReceipt)) throw error;
      receipt = error.receipt;
    }
    this.findings.push({ check, what, receipt, member });
  }

  json(name, check) {
    if (!this.members.has(name)) return null; // the manifest check has said so
    try {
      const value = readJson(this.members.get(name));
      if (isObject(value)) return value;
      this.say(check, 'not a JSON object', undefined, name);
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      this.say(check, error.message, undefined, name);
    }
    return null;
  }

  checkpoint(name) {
    if (!this.members.has(name)) return null;
    try {
      return readCheckpoint(this.members.get(name));
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      this.say('checkpoint', error.message, undefined, name);
      return null;
    }
  }

  report(receipts = []) {
    const rank = (found) => CHECKS.indexOf(found.check);
    this.findings.sort((one, other) => rank(one) - rank(other));
    const passed = this.questions.length ? 'undetermined' : this.trust ? 'verified' : 'self-consistent';
    const verdict = this.findings.length ? 'does not verify' : passed;
    return {
      verdict,
      exitCode: { verified: 0, 'does not verify': 4 }[verdict] ?? 3,
      assurance: this.findings.length ? '' : this.trust ? this.assurance : 'dev',
      receipts: receipts.length,
      first: this.findings[0] ?? null,
      findings: this.findings,
      openQuestions: this.questions,
      unknown: this.unknown,
    };
  }
}

function checkManifest(desk) {
  const say = (what, name) => desk.say('manifest', what, undefined, name);
  for (const name of REQUIRED) if (!desk.members.has(name)) say('the bundle has no such member', name);
  const manifest = desk.json('manifest.json', 'manifest') ?? {};
  if (!Object.keys(manifest).length) {
    if (desk.members.has('manifest.json')) say('it says nothing', 'manifest.json');
    return {};
  }
  if (manifest.format !== 'answerable-bundle/1') say('another format', 'manifest.json');
  if (!isObject(manifest.members)) {
    say('it lists no members', 'manifest.json');
    return manifest;
  }
  const listed = manifest.members;
  for (const name of [...new Set([...Object.keys(listed), ...desk.members.keys()])].sort()) {
    if (name === 'manifest.json' && !(name in listed)) continue;
    if (!desk.members.has(name)) say('listed, and missing', name);
    else if (!(name in listed)) desk.sayMember('manifest', 'not listed', name);
    else if (sha256Hex(desk.members.get(name)) !== listed[name])
      desk.sayMember('manifest', 'not the content that is listed', name);
  }
  const count = envelopesOf(desk).length;
  if (manifest.receipts !== count) say('another number of receipts', 'manifest.json');
  return manifest;
}

const envelopesOf = (desk) => [...desk.members.keys()].filter((name) => name.startsWith('receipts/'));

function claimedKeys(desk) {
  if (!desk.members.has('keys.json')) return null;
  try {
    return claimedTrust(desk.members.get('keys.json'));
  } catch (error) {
    if (!(error instanceof BadTrust)) throw error;
    desk.say('key-role', error.message, undefined, 'keys.json');
    return null;
  }
}

function readReceipts(desk, keys) {
  const receipts = [];
  for (const member of envelopesOf(desk).sort()) {
    if (!/^receipts\/[0-9]{6,}\.json$/.test(member)) {
      desk.say('manifest', 'not a receipt’s name', undefined, member);
      continue;
    }
    try {
      const receipt = readReceipt(desk.members.get(member), member);
      if (!isSigned(desk, receipt, keys)) desk.damaged.add(receipt.said.id);
      receipts.push(receipt);
      checkPeriod(desk, receipt.keyid, receipt);
    } catch (error) {
      if (!(error instanceof BadReceipt)) throw error;
      desk.findings.push({ check: error.check, what: error.message, receipt: error.receipt, member });
      desk.unreadable += 1;
    }
  }
  if (!receipts.length) desk.say('envelope', 'no readable receipt');
  return receipts;
}

function isSigned(desk, receipt, keys) {
  if (!keys) {
    desk.say('signature', 'there is no key', receipt);
    return false;
  }
  const key = keys.gateKeys.get(receipt.keyid);
  if (!key) {
    const isLogs = keys.logKeys.some((raw) => receipt.keyid === sha256Hex(raw));
    desk.say(isLogs ? 'key-role' : 'signature', isLogs ? 'signed with the log’s key' : 'an unknown key', receipt);
    return false;
  }
  if (!edSigned(pae(receipt.body), receipt.signature, key)) {
    desk.say('signature', 'it does not hold', receipt);
    return false;
  }
  return true;
}

/** A key, by its id, is in use when a receipt is dated. */
function checkPeriod(desk, key, receipt) {
  const { from, until } = desk.trust?.periods.get(key) ?? {};
  const { at } = receipt.said;
  if ((from && at < from) || (until && at > until)) desk.say('key-period', 'its key was not in use', receipt);
}

function spanOf(desk, manifest) {
  const said = manifest.complete;
  if (said === undefined || said === null) return null;
  if (isCount(said.from)) return said.from;
  desk.say('complete', 'from which size on is not said', undefined, 'manifest.json');
  return null;
}

function checkRuns(desk, receipts, manifest, start) {
  const ids = new Set();
  for (const receipt of receipts) {
    if (ids.has(receipt.said.id)) desk.say('chain', 'the id was used before', receipt);
    ids.add(receipt.said.id);
  }
  const runs = groupBy(receipts, (receipt) => receipt.said.run);
  for (const name of Array.isArray(manifest.runs) ? manifest.runs : [])
    if (!runs.has(name)) desk.say('chain', `no receipt of the run ${JSON.stringify(name)}`);
  for (const [name, run] of runs) {
    const faults = desk.findings.length;
    run.forEach((after, at) => {
      if (at && after.said.seq < run[at - 1].said.seq) desk.say('chain', 'it stands after a higher seq', after);
    });
    run.sort((one, other) => one.said.seq - other.said.seq);
    checkChain(run, { damaged: desk.damaged, mayBeginLate: start > 0, say: desk.say });
    const beganBefore = start > 0 && run[0].said.seq > 0;
    const isWhole =
      desk.findings.length === faults && !desk.unreadable && !run.some((receipt) => desk.damaged.has(receipt.said.id));
    const unknown = checkSteps(run, isWhole && !beganBefore ? desk.say : () => {});
    if (isWhole && !beganBefore) checkErasures(run, desk.say);
    if (!beganBefore) desk.unknown.push(...unknown);
    const isClosed = run.some((receipt) => receipt.said.phase === 'run.close');
    if (!isClosed && start === null && !name.startsWith('control:')) desk.questions.push(`${name} has no run.close`);
  }
}

const FOLDERS = ['disclosed/', 'policy/', 'specs/'];

function* committed({ said }) {
  yield* Object.values(said.commitments ?? {});
  for (const name of ['request', 'policy']) if (said.authority?.[name]) yield said.authority[name];
  const specs = said.control?.specs;
  if (isObject(specs)) yield* Object.values(specs).filter((digest) => typeof digest === 'string');
}

function checkTexts(desk, receipts) {
  const wanted = new Set(receipts.flatMap((receipt) => [...committed(receipt)]));
  for (const [member, content] of desk.members) {
    const folder = FOLDERS.find((prefix) => member.startsWith(prefix));
    if (!folder) continue;
    const name = member.slice(folder.length);
    const say = (what) => desk.say('texts', what, undefined, member);
    if (sha256Hex(content) !== name) say('not what its name commits to');
    else if (folder === 'disclosed/' && content.length < 32) say('shorter than its salt');
    else if (!wanted.has(`sha256:${name}`) && !desk.damaged.size && !desk.unreadable) say('no receipt commits to it');
  }
}

function checkRequests(desk, receipts) {
  const chains = new Map();
  for (const receipt of receipts) {
    const { said } = receipt;
    if (said.phase === 'run.open') chains.set(said.run, said.control?.chain ?? []);
    const name = (said.authority?.request ?? '').replace(/^sha256:/, '');
    const content = desk.members.get(`disclosed/${name}`);
    if (!name || !content || sha256Hex(content) !== name) continue;
    let request = null;
    try {
      request = readJson(content.subarray(32));
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
    }
    if (isObject(request) && !Object.keys(request).length) continue;
    const ids = ['principal', 'action', 'resource'].map((part) => request?.[part]?.id);
    const [agent, , resource] = ids;
    const chain = chains.get(said.run);
    if (!ids.every((id) => typeof id === 'string')) desk.say('requests', 'it names too little', receipt);
    else if (agent !== said.agent.id && !(Array.isArray(chain) && chain.includes(agent)))
      desk.say('requests', 'of another agent', receipt);
    else if (resource !== (said.action?.target || 'none')) desk.say('requests', 'about another resource', receipt);
  }
}

function checkLog(desk, receipts, keys, start) {
  const checkpoint = desk.checkpoint('checkpoint.txt');
  if (checkpoint && keys) checkCheckpoint(desk, checkpoint, receipts, keys, 'checkpoint.txt');
  const proofs = desk.json('proofs.json', 'inclusion');
  const nodes = proofs && checkInclusion(desk, proofs, checkpoint, receipts);
  if (nodes && checkpoint && keys && start !== null) checkComplete(desk, proofs, nodes, checkpoint, receipts, keys, start);
}

function checkInclusion(desk, { size, leaves, nodes }, checkpoint, receipts) {
  const say = (what, member = 'proofs.json') => {
    desk.say('inclusion', what, undefined, member);
    return null;
  };
  if (!isCount(size) || (checkpoint && size !== checkpoint.size) || !isObject(leaves) || !isObject(nodes))
    return say('another size, or no leaves and nodes');
  const given = new Map();
  for (const [level, row] of Object.entries(nodes)) {
    if (!isObject(row)) return say('the nodes are malformed');
    for (const [index, node] of Object.entries(row)) {
      const isPlace = [level, index].every((number) => /^(0|[1-9][0-9]{0,15})$/.test(number));
      if (!isPlace || typeof node !== 'string' || !/^[0-9a-f]{64}$/.test(node)) return say('the nodes are malformed');
      given.set(`${level} ${index}`, Buffer.from(node, 'hex'));
    }
  }
  const places = Object.values(leaves);
  if (!places.every(Number.isSafeInteger) || new Set(places).size !== places.length) return say('the leaves are malformed');
  const envelopes = envelopesOf(desk);
  const there = new Set(envelopes);
  for (const name of [...new Set([...envelopes, ...Object.keys(leaves)])].sort()) {
    if (!(name in leaves)) desk.sayMember('inclusion', 'it has no place in the log', name);
    else if (!there.has(name)) say('it has a place, and is missing', name);
  }
  const hashes = new Map();
  for (const name of envelopes)
    if (name in leaves) hashes.set(leaves[name], leafHash(sha256(desk.members.get(name))));
  try {
    const root = sharedRoot(hashes, size, given);
    if (checkpoint && !root.equals(checkpoint.root)) say('another root hash than the checkpoint’s');
  } catch (error) {
    if (!(error instanceof BadProof)) throw error;
    return say(error.message);
  }
  checkCounters(receipts, leaves, desk.say);
  return given;
}

function checkComplete(desk, { leaves }, nodes, checkpoint, receipts, keys, start) {
  const say = (what, member) => desk.say('complete', what, undefined, member);
  const places = new Set(Object.values(leaves));
  let present = 0;
  for (const place of places) if (place >= start && place < checkpoint.size) present += 1;
  const wanted = Math.max(checkpoint.size - start, 0);
  if (!wanted || present < wanted) say(`${wanted - present} entries are not here`, 'proofs.json');
  if (places.size > wanted) say('entries from before', 'proofs.json');
  if (!start) return;
  const older = desk.checkpoint(OLDER);
  if (!older) return say('the older checkpoint is missing', OLDER);
  checkCheckpoint(desk, older, receipts, keys, OLDER);
  try {
    const root = prefixRoot(start, nodes);
    if (older.size !== start || !older.root.equals(root)) say('not the beginning of this log', OLDER);
  } catch (error) {
    if (!(error instanceof BadProof)) throw error;
    say(error.message, 'proofs.json');
  }
}

function checkCheckpoint(desk, checkpoint, receipts, keys, member) {
  const say = (check, what) => desk.say(check, what, undefined, member);
  const signers = keys.logKeys.filter((key) => isSignedByLog(checkpoint, key));
  if (checkpoint.origin !== keys.origin) say('checkpoint', 'of another log');
  else if (!signers.length) {
    const isGates = [...keys.gateKeys.values()].some((key) => isSignedByLog(checkpoint, key));
    say(isGates ? 'key-role' : 'checkpoint', isGates ? 'signed with a gate’s key' : 'the log’s signature does not hold');
  }
  else if (member !== OLDER && receipts.length && !signers.some((key) => wasInUse(desk, key, receipts)))
    say('key-period', 'the log key was out of use when the last receipt was written');
  const tenant = checkpoint.origin.slice(checkpoint.origin.lastIndexOf('/') + 1);
  for (const receipt of receipts)
    if (receipt.said.tenant !== tenant) desk.say('checkpoint', 'of another tenant than the log', receipt);
  if (desk.trust) checkWatchers(desk, checkpoint, receipts, desk.trust, member);
}

/** When authorities of the trust stamped the checkpoint. One that they do not know is a fault if none of theirs is there. */
function stampedTimes(desk, checkpoint, trust) {
  const stamps = [...desk.members.keys()].filter((name) => name.startsWith('timestamps/')).sort();
  const times = [];
  const faults = [];
  for (const name of trust.tsaRoots.length ? stamps : []) {
    try {
      times.push(stampedAt(desk.members.get(name), checkpoint.signed, trust.tsaRoots));
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      faults.push([name, error.message]);
    }
  }
  if (!times.length) for (const [name, what] of faults) desk.say('timestamps', what, undefined, name);
  return times;
}

/** An unknown isolation counts as the weakest. */
function checkIsolation(desk, receipts) {
  const wanted = desk.trust?.isolation;
  const rank = (receipt) => Math.max(ISOLATIONS.indexOf(receipt.said.boundary.isolation), 0);
  if (wanted && receipts.some((receipt) => rank(receipt) < ISOLATIONS.indexOf(wanted)))
    desk.questions.push(`agents were kept from the gate by less than ${wanted}`);
}

function wasInUse(desk, key, receipts) {
  const { until } = desk.trust?.periods.get(sha256Hex(key)) ?? {};
  return !until || receipts.every((receipt) => receipt.said.at <= until);
}

function checkWatchers(desk, checkpoint, receipts, trust, member) {
  const times = new Map();
  for (const cosigner of [...trust.witnesses, ...trust.monitors]) {
    const { at, isFalse } = cosignedAt(checkpoint, cosigner);
    if (isFalse) desk.say('witnesses', `the cosignature of ${cosigner.name} does not hold`, undefined, member);
    if (at !== null) times.set(cosigner, at);
  }
  const seen = [...times.values()];
  const written = (receipt) => Date.parse(receipt.said.at) / 1000;
  if (member === OLDER) {
    for (const receipt of seen.length ? receipts : [])
      if (written(receipt) < Math.max(...seen) - SKEW_S) desk.say('time', 'not in the log that was seen later', receipt);
    return;
  }
  seen.push(...stampedTimes(desk, checkpoint, trust));
  const enough = trust.witnesses.filter((witness) => times.has(witness)).length;
  const isMonitored = trust.monitors.some((monitor) => times.has(monitor));
  if (trust.witnesses.length && enough >= trust.quorum)
    desk.assurance = isMonitored ? 'witnessed+monitored' : 'witnessed';
  else if (trust.witnesses.length) desk.questions.push(`cosigned by ${enough} witnesses, ${trust.quorum} are asked for`);
  for (const receipt of seen.length ? receipts : [])
    if (written(receipt) > Math.min(...seen) + SKEW_S) desk.say('time', 'seen outside before it was written', receipt);
}
