// RFC 6962 §2.1 trees and the shared proof of docs/formats/bundle.md.
import { createHash } from 'node:crypto';

export class BadProof extends Error {}

export const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest();
export const sha256Hex = (bytes) => sha256(bytes).toString('hex');
export const leafHash = (entry) => sha256(Buffer.of(0), entry);
export const nodeHash = (left, right) => sha256(Buffer.of(1), left, right);

export function treeRoot(entries) {
  if (!entries.length) return sha256();
  if (entries.length === 1) return leafHash(entries[0]);
  let k = 1;
  while (k * 2 < entries.length) k *= 2;
  return nodeHash(treeRoot(entries.slice(0, k)), treeRoot(entries.slice(k)));
}

/** The root that an audit path leads to (RFC 6962 §2.1.1). */
export function pathRoot(leaf, index, size, path) {
  if (index >= size) throw new BadProof('the index is outside the tree');
  const nodes = [...path];
  let node = leaf;
  for (; size > 1; index = Math.floor(index / 2), size = Math.ceil(size / 2)) {
    const beside = index % 2 ? index - 1 : index + 1;
    if (beside >= size) continue;
    if (!nodes.length) throw new BadProof('the path is too short');
    const sibling = nodes.shift();
    node = index % 2 ? nodeHash(sibling, node) : nodeHash(node, sibling);
  }
  if (nodes.length) throw new BadProof('the path is too long');
  return node;
}

/** The root that all leaves (by index) and nodes (by `level index`) lead to together. */
export function sharedRoot(leaves, size, nodes) {
  if (!leaves.size) throw new BadProof('no leaf');
  for (const index of leaves.keys()) if (!isIn(index, size)) throw new BadProof('a leaf outside the tree');
  let known = leaves;
  let used = 0;
  for (let level = 0; size > 1; level += 1, size = Math.ceil(size / 2)) {
    const above = new Map();
    for (const index of known.keys()) {
      const over = Math.floor(index / 2);
      if (above.has(over)) continue;
      const pair = [2 * over, 2 * over + 1].filter((side) => side < size).map((side) => {
        if (known.has(side)) return known.get(side);
        used += 1;
        const node = nodes.get(`${level} ${side}`);
        if (!node) throw new BadProof(`node ${side} of level ${level} is missing`);
        return node;
      });
      above.set(over, pair.length === 2 ? nodeHash(...pair) : pair[0]);
    }
    known = above;
  }
  if (used !== nodes.size) throw new BadProof('nodes that are not needed');
  return known.get(0);
}

const isIn = (index, size) => Number.isSafeInteger(index) && index >= 0 && index < size;

/** The root of the first `size` entries, from what a shared proof is given to the left of them. */
export function prefixRoot(size, nodes) {
  let root = null;
  for (let level = 0, rest = size; rest >= 1; level += 1, rest = Math.floor(rest / 2)) {
    if (rest % 2 === 0) continue;
    const peak = nodes.get(`${level} ${rest - 1}`);
    if (!peak) throw new BadProof(`node ${rest - 1} of level ${level} is missing`);
    root = root ? nodeHash(peak, root) : peak;
  }
  return root;
}
