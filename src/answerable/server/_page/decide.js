"use strict";
// Everything shown comes from the gate and is set as text, never as markup.

const at = (id) => document.getElementById(id);
let me = null;
let shown = null;

const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const base64 = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer)));
const base64url = (buffer) => base64(buffer).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

function say(text, wrong = false) {
  at("said").textContent = text;
  at("said").className = wrong ? "wrong" : "";
}

async function ask(path, body) {
  const headers = { authorization: `Bearer ${sessionStorage.getItem("key")}` };
  const answer = await fetch(path, body === undefined
    ? { headers }
    : { method: "POST", headers: { ...headers, "content-type": "application/json" }, body: JSON.stringify(body) });
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error.message);
  return said;
}

async function refresh() {
  me = await ask("/people/me");
  at("enter").hidden = true;
  at("inside").hidden = false;
  at("who").textContent = `${me.person}, as ${me.roles.join(", ") || "nobody in particular"}`;
  at("enrol").hidden = me.keys.length > 0;
  at("one").hidden = true;
  const { approvals } = await ask("/approvals");
  at("waiting").replaceChildren(...approvals.map((each) => {
    const button = document.createElement("button");
    button.textContent = `${each.name} for ${each.agent}, ${each.votes} of ${each.needs} by ${each.role}, due ${each.due}`;
    button.dataset.approval = each.approval;
    button.onclick = () => guard(() => show(each.approval));
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
  if (!approvals.length) say("nothing waits");
}

async function show(approval) {
  shown = await ask(`/approvals/${approval}`);
  at("one").hidden = false;
  at("what").textContent = shown.name;
  const amount = shown.action.amount;
  const facts = {
    "acts on": shown.action.target || "nothing in particular",
    amount: amount ? `${amount.minor} ${amount.currency} (minor units)` : "none",
    effect: shown.action.effect, agent: shown.agent, run: shown.run,
    "held by": shown.rules.join(", "), asks: shown.terms, digest: shown.digest,
  };
  at("facts").replaceChildren(...Object.entries(facts).flatMap(([name, value]) => {
    const term = document.createElement("dt"), said = document.createElement("dd");
    term.textContent = name;
    said.textContent = value;
    return [term, said];
  }));
  at("origins").replaceChildren(...origins(shown.provenance || [], shown.passages || []));
  at("arguments").value = shown.arguments === undefined ? "" : JSON.stringify(shown.arguments, null, 2);
  at("arguments").readOnly = !shown.mayEdit || !shown.mayDecide;
  at("repeat-label").hidden = !shown.mayRepeat;
  at("repeat").checked = false;
  at("approve").disabled = at("reject").disabled = !shown.mayDecide;
}

const FROM = {
  user: "the user wrote it", trusted: "a trusted source", named: "a record that the user named",
  dropped: "vouched for by a person", untrusted: "untrusted: a result that nobody vouches for",
  unknown: "untrusted: it stands nowhere on the record, the model made it up",
};

function origins(provenance, passages) {
  const told = provenance.map((each) => ({
    by: FROM[each.from].startsWith("untrusted") ? "untrusted" : "",
    text: `${each.argument} comes from: ${FROM[each.from]}${each.receipts ? ` (${each.receipts.join(", ")})` : ""}`,
  }));
  // A diff against what the run was told is worth reading only where some of it came back.
  if (passages.some((each) => each.by === "result")) told.push(...passages.map((each) => ({
    by: each.is_untrusted ? "untrusted" : each.by,
    text: `${{ model: "+", input: "=" }[each.by] || (each.is_untrusted ? "!" : "~")} ${each.argument}: ${each.text.trim()}`
      + (each.by === "result" ? `   from ${each.tool}` : ""),
  })));
  return told.map((each) => {
    const item = document.createElement("li");
    item.textContent = each.text;
    item.className = each.by;
    return item;
  });
}

async function decide(decision) {
  const answer = { reason: at("reason").value };
  if (decision === "approve") {
    const now = JSON.parse(at("arguments").value || "null");
    if (JSON.stringify(now) !== JSON.stringify(shown.arguments)) answer.arguments = now;
    if (at("repeat").checked) answer.scope = "run";
  }
  const key = me.keys.find((each) => each.kind === "passkey" && each.rp === location.hostname);
  if (key) answer.signature = await sign(decision, answer, key);
  const said = await ask(`/approvals/${shown.approval}/${decision}`, answer);
  at("reason").value = "";
  await refresh();
  say(`${said.approval}: ${said.state}`);
}

async function sign(decision, answer, key) {
  const { challenge } = await ask(`/approvals/${shown.approval}/statement`, { ...answer, decision, key: key.id });
  const made = await navigator.credentials.get({ publicKey: {
    challenge: bytes(challenge), rpId: key.rp, userVerification: "required",
    allowCredentials: [{ type: "public-key", id: bytes(key.credential) }],
  } });
  return {
    kind: "passkey", key: key.id, sig: base64(made.response.signature),
    clientData: base64(made.response.clientDataJSON), authenticatorData: base64(made.response.authenticatorData),
  };
}

async function enrol() {
  const wanted = await ask("/people/me/passkey/options", {});
  const made = await navigator.credentials.create({ publicKey: {
    challenge: bytes(wanted.challenge), rp: wanted.rp, user: { ...wanted.user, id: bytes(wanted.user.id) },
    pubKeyCredParams: [{ type: "public-key", alg: -7 }], attestation: "none",
    authenticatorSelection: { userVerification: "required", residentKey: "preferred" },
  } });
  await ask("/people/me/passkey", {
    id: made.id, rawId: base64url(made.rawId), type: made.type,
    response: {
      clientDataJSON: base64url(made.response.clientDataJSON),
      attestationObject: base64url(made.response.attestationObject),
    },
  });
  await refresh();
  say("your passkey is registered: from now on you answer with it");
}

function guard(work) {
  say("");
  work().catch((error) => say(error.message, true));
}

at("enter").onsubmit = (event) => {
  event.preventDefault();
  sessionStorage.setItem("key", at("key").value.trim());
  guard(refresh);
};
at("enrol").onclick = () => guard(enrol);
at("one").onsubmit = (event) => { event.preventDefault(); guard(() => decide("approve")); };
at("reject").onclick = () => guard(() => decide("reject"));
if (sessionStorage.getItem("key")) guard(refresh);
