#!/usr/bin/env node
// node main.mjs BUNDLE [--trust FILE]   the report as JSON; exit codes as docs/formats/bundle.md says
// node main.mjs --lines                 one case a line on standard input, one report a line on standard output:
//                                       {"file": base64} or {"members": {name: base64}}, and "trust": text
import { readFileSync, statSync } from 'node:fs';
import { createInterface } from 'node:readline';

import { LARGEST_FILE } from './container.mjs';
import { BadTrust, readTrust } from './trust.mjs';
import { unread, verifyFile, verifyMembers } from './verify.mjs';

const usage = 'usage: node main.mjs BUNDLE [--trust FILE] | node main.mjs --lines\n';

async function main(words) {
  if (words[0] === '--lines') {
    for await (const line of createInterface({ input: process.stdin }))
      process.stdout.write(`${JSON.stringify(answer(JSON.parse(line)))}\n`);
    return 0;
  }
  const [bundle, option, file, ...rest] = words;
  if (!bundle || bundle.startsWith('-') || rest.length || (option && (option !== '--trust' || !file))) {
    process.stderr.write(usage);
    return 2;
  }
  try {
    const trust = file ? readTrust(readFileSync(file)) : null;
    const found = statSync(bundle);
    if (!found.isFile()) throw new BadTrust(`${bundle} is no regular file`);
    const report = found.size > LARGEST_FILE ? unread('the file is larger than 1 GiB') : verifyFile(readFileSync(bundle), trust);
    process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
    return report.exitCode;
  } catch (error) {
    if (!(error instanceof BadTrust) && !error.code) throw error;
    process.stderr.write(`${error.message}\n`);
    return 2;
  }
}

function answer({ file, members, trust }) {
  try {
    const pinned = trust ? readTrust(Buffer.from(trust)) : null;
    if (file !== undefined) return verifyFile(Buffer.from(file, 'base64'), pinned);
    if (members === undefined) return {};
    const decoded = Object.entries(members).map(([name, body]) => [name, Buffer.from(body, 'base64')]);
    return verifyMembers(new Map(decoded), pinned);
  } catch (error) {
    if (!(error instanceof BadTrust)) throw error;
    return { verdict: 'bad trust', what: error.message };
  }
}

process.exitCode = await main(process.argv.slice(2));
