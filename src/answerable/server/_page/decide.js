"use strict";
// Everything shown comes from the gate and is set as text, never as markup.

const LOOK_AGAIN_MS = 15000;
const at = (id) => document.getElementById(id);
let me = null;
let shown = null;
let listed = [];
let listedAt = 0;

const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const base64 = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer)));
const base64url = (buffer) => base64(buffer).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

function say(text, wrong = false) {
  at("said").textContent = text;
  at("said").className = wrong ? "wrong" : "";
}

// What went wrong on one line, and below it why and what to do.
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const told = (message) => message.split("; ").map(capital).join(".\n") + ".";

async function ask(path, body) {
  const headers = { authorization: `Bearer ${sessionStorage.getItem("key")}` };
  let answer;
  try {
    answer = await fetch(path, body === undefined
      ? { headers }
      : { method: "POST", headers: { ...headers, "content-type": "application/json" }, body: JSON.stringify(body) });
  } catch {
    throw new Error("The gate cannot be reached.\nThe same answer given again counts once: try again when it is back.");
  }
  const said = await answer.json().catch(() => ({ error: { message: `the gate answered ${answer.status} without saying why` } }));
  if (answer.ok) return said;
  if (answer.status === 401) {
    leave();
    throw new Error("This key opens nothing here.\nWhoever runs the gate makes another (`answerable person key new`).");
  }
  throw new Error(told(said.error.message));
}

function make(name, text, className) {
  const node = document.createElement(name);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  return node;
}

function terms(list, facts) {
  const told = Object.entries(facts).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  list.replaceChildren(...told.flatMap(([name, value]) => [make("dt", name), make("dd", value)]));
}

function lasts(seconds) {
  const left = seconds - (Date.now() - listedAt) / 1000;
  if (left <= 0) return "no time";
  const units = [[86400, "day"], [3600, "hour"], [60, "minute"]];
  const [size, unit] = units.find(([each]) => left >= each) || [1, "second"];
  const count = Math.floor(left / size);
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}

const bare = (name) => name.slice(name.indexOf(":") + 1);
const asker = (name) => name.replace(/^person:/, "");
const what = (each) => ({ model: `Ask the model ${bare(each.name)}`, decision: "Answer a question" }[each.kind] || each.name);

function item(each) {
  const button = make("button", undefined, each.mayDecide ? "mine" : "");
  button.type = "button";
  button.dataset.approval = each.approval;
  button.setAttribute("aria-current", String(shown !== null && shown.approval === each.approval));
  if (each.amount) button.append(make("strong", each.amount.text, "money"));
  button.append(make("strong", what(each)));
  if (each.target) button.append(make("small", each.target));
  const votes = each.needs > 1 ? `, ${each.votes} of ${each.needs} said yes` : "";
  button.append(make("small", `${each.agent}${each.askedBy ? ` for ${asker(each.askedBy)}` : ""} · ${lasts(each.leftSeconds)} left${votes}`));
  if (!each.mayDecide) button.append(make("small", `not yours: it waits for ${each.role}`));
  button.onclick = () => guard(() => show(each.approval));
  const entry = make("li");
  entry.append(button);
  return entry;
}

function list() {
  // What one may decide first, and of that what runs out first.
  listed.sort((a, b) => b.mayDecide - a.mayDecide || a.leftSeconds - b.leftSeconds);
  at("waiting").replaceChildren(...listed.map(item));
  at("nothing").hidden = listed.length > 0;
}

async function look() {
  ({ approvals: listed } = await ask("/approvals"));
  listedAt = Date.now();
  list();
}

async function refresh() {
  me = await ask("/people/me");
  at("enter").hidden = true;
  at("who").textContent = `${bare(me.person)}, ${me.roles.length ? `as ${me.roles.join(" and ")}` : "with no role here"}`;
  const can = window.PublicKeyCredential !== undefined;
  at("passkey").hidden = me.keys.length > 0;
  at("enrol").hidden = !can;
  at("passkey-why").textContent = can
    ? "With a passkey your answers are signed, and nobody else can give them in your name."
    : "This browser offers no passkeys here: they need HTTPS, or localhost.";
  close();
  await look();
  at("inside").hidden = at("me").hidden = false;
}

function close() {
  shown = null;
  at("one").hidden = true;
  at("panes").className = "";
}

const link = (approval) => history.replaceState(null, "", approval ? `#${approval}` : location.pathname);

const FROM = {
  user: "the user wrote it", trusted: "from a trusted source", named: "from a record that the user named",
  dropped: "a person vouched for it", untrusted: "from a text that nobody vouches for",
  unknown: "nobody on record said it: the model made it up, or worked it out",
};
const isWeak = (each) => each.from === "untrusted" || each.from === "unknown";
const MARKS = {
  untrusted: "stands so in a text that nobody vouches for", result: "stands so in another result",
  input: "stands so in the request", model: "written by the model",
};

async function show(approval) {
  const found = await ask(`/approvals/${encodeURIComponent(approval)}`);
  shown = found;
  link(approval);
  at("one").hidden = false;
  at("panes").className = "reading";
  const { action, provenance = [], passages = [], labels = [] } = found;
  const isQuestion = found.kind === "decision";
  const name = (isQuestion && found.arguments && found.arguments.question) || what(found);
  at("what").textContent = [name, found.target, found.amount && found.amount.text].filter(Boolean).join(" · ");
  const then = found.thenAsks ? `then ${found.thenAsks} is asked` : "then it is refused";
  const waits = found.state === "waiting" ? ` There are ${lasts(found.leftSeconds)} left, ${then}.` : ` It is ${found.state}.`;
  at("asks").textContent = `${found.agent} asks${found.askedBy ? `, working for ${asker(found.askedBy)}` : ""}.${waits}`;
  const weak = provenance.filter(isWeak).map((each) => each.argument);
  at("warning").hidden = !weak.length;
  at("warning").textContent = `Nobody vouches for where this came from: ${weak.join(", ")}. Whoever wrote it may want you to approve it.`;
  const acts = {
    does: { irreversible: "something that cannot be taken back", write: "a change", read: "a look, and no change" }[action.effect],
    "acts on": found.target || "nothing in particular",
    moves: found.amount ? found.amount.text : "no money",
    "uses at most": found.atMost,
  };
  terms(at("facts"), {
    ...(isQuestion ? { does: "the agent goes on, or is told no" } : acts),
    needs: `${found.needs > 1 ? `${found.needs} different people as ` : ""}${found.role}${found.signed ? ", signed" : ""}`,
    "so far": found.given.map((each) => `${each.name || each.by}: ${each.decision}`).join(", "),
    "had read": labels.map((label) => label.replace(/^untrusted:/, "")).join(", "),
  });
  terms(at("record"), {
    rules: found.rules.join(", ") || "the agent asked by itself", terms: found.terms, run: found.run,
    approval: found.approval, digest: found.digest, asked: found.asked, due: found.due,
  });
  const isReadable = "arguments" in found && found.arguments !== null;
  at("with").replaceChildren(...(isReadable ? Object.entries(found.arguments).map(([name, value]) => row(name, value, provenance, passages)) : []));
  const used = new Set(passages.map(marked));
  at("legend").hidden = !used.size;
  at("legend").replaceChildren(...Object.keys(MARKS).filter((each) => used.has(each)).map((each) => make("mark", MARKS[each], each)));
  at("arguments").value = isReadable ? JSON.stringify(found.arguments, null, 2) : "";
  at("edit").hidden = !found.mayEdit || !found.mayDecide;
  at("edit").open = false;
  at("repeat-label").hidden = !found.mayRepeat;
  at("repeat").checked = false;
  at("reason").value = "";
  at("answer").hidden = !found.mayDecide;
  at("unseen").hidden = isReadable;
  at("unseen").textContent = found.arguments === null ? "It was erased." : "Shown to those who may decide.";
  at("why-not").textContent = found.mayDecide ? hindrance(found) : because(found);
  at("why-not").hidden = !at("why-not").textContent;
  list();
  if (getComputedStyle(at("back")).display !== "none") at("one").scrollIntoView();
}

const BECAUSE = {
  "refused.approver_lacks_role": (found) => `It waits for ${found.role}. You are here as ${me.roles.join(" and ") || "nobody in particular"}.`,
  "refused.approver_is_initiator": () => "You asked for this yourself, and policy wants somebody else's answer.",
  "refused.approver_is_in_line": () => "You stand above or below whoever asked for this, and policy wants somebody who does not.",
  "refused.approver_answered": (found) => `You have answered. It is ${found.state}${found.state === "waiting" ? " for others" : ""}.`,
  "refused.approval_closed": (found) => `It is ${found.state}${found.reason ? `: ${found.reason}` : ""}.`,
};
const because = (found) => (BECAUSE[found.whyNot.code] || (() => told(found.whyNot.message)))(found);

const passkey = () => me.keys.find((each) => each.kind === "passkey" && each.rp === location.hostname);

// What would stand in the way of an answer from this page.
function hindrance(found) {
  if (passkey()) return "";
  if (me.keys.length) return "You have a key, and it is not on this page: answer with `answerable approvals … --sign KEYFILE`.";
  return found.signed ? "Policy wants a signed answer: register a passkey first." : "";
}

const marked = (each) => (each.by === "result" && each.is_untrusted ? "untrusted" : each.by);

function exact(value) {
  const short = JSON.stringify(value);
  return short.length <= 60 ? short : JSON.stringify(value, null, 2);
}

function row(name, value, provenance, passages) {
  const line = make("tr"), said = make("td");
  const mine = passages.filter((each) => each.argument === name);
  const isPlain = mine.map((each) => each.text).join("") === String(value);
  const pieces = mine.map((each) => {
    const piece = make("mark", each.text, marked(each));
    piece.title = MARKS[marked(each)] + (each.tool ? `: ${each.tool}` : "");
    return piece;
  });
  // What is approved is shown exactly; what of a list or object stands somewhere on the record, below it.
  if (isPlain) said.append(...pieces);
  else said.append(exact(value), ...pieces.filter((each) => each.className !== "model").flatMap((each) => [make("br"), each]));
  const tools = [...new Set(mine.filter((each) => each.tool).map((each) => each.tool))];
  if (tools.length) said.append(make("small", `found in what ${tools.join(" and ")} returned`));
  for (const each of provenance.filter((one) => one.argument === name || one.argument.startsWith(`${name}.`))) {
    const of = each.argument === name ? "" : `${each.argument}: `;
    said.append(make("small", of + FROM[each.from], isWeak(each) ? "untrusted" : ""));
  }
  line.append(make("th", name), said);
  return line;
}

function edited(of) {
  let now;
  try {
    now = JSON.parse(at("arguments").value || "null");
  } catch (error) {
    at("edit").open = true;
    at("arguments").focus();
    throw new Error(`The arguments are no JSON, and nothing was sent.\n${error.message}`);
  }
  return JSON.stringify(now) === JSON.stringify(of.arguments) ? undefined : now;
}

async function decide(decision) {
  const of = shown;
  const answer = { reason: at("reason").value.trim() };
  if (decision === "reject" && !answer.reason) {
    at("reason").focus();
    throw new Error("Say why you reject it.\nThe agent is told, and it goes on the record.");
  }
  if (decision === "approve") {
    const changed = edited(of);
    if (changed !== undefined) answer.arguments = changed;
    if (at("repeat").checked) answer.scope = "run";
  }
  const key = passkey();
  if (key) answer.signature = await sign(of, decision, answer, key);
  const name = what(of);
  const said = await ask(`/approvals/${of.approval}/${decision}`, answer);
  link("");
  await refresh();
  const more = { waiting: `${said.votes} of ${said.needs} have said yes`, edited: "edited, and decided anew as it is now" };
  say(`${name}: ${more[said.state] || said.state}. Receipt ${said.receipt}`);
}

async function sign(of, decision, answer, key) {
  const { challenge } = await ask(`/approvals/${of.approval}/statement`, { ...answer, decision, key: key.id });
  const made = await withPasskey(navigator.credentials.get({ publicKey: {
    challenge: bytes(challenge), rpId: key.rp, userVerification: "required",
    allowCredentials: [{ type: "public-key", id: bytes(key.credential) }],
  } }), "Nothing was signed, and nothing was sent.");
  return {
    kind: "passkey", key: key.id, sig: base64(made.response.signature),
    clientData: base64(made.response.clientDataJSON), authenticatorData: base64(made.response.authenticatorData),
  };
}

async function withPasskey(asked, otherwise) {
  try {
    return await asked;
  } catch (error) {
    throw new Error(`${otherwise}\nYour device or browser said: ${error.message}`);
  }
}

async function enrol() {
  const wanted = await ask("/people/me/passkey/options", {});
  const made = await withPasskey(navigator.credentials.create({ publicKey: {
    challenge: bytes(wanted.challenge), rp: wanted.rp, user: { ...wanted.user, id: bytes(wanted.user.id) },
    pubKeyCredParams: [{ type: "public-key", alg: -7 }], attestation: "none",
    authenticatorSelection: { userVerification: "required", residentKey: "preferred" },
  } }), "No passkey was made.");
  await ask("/people/me/passkey", {
    id: made.id, rawId: base64url(made.rawId), type: made.type,
    response: {
      clientDataJSON: base64url(made.response.clientDataJSON),
      attestationObject: base64url(made.response.attestationObject),
    },
  });
  await refresh();
  say("Your passkey is registered: from now on you answer with it.");
}

function leave() {
  sessionStorage.removeItem("key");
  me = null;
  close();
  at("inside").hidden = at("me").hidden = true;
  at("enter").hidden = false;
  at("key").value = "";
}

function guard(work) {
  say("");
  return work().catch((error) => say(error.message, true));
}

let isAnswering = false;

// A second click is not a second answer.
function answer(decision) {
  if (isAnswering) return;
  isAnswering = at("approve").disabled = at("reject").disabled = true;
  guard(() => decide(decision)).finally(() => {
    isAnswering = at("approve").disabled = at("reject").disabled = false;
  });
}

// A notice links to one approval by name.
async function begin() {
  const linked = location.hash.slice(1);
  await refresh();
  if (linked) await show(linked);
}

at("enter").onsubmit = (event) => {
  event.preventDefault();
  sessionStorage.setItem("key", at("key").value.trim());
  guard(begin);
};
at("enrol").onclick = () => guard(enrol);
at("leave").onclick = () => { leave(); link(""); say(""); };
at("back").onclick = () => { close(); link(""); list(); };
at("one").onsubmit = (event) => { event.preventDefault(); answer("approve"); };
at("reject").onclick = () => answer("reject");
window.onhashchange = () => { if (me && location.hash) guard(() => show(location.hash.slice(1))); };
setInterval(() => { if (me && !isAnswering && !document.hidden) look().catch((error) => say(error.message, true)); }, LOOK_AGAIN_MS);
if (sessionStorage.getItem("key")) guard(begin);
