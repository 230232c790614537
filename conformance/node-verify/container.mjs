// A bundle's ZIP, read within the bounds of docs/formats/bundle.md, "Container".
import { crc32, inflateRawSync } from 'node:zlib';

export class BadContainer extends Error {
  constructor(what, member = '') {
    super(what);
    this.member = member;
  }
}

const MIB = 2 ** 20;
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*(\/[A-Za-z0-9][A-Za-z0-9._-]*){0,7}$/;
const SYMLINK = 0o120000;

export const LARGEST_FILE = 1024 * MIB;

/** The members by name, like a Map of them; each is unpacked when it is asked for, and none is kept. */
class Members {
  constructor(file, before) {
    this.file = file;
    this.before = before;
    this.entries = new Map();
  }

  has = (name) => this.entries.has(name);
  get = (name) => (this.has(name) ? content(this.file, this.entries.get(name), this.before) : undefined);
  keys = () => this.entries.keys();

  *[Symbol.iterator]() {
    for (const name of this.keys()) yield [name, this.get(name)];
  }
}

/** All members, each found to be whole. */
export function readContainer(file) {
  if (file.length > LARGEST_FILE) throw new BadContainer('the file is larger than 1 GiB');
  const end = file.subarray(0).lastIndexOf('PK\x05\x06', undefined, 'latin1');
  if (end < 0 || end + 22 > file.length || end < file.length - 22 - 65535)
    throw new BadContainer('not a ZIP, or it breaks off');
  let count = file.readUInt16LE(end + 10);
  let directoryBytes = file.readUInt32LE(end + 12);
  let start = file.readUInt32LE(end + 16);
  let directoryEnd = end;
  const locator = end - 20;
  if (locator >= 0 && file.toString('latin1', locator, locator + 4) === 'PK\x06\x07') {
    const end64 = locator - 56;
    if (end64 < 0 || file.toString('latin1', end64, end64 + 4) !== 'PK\x06\x06')
      throw new BadContainer('the ZIP64 record is missing');
    count = Number(file.readBigUInt64LE(end64 + 32));
    directoryBytes = Number(file.readBigUInt64LE(end64 + 40));
    start = Number(file.readBigUInt64LE(end64 + 48));
    directoryEnd = end64;
  }
  if (directoryBytes > Math.min(file.length, 64 * MIB)) throw new BadContainer('the directory is too large');
  const before = directoryEnd - directoryBytes - start; // bytes that stand before the archive
  if (before < 0) throw new BadContainer('the directory breaks off');
  const entries = [...directory(file, directoryEnd - directoryBytes, directoryEnd)];
  if (entries.length !== count || count > 250_000) throw new BadContainer('the directory states another count');
  if (entries.reduce((sum, entry) => sum + entry.size, 0) > 1024 * MIB) throw new BadContainer('more than 1 GiB');
  const members = new Members(file, before);
  for (const entry of entries) {
    if (!NAME.test(entry.name) || entry.name.length > 200) throw new BadContainer('a name that is not allowed');
    if (members.has(entry.name)) throw new BadContainer('there twice', entry.name);
    if (((entry.attributes >>> 16) & 0o170000) === SYMLINK) throw new BadContainer('a symbolic link', entry.name);
    if (entry.flags & 1 || (entry.method !== 0 && entry.method !== 8))
      throw new BadContainer('encrypted, or packed in an unknown way', entry.name);
    if (entry.size > 64 * MIB) throw new BadContainer('larger than 64 MiB', entry.name);
    members.entries.set(entry.name, entry);
    members.get(entry.name);
  }
  return members;
}

function* directory(file, start, end) {
  let at = start;
  while (at < end) {
    if (at + 46 > end || file.toString('latin1', at, at + 4) !== 'PK\x01\x02')
      throw new BadContainer('the directory is damaged');
    const [name, extra, comment] = [28, 30, 32].map((place) => file.readUInt16LE(at + place));
    if (at + 46 + name + extra + comment > end) throw new BadContainer('the directory breaks off');
    yield {
      flags: file.readUInt16LE(at + 8),
      method: file.readUInt16LE(at + 10),
      crc: file.readUInt32LE(at + 16),
      packed: file.readUInt32LE(at + 20),
      size: file.readUInt32LE(at + 24),
      attributes: file.readUInt32LE(at + 38),
      start: file.readUInt32LE(at + 42),
      name: file.toString('latin1', at + 46, at + 46 + name),
    };
    at += 46 + name + extra + comment;
  }
}

function content(file, entry, before) {
  const at = entry.start + before;
  const damaged = () => new BadContainer('damaged, or it breaks off', entry.name);
  if (at + 30 > file.length || file.toString('latin1', at, at + 4) !== 'PK\x03\x04') throw damaged();
  const [name, extra] = [26, 28].map((place) => file.readUInt16LE(at + place));
  const start = at + 30 + name + extra;
  if (file.toString('latin1', at + 30, at + 30 + name) !== entry.name || start + entry.packed > file.length)
    throw damaged();
  const packed = file.subarray(start, start + entry.packed);
  let body = packed;
  try {
    if (entry.method === 8) body = inflateRawSync(packed, { maxOutputLength: entry.size || 1 });
  } catch {
    throw damaged();
  }
  if (body.length !== entry.size || crc32(body) !== entry.crc) throw damaged();
  return body;
}
