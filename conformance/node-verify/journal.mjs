// The rules of the journal: docs/formats/journal.md.
import { canonical, isObject } from './json.mjs';
import { sha256Hex } from './tree.mjs';

const section = (receipt, name) => receipt.said[name] ?? {};
const digestOf = (receipt) => {
  const { digest = '' } = section(receipt, 'action');
  return text(digest);
};

/** Chain and time of one run, in the order of seq. */
export function checkChain(run, { damaged, mayBeginLate, say }) {
  const [first] = run;
  const isControl = first.said.run.startsWith('control:');
  if (first.said.seq !== 0) {
    if (!mayBeginLate) say('chain', `no receipt at seq 0 of ${first.said.run}`);
  } else if (!isControl && first.said.phase !== 'run.open') say('chain', 'the first is not its run.open', first);
  let isClosed = false;
  run.slice(1).forEach((after, at) => {
    const before = run[at];
    isClosed ||= before.said.phase === 'run.close';
    const isJudged = !damaged.has(before.said.id) && !damaged.has(after.said.id);
    if (after.said.seq === before.said.seq) return say('chain', 'seq is taken twice', after);
    if (after.said.seq !== before.said.seq + 1) say('chain', `no receipt at seq ${before.said.seq + 1}`);
    else if (isJudged && after.said.prev !== before.digest) say('chain', 'prev does not name the one before', after);
    if (isJudged && after.said.at < before.said.at) say('time', 'written before the one it follows', after);
    const mayFollow = ['observation', 'erasure'].includes(after.said.phase);
    if (isClosed && !mayFollow) say('chain', 'it follows the run.close', after);
  });
  for (const receipt of run)
    if (receipt.said.phase === 'run.close') {
      const { count, last } = section(receipt, 'control');
      if (count !== receipt.said.seq || (last ?? undefined) !== receipt.said.prev) say('chain', 'count or last is wrong', receipt);
    }
}

/** boundary.n against the places in the log. */
export function checkCounters(receipts, places, say) {
  const boots = groupBy(receipts, bootOf);
  for (const group of boots.values()) {
    const placed = group.filter((receipt) => receipt.member in places);
    placed.sort((one, other) => places[one.member] - places[other.member]);
    placed.forEach((receipt, at) => {
      const n = receipt.said.boundary.n;
      const before = placed[at - 1];
      if (!before) {
        if (n > places[receipt.member]) say('counters', 'n is larger than its place in the log', receipt);
        return;
      }
      const step = n - before.said.boundary.n;
      const room = places[receipt.member] - places[before.member];
      if (step <= 0 || step > room) say('counters', step > 0 ? 'n skips a number' : 'n does not rise', receipt);
    });
  }
}

const bootOf = (receipt) => JSON.stringify([receipt.said.boundary.id, receipt.said.boundary.boot]);

export function groupBy(items, by) {
  const groups = new Map();
  for (const item of items) {
    if (!groups.has(by(item))) groups.set(by(item), []);
    groups.get(by(item)).push(item);
  }
  return groups;
}

/** Steps, approvals and digests of one run; the intents whose outcome is unknown. */
export function checkSteps(run, say) {
  const steps = new Map();
  const byId = new Map();
  const asked = new Map();
  const writtenOff = new Set();
  for (const receipt of run) {
    const { phase, step: name, attempt = 0, intentRef } = receipt.said;
    if (name && !steps.has(name)) steps.set(name, newStep());
    const step = name ? steps.get(name) : newStep();
    if (phase === 'intent') {
      checkIntent(receipt, step, say);
      checkCited(receipt, step, { run, byId, asked, say });
      if (!step.intents.has(attempt)) step.intents.set(attempt, receipt);
    } else if (phase === 'outcome') {
      checkOutcome(receipt, step, byId, say);
      if (intentRef === undefined) checkCited(receipt, step, { run, byId, asked, say });
      step.outcome ??= receipt;
    } else if (phase === 'held') {
      const digest = digestOf(receipt);
      if (step.held.has(digest)) say('steps', 'held again for the same action', receipt);
      else step.held.set(digest, receipt);
      const approval = text(section(receipt, 'control').approval);
      if (!asked.has(approval)) asked.set(approval, { held: receipt, role: '', settled: false, people: new Set() });
    } else if (phase === 'denied') {
      if (step.outcome) say('steps', 'denied after its outcome', receipt);
      step.denied ??= receipt;
    } else if (phase === 'approval') checkAnswer(receipt, run, asked, say);
    else if (phase === 'observation' && intentRef !== undefined) checkReference(receipt, byId, say);
    else if (phase === 'control' && section(receipt, 'control').do === 'write-off')
      writtenOff.add(section(receipt, 'control').intent);
    if (digestOf(receipt)) checkDigest(receipt, say);
    if (!byId.has(receipt.said.id)) byId.set(receipt.said.id, receipt);
  }
  return [...steps.values()]
    .filter((step) => step.intents.size && !step.outcome)
    .map((step) => last(step).said.id)
    .filter((id) => !writtenOff.has(id));
}

const newStep = () => ({ intents: new Map(), held: new Map(), outcome: null, denied: null });
const last = (step) => step.intents.get(Math.max(...step.intents.keys()));
const text = (value) => (typeof value === 'string' ? value : `not text: ${JSON.stringify(value)}`);

function checkIntent(receipt, step, say) {
  if (step.denied) say('steps', 'an intent after a denial', receipt);
  if (step.outcome) say('steps', 'an intent after the outcome', receipt);
  if (step.intents.size) {
    const before = last(step);
    if (receipt.said.attempt <= before.said.attempt) say('steps', 'the attempt does not rise', receipt);
    if (section(receipt, 'action').idempotencyKey !== section(before, 'action').idempotencyKey)
      say('steps', 'another idempotency key', receipt);
  }
  if (section(receipt, 'authority').decision === 'deny') say('steps', 'an intent that was denied', receipt);
}

function checkOutcome(receipt, step, byId, say) {
  const isRefused = section(receipt, 'effect').status === 'refused';
  if (step.outcome) say('steps', 'a second outcome', receipt);
  if (step.denied && !isRefused) say('steps', 'an outcome after a denial', receipt);
  if (receipt.said.intentRef !== undefined) return checkReference(receipt, byId, say);
  if (section(receipt, 'action').effect !== 'read' && !isRefused) say('steps', 'it answers no intent', receipt);
  if (step.intents.has(receipt.said.attempt)) say('steps', 'it does not name its intent', receipt);
}

function checkReference(receipt, byId, say) {
  const intent = byId.get(receipt.said.intentRef);
  const { step = '', attempt } = receipt.said;
  if (intent?.said.phase !== 'intent') say('steps', 'it names no intent before it', receipt);
  else if (intent.said.step !== step || (attempt && intent.said.attempt !== attempt))
    say('steps', 'it answers another step or attempt', receipt);
  else if (digestOf(receipt) && digestOf(receipt) !== digestOf(intent)) say('steps', 'another action', receipt);
}

const asNumber = (value) => (Number.isSafeInteger(value) ? value : 1);

function checkAnswer(receipt, run, asked, say) {
  const control = section(receipt, 'control');
  const found = asked.get(text(control.approval));
  if (!found) return say('approvals', 'nothing was held for it', receipt);
  const terms = section(found.held, 'control');
  const role = found.role || text(terms.role);
  const { decision } = control;
  if ('digest' in control && control.digest !== digestOf(found.held)) say('approvals', 'of another action', receipt);
  if (found.settled) say('approvals', 'it was settled already', receipt);
  if (decision === 'escalate') return (found.role = text(control.to));
  if (decision === 'timeout') return (found.settled = true);
  if ('role' in control && control.role !== role) say('approvals', 'in another role', receipt);
  const by = text(control.by);
  if (found.people.has(by)) say('approvals', 'a second answer by the same person', receipt);
  found.people.add(by);
  if (decision !== 'reject') {
    if (terms.notInitiator === true && by === initiator(run)) say('approvals', 'by the one who asked', receipt);
    if (terms.signed === true && !('signature' in control)) say('approvals', 'not signed', receipt);
    if (decision === 'edit' && terms.mayEdit !== true) say('approvals', 'it was not to be edited', receipt);
  }
  if (decision !== 'approve' || found.people.size >= asNumber(terms.n ?? 1)) found.settled = true;
}

const initiator = (run) => run[0].said.onBehalfOf || '\0';

/** What an action that goes ahead relies on. */
function checkCited(receipt, step, { run, byId, asked, say }) {
  const authority = section(receipt, 'authority');
  const terms = termsOf(authority, step.held.get(digestOf(receipt)));
  const people = new Set();
  for (const name of authority.approvals ?? []) {
    const answer = byId.get(name);
    if (answer?.said.phase !== 'approval') {
      say('approvals', `cites ${name}, which is no approval`, receipt);
      continue;
    }
    const control = section(answer, 'control');
    const found = asked.get(text(control.approval));
    if (!found || !fits(receipt, control, found.held)) say('approvals', 'not of exactly this action', receipt);
    else if ([...terms.roles].some((role) => role !== text(section(found.held, 'control').role)))
      say('approvals', 'given in another role', receipt);
    else people.add(text(control.by));
  }
  if (terms.notInitiator) people.delete(initiator(run));
  if (people.size < terms.n) say('approvals', `${people.size} of ${terms.n} approvals`, receipt);
}

function termsOf(authority, held) {
  const terms = { n: 0, roles: new Set(), notInitiator: false };
  if (held) {
    const control = section(held, 'control');
    terms.n = asNumber(control.n ?? 1);
    terms.roles.add(text(control.role));
    terms.notInitiator = control.notInitiator === true;
  }
  for (const said of authority.obligations ?? []) {
    if (said.split(':')[0] !== 'approve') continue;
    const rest = said.includes(':') ? said.slice(said.indexOf(':') + 1) : '';
    const parts = new Map(rest.split(',').map((part) => [part.split('=')[0], part.split('=').slice(1).join('=')]));
    terms.n = Math.max(terms.n, /^[0-9]+$/.test(parts.get('n') ?? '') ? Number(parts.get('n')) : 1);
    if (parts.has('role')) terms.roles.add(parts.get('role'));
    terms.notInitiator ||= parts.has('not');
  }
  return terms;
}

function fits(receipt, control, held) {
  if (control.decision === 'edit') return control.edited === digestOf(receipt);
  if (control.decision !== 'approve') return false;
  if (control.digest === digestOf(receipt)) return true;
  const [one, other] = [section(receipt, 'action'), section(held, 'action')];
  if (control.scope !== 'run' || section(held, 'control').mayRepeat !== true) return false;
  if (['kind', 'name', 'target'].some((name) => one[name] !== other[name])) return false;
  const [amount, limit] = [one.amount ?? {}, other.amount ?? {}];
  if (!isObject(amount) || !isObject(limit)) return false;
  const [asks, most] = [amount.minor ?? 0, limit.minor ?? 0];
  return [asks, most].every(Number.isSafeInteger) && amount.currency === limit.currency && asks <= most;
}

function checkDigest(receipt, say) {
  const { input } = section(receipt, 'commitments');
  if (!input || 'subjects' in section(receipt, 'control')) return;
  const action = section(receipt, 'action');
  const said = { run: receipt.said.run, step: receipt.said.step ?? '', input, amount: action.amount ?? {} };
  for (const name of ['kind', 'name', 'effect', 'target', 'idempotencyKey']) said[name] = action[name] ?? '';
  if (action.digest !== `sha256:${sha256Hex(Buffer.from(canonical(said)))}`)
    say('digests', 'the digest does not follow from the action', receipt);
}
