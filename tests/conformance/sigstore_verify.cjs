// Checks receipts with Sigstore's own verifier: the envelopes' signatures, and that they are in the log.
// node sigstore_verify.cjs: one JSON on standard input, one a line on standard output for each of its receipts.
const { createPublicKey } = require('node:crypto');
const { createRequire } = require('node:module');
const { join } = require('node:path');
const { readFileSync } = require('node:fs');

const from = createRequire(join(__dirname, '..', 'integration', 'npm', 'package.json'));
const { bundleFromJSON } = from('@sigstore/bundle');
const { Verifier, toSignedEntity, toTrustMaterial } = from('@sigstore/verify');
const { verifyMerkleInclusion } = from('@sigstore/verify/dist/tlog/merkle.js');

const said = JSON.parse(readFileSync(0, 'utf8'));
const keys = { gate: { publicKey: createPublicKey(said.key), validFor: () => true } };
const trust = toTrustMaterial({ certificateAuthorities: [], timestampAuthorities: [], tlogs: [], ctlogs: [] }, (hint) => keys[hint]);
const verifier = new Verifier(trust, { tlogThreshold: 0, timestampThreshold: 0, tsaThreshold: 0, ctlogThreshold: 0 });

const attempt = (work) => {
  try {
    work();
    return 'holds';
  } catch (error) {
    return error.code ?? String(error);
  }
};

for (const { envelope, entry, index, path } of said.receipts) {
  const bundle = bundleFromJSON({
    mediaType: 'application/vnd.dev.sigstore.bundle.v0.3+json',
    verificationMaterial: { publicKey: { hint: 'gate' }, tlogEntries: [], timestampVerificationData: {} },
    dsseEnvelope: JSON.parse(envelope),
  });
  const logged = {
    canonicalizedBody: Buffer.from(entry, 'hex'),
    inclusionProof: { logIndex: String(index), treeSize: String(said.size), hashes: path.map((node) => Buffer.from(node, 'hex')) },
  };
  const checkpoint = { logSize: BigInt(said.size), logHash: Buffer.from(said.root, 'hex') };
  const signature = attempt(() => verifier.verify(toSignedEntity(bundle)));
  const inclusion = attempt(() => verifyMerkleInclusion(logged, checkpoint));
  process.stdout.write(`${JSON.stringify({ signature, inclusion })}\n`);
}
