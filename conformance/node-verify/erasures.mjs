// What erasure receipts say is gone: docs/formats/journal.md, "Erasures".

const controlOf = (receipt) => receipt.said.control ?? {};
const isErasure = (receipt) => receipt.said.phase === 'erasure';
const isOfControlRun = (receipt) => receipt.said.run.startsWith('control:');
const countOf = (spans) => spans.reduce((sum, [first, last]) => sum + last - first + 1, 0);

/** The first and last seq of each span in a text such as `0-3,7`; null where it is not of that form. */
function spansOf(said) {
  if (typeof said !== 'string') return null;
  const found = [];
  for (const part of said.split(',')) {
    const numbers = /^(0|[1-9][0-9]{0,15})(?:-(0|[1-9][0-9]{0,15}))?$/.exec(part);
    if (!numbers) return null;
    const first = Number(numbers[1]);
    const last = numbers[2] === undefined ? first : Number(numbers[2]);
    const before = found.at(-1);
    if ((numbers[2] !== undefined && last <= first) || (before && first <= before[1] + 1)) return null;
    found.push([first, last]);
  }
  return found;
}

/** The erasures of one whole run, in the order of its seq. */
export function checkErasures(run, say) {
  const bare = run.filter((receipt) => !Object.keys(receipt.said.commitments ?? {}).length);
  for (const receipt of run) {
    const { erased, texts } = controlOf(receipt);
    if (!isErasure(receipt) || erased === undefined || erased === null) continue;
    const spans = spansOf(erased);
    if (!spans) say('erasures', 'not of its form', receipt);
    else if (spans.at(-1)[1] >= receipt.said.seq) say('erasures', 'it erased what was not written yet', receipt);
    else if (bare.some(({ said: { seq } }) => spans.some(([first, last]) => first <= seq && seq <= last)))
      say('erasures', 'it erased a text that nobody committed to', receipt);
    else if (!Number.isSafeInteger(texts) || (isOfControlRun(receipt) ? texts < countOf(spans) : texts !== countOf(spans)))
      say('erasures', 'it counts other texts than it names', receipt);
  }
  const closed = run.find((receipt) => receipt.said.phase === 'run.close');
  const isFork = controlOf(run[0]).origin?.how === 'fork';
  if (closed && controlOf(closed).state === 'erased' && !isFork && !run.some(isErasure))
    say('erasures', 'closed as erased, without an erasure', closed);
}

/** No text is here whose every receipt is named by an erasure. */
export function checkGone(desk, receipts) {
  const spans = new Map();
  for (const receipt of receipts.filter(isErasure)) {
    const { run } = receipt.said;
    spans.set(run, [...(spans.get(run) ?? []), ...(spansOf(controlOf(receipt).erased) ?? [])]);
  }
  const erased = new Set();
  const kept = new Set();
  for (const { said } of receipts) {
    const isGone = (spans.get(said.run) ?? []).some(([first, last]) => first <= said.seq && said.seq <= last);
    for (const name of Object.values(said.commitments ?? {})) (isGone ? erased : kept).add(name);
  }
  for (const name of erased) {
    const member = `disclosed/${name.slice('sha256:'.length)}`;
    if (!kept.has(name) && desk.members.has(member)) desk.say('erasures', 'erased, and here', undefined, member);
  }
}

/** Where every entry is there, the control run tells of each erasure what the runs say. */
export function checkTold(receipts, say) {
  const wholes = new Map();
  const parts = new Map();
  for (const receipt of receipts) {
    if (!isErasure(receipt) || 'kind' in controlOf(receipt)) continue;
    const found = isOfControlRun(receipt) ? wholes : parts;
    const { erasure } = controlOf(receipt);
    const name = typeof erasure === 'string' ? erasure : '';
    found.set(name, [...(found.get(name) ?? []), receipt]);
  }
  for (const [name, [first]] of parts) if (!wholes.has(name)) say('erasures', 'the control run tells of no such', first);
  for (const [name, [whole, ...again]] of wholes) {
    for (const receipt of again) say('erasures', 'told of before', receipt);
    const { texts, runs, erased } = controlOf(whole);
    const of = parts.get(name) ?? [];
    const named = new Set(of.map((part) => part.said.run)).size;
    const counts = of.map((part) => controlOf(part).texts).filter(Number.isSafeInteger);
    const own = counts.reduce((left, count) => left - count, texts);
    const spans = spansOf(erased);
    if (![texts, runs].every(Number.isSafeInteger)) say('erasures', 'texts or runs are not counted', whole);
    else if (own < 0 || runs !== named + (own ? 1 : 0) || named < of.length) say('erasures', 'it counts otherwise', whole);
    else if (spans && countOf(spans) !== own) say('erasures', 'it counts other texts of its own run', whole);
  }
}
