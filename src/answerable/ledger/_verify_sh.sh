#!/usr/bin/env bash
# Verifies an Answerable evidence bundle with bash 4, OpenSSL 3 and jq 1.6: no network, no account.
#
#   bash VERIFY.sh [--trust FILE] [FOLDER]
#
# FOLDER is the unpacked bundle; by default the folder this script is in.
# FILE is your own trust file: which keys are the gate's and the log's, from a source you trust.
# Exit codes: 0 verified; 2 usage; 3 self-consistent only (no --trust) or undetermined; 4 does not verify.
set -u -o pipefail
export LC_ALL=C

printable() { tr -d '\000-\011\013-\037\177'; }  # a bundle may be made to fool a terminal
usage() {
  echo "usage: bash VERIFY.sh [--trust FILE] [FOLDER]" >&2
  [ $# -eq 0 ] || printf 'VERIFY.sh: %s\n' "$*" | printable >&2
  exit 2
}

trust='' folder=''
while [ $# -gt 0 ]; do
  case $1 in
    --trust) [ $# -ge 2 ] || usage "--trust needs a file"; trust=$2; shift 2 ;;
    --trust=*) trust=${1#--trust=}; shift ;;
    -*) usage "unknown option $1" ;;
    *) [ -z "$folder" ] || usage "one folder only"; folder=$1; shift ;;
  esac
done
[ "${BASH_VERSINFO[0]}" -ge 4 ] || usage "bash 4 or later is needed"
command -v jq >/dev/null || usage "jq is needed"
case $(openssl version 2>/dev/null) in "OpenSSL "[3-9]*) ;; *) usage "OpenSSL 3 or later is needed" ;; esac
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
mkdir "$work/keys" "$work/people" "$work/pae" "$work/sig"
: >"$work/trust"
if [ -n "$trust" ]; then
  { [ ! -d "$trust" ] && head -c 1048577 "$trust" >"$work/trust.toml"; } 2>/dev/null || usage "the trust file $trust cannot be read"
fi
[ -n "$folder" ] || folder=$(dirname "${BASH_SOURCE[0]}")
cd "$folder" 2>/dev/null || usage "$folder is not a folder"
[ -f manifest.json ] || [ -d receipts ] || usage "$folder is not an unpacked bundle"

: >"$work/faults"
say() { printf '%s\n' "$1" >>"$work/faults"; }
finish() {
  echo
  if [ -s "$work/faults" ]; then
    echo "DOES NOT VERIFY"
    sed -n -e '1s/^/first fault: /p' -e '2,20s/^/       also: /p' "$work/faults" | printable
    exit 4
  fi
}

# --- keys -------------------------------------------------------------------------------------------
bad_keys() { if [ -n "$trust" ]; then usage "$1"; else say "key-role: (keys.json): $1"; finish; fi }
decode() { printf '%s' "$1" | openssl base64 -d -A 2>/dev/null; }
hex() { od -An -v -tx1 | tr -d ' \n'; }
# What is misspelt, or written in a way that this script does not read, would silently not be asked for.
read_trust() { # read_trust FILE: its lines as `name value`
  local line name value names='format|origin|quorum|isolation|(gate|log|person)_key(_[0-9]+)?(_from|_until)?|(witness|monitor|tsa_root)(_[0-9]+)?'
  [ "$(wc -c <"$1")" -le 1048576 ] || usage "the trust file is larger than 1 MiB"
  while IFS= read -r line || [ -n "$line" ]; do
    [[ ! $line =~ ^[[:space:]]*(#.*)?$ ]] || continue
    [[ $line =~ ^[[:space:]]*([A-Za-z0-9_]+)[[:space:]]*=[[:space:]]*\"([^\"]*)\"[[:space:]]*(#.*)?$ ]] \
      || usage "the trust file has a line that is not name = \"value\": ${line:0:60}"
    name=${BASH_REMATCH[1]} value=${BASH_REMATCH[2]}
    [[ ${value//\\n/} != *\\* ]] || usage "the trust file's \`$name\` holds an escape other than \\n"
    [[ $name =~ ^($names)$ ]] || usage "the trust file says \`$name\`, which is not known"
    ! grep -q "^$name " "$work/trust" || usage "the trust file says \`$name\` twice"
    [[ $name != *_from && $name != *_until || $value =~ ^([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z)?$ ]] \
      || usage "the trust file's \`$name\` is not a time like 2026-11-21T00:00:00Z"
    printf '%s %s\n' "$name" "$value" >>"$work/trust"
  done <"$1"
}
trusted() { sed -n "s/^$1 //p" "$work/trust"; }
moment() { # moment TIME: as receipts write times, with six decimals
  local whole=${1%Z} part=''
  [ -n "$1" ] || return 0
  [[ $whole != *.* ]] || part=${whole#*.}
  part=${part}000000
  printf '%s.%sZ' "${whole%%.*}" "${part:0:6}"
}
dated() { # dated NAME FILE: the keys called NAME, NAME_2 … as FILE1.pem …, each with its time of use in FILE1.period
  local name value number=0
  while read -r name value; do
    number=$((number + 1))
    printf '%b' "$value" >"$2$number.pem"
    printf '%s %s\n' "$(moment "$(trusted "${name}_from")")" "$(moment "$(trusted "${name}_until")")" >"$2$number.period"
  done < <(grep "^$1[_0-9]* " "$work/trust")
}
declare -A taken=()
watcher() { # watcher ROLE VKEY: a verifier key of type 4, whose key has no other role
  local name=${2%%+*} rest=${2#*+} keyid
  decode "${rest#*+}" >"$work/watcher"
  [ "$(openssl base64 -A -in "$work/watcher")" = "${rest#*+}" ] && [ "$(wc -c <"$work/watcher")" -eq 33 ] \
    && [ "$(head -c 1 "$work/watcher" | hex)" = 04 ] \
    && [ "$({ printf '%s\n' "$name"; cat "$work/watcher"; } | openssl dgst -sha256 -r | cut -c 1-8)" = "${rest%%+*}" ] \
    || usage "the trust file's $1 is no verifier key: $2"
  keyid=$(tail -c 32 "$work/watcher" | openssl dgst -sha256 -r | cut -c 1-64)
  [ -z "${gate_of[$keyid]-}${log_of[$keyid]-}${taken[$keyid]-}" ] || usage "the trust file gives one key for two roles, or twice: $2"
  taken[$keyid]=$1
}
if [ -n "$trust" ]; then
  read_trust "$work/trust.toml"
  [ "$(trusted format)" = answerable-trust/1 ] || usage "the trust file does not say format = \"answerable-trust/1\""
  origin=$(trusted origin)
  dated log_key "$work/keys/log"
  dated gate_key "$work/keys/gate"
  dated person_key "$work/people/person"
  count=$(find "$work/keys" -name 'gate*.pem' | wc -l)
else
  jq -e '(.gate | type == "array") and (.log.origin | type == "string")' keys.json >/dev/null 2>&1 || bad_keys "no keys"
  origin=$(jq -r '.log.origin' keys.json)
  logs=$(jq -r '[.log.pem, (.log.earlier // [])[]] | length' keys.json)
  for ((i = 1; i <= logs; i++)); do jq -r "[.log.pem, (.log.earlier // [])[]][$i - 1]" keys.json >"$work/keys/log$i.pem"; done
  count=$(jq '.gate | length' keys.json)
  for ((i = 1; i <= count; i++)); do jq -r ".gate[$i - 1].pem" keys.json >"$work/keys/gate$i.pem"; done
fi
if [ "$count" -lt 1 ] || [ -z "$origin" ]; then bad_keys "there is no gate key or no origin"; fi
declare -A gate_of=() log_of=()
: >"$work/periods"
for pem in "$work"/keys/*.pem; do
  der=${pem%.pem}.der
  openssl pkey -pubin -in "$pem" -outform DER -out "$der" 2>/dev/null || bad_keys "a key is not a public key in PEM"
  body=$(sed '/^-----/d' "$pem" | tr -d '\n')
  [ "$(decode "$body" | openssl base64 -A)" = "$body" ] || bad_keys "a key is not canonical base64"
  case $(openssl pkey -pubin -in "$pem" -noout -text 2>/dev/null) in ED25519*) ;; *) bad_keys "a key is not Ed25519" ;; esac
  tail -c 32 "$der" >"${pem%.pem}.raw"
  keyid=$(openssl dgst -sha256 -r "${pem%.pem}.raw" | cut -c 1-64)
  [ -z "${gate_of[$keyid]-}${log_of[$keyid]-}" ] || bad_keys "one key is used for log and gate, or is there twice"
  case $pem in
    */log*.pem) log_of[$keyid]=$pem ;;
    *) gate_of[$keyid]=$pem ;;
  esac
  [ ! -f "${pem%.pem}.period" ] || echo "$keyid $(cat "${pem%.pem}.period")" >>"$work/periods"
done
[ "${#log_of[@]}" -gt 0 ] || bad_keys "there is no log key"
for period in "$work"/people/*.period; do
  [ -f "$period" ] || continue
  case $(openssl pkey -pubin -in "${period%.period}.pem" -noout -text 2>/dev/null) in *prime256v1*) ;; *) bad_keys "a person's key is not P-256" ;; esac
  keyid=$(openssl pkey -pubin -in "${period%.period}.pem" -outform DER 2>/dev/null | openssl dgst -sha256 -r | cut -c 1-64)
  echo "$keyid $(cat "$period")" >>"$work/periods"
done
for role in witness monitor; do
  while IFS= read -r vkey; do watcher "$role" "$vkey"; done < <(trusted "$role[_0-9]*")
done
witnesses=$(trusted 'witness[_0-9]*' | wc -l) quorum=$(trusted quorum)
if grep -q '^quorum ' "$work/trust"; then
  [[ $quorum =~ ^[0-9]{1,6}$ ]] && [ "$quorum" -ge 1 ] && [ "$quorum" -le "$witnesses" ] \
    || usage "the trust file's quorum is not from 1 to the number of its witnesses"
fi
while IFS= read -r root; do
  printf '%b' "$root" | openssl x509 -noout 2>/dev/null || usage "a tsa_root of the trust file is not a certificate in PEM"
  printf '%b\n' "$root"
done < <(trusted 'tsa_root[_0-9]*') >"$work/roots.pem"

# --- files against the manifest -----------------------------------------------------------------------
if [ -n "$(find . -name $'*\n*')" ]; then say "container: a file name is not allowed"; finish; fi
if [ -n "$(find . ! -type f ! -type d)" ]; then say "container: the bundle holds something that is no plain file"; finish; fi
find . -type f | sed 's|^\./||' | sort >"$work/files"
if grep -qvE '^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$' "$work/files"; then
  say "container: a file name is not allowed"; finish
fi
tr '\n' '\0' <"$work/files" | xargs -0 openssl dgst -sha256 -r | sed 's/ \*/ /' >"$work/hashes"
for name in manifest.json checkpoint.txt proofs.json keys.json; do
  [ -f "$name" ] || say "manifest: ($name): the bundle has no such member"
done
if jq -e '(.members | type == "object") and .format == "answerable-bundle/1"' manifest.json >/dev/null 2>&1; then
  jq -r '.members | to_entries[] | "\(.value) \(.key)"' manifest.json | sort >"$work/listed"
  grep -v ' manifest\.json$' "$work/hashes" | sort | comm -3 "$work/listed" - | sed 's/^\t//' | cut -d ' ' -f 2- \
    | sort -u >"$work/different"
  while IFS= read -r name; do
    if ! grep -qxF -- "$name" "$work/files"; then
      say "manifest: ($name): listed, and missing from the bundle"
    elif cut -d ' ' -f 2- "$work/listed" | grep -qxF -- "$name"; then
      id=$(jq -r '.payload | @base64d | fromjson | .predicate.id' "$name" 2>/dev/null | grep -E '^[a-z_0-9]{1,64}$')
      say "manifest: ${id:+$id }($name): not the content that the manifest lists"
    else
      case $name in
        */*) say "manifest: ($name): not listed" ;;
        *) echo "note: $name is not part of the bundle" ;;
      esac
    fi
  done <"$work/different"
  jq -e --argjson count "$(grep -c '^receipts/' "$work/files")" '.receipts == $count' manifest.json >/dev/null 2>&1 \
    || say "manifest: (manifest.json): states another number of receipts than there are"
  while IFS= read -r name; do say "manifest: ($name): not a receipt's name"; done \
    < <(grep '^receipts/' "$work/files" | grep -vE '^receipts/[0-9]{6,}\.json$')
else
  say "manifest: (manifest.json): not a manifest of this format"
fi

# --- receipts: envelope and signature --------------------------------------------------------------------
grep -E '^receipts/[0-9]{6,}\.json$' "$work/files" >"$work/members" || { say "envelope: there are no receipts"; finish; }
while IFS= read -r member; do
  content=''
  IFS= read -r -d '' content <"$member"  # up to the end: an envelope holds no NUL byte
  printf '%s\n' "${content//$'\n'/ }"
done <"$work/members" >"$work/envelopes"
[ "$(tr '\n' '\0' <"$work/members" | xargs -0 cat | tr -cd '\000' | wc -c)" -eq 0 ] || { say "envelope: a receipt holds a NUL byte"; finish; }
# Two lines a receipt: what is needed of it as JSON, with its signature as \x escapes, then its body.
# An envelope is compared with its one canonical spelling, so nothing can hide in another one.
jq -rR '
  def digits: explode | map(if . >= 97 then . - 71 elif . >= 65 then . - 65 elif . >= 48 then . + 4
                            elif . == 43 then 62 elif . == 47 then 63 else 0 end);
  def hex: "0123456789abcdef" as $h | $h[(. / 16 | floor):(. / 16 | floor) + 1] + $h[. % 16:. % 16 + 1];
  def bytes: digits as $d | [range(0; $d | length; 4) as $i
    | ($d[$i] * 262144 + $d[$i + 1] * 4096 + $d[$i + 2] * 64 + $d[$i + 3])
    | (. / 65536 | floor), (. / 256 | floor) % 256, . % 256];
  def bad($why): {bad: $why} | tojson, "";
  . as $raw | (try fromjson catch null) as $e
  | if ($e | type) != "object" or ($e.payload | type) != "string" or ($e.signatures | type) != "array"
      or ($e.signatures[0] | type) != "object" then bad("not an envelope")
    else ($e.payload) as $p | ($e.signatures[0].sig | tostring) as $s | ($e.signatures[0].keyid | tostring) as $k
    | ("{\"payload\":\"" + $p + "\",\"payloadType\":\"application/vnd.in-toto+json\",\"signatures\":[{\"keyid\":\"" + $k
        + "\",\"sig\":\"" + $s + "\"}]}") as $one
    | if $one != $raw then bad("not the canonical envelope")
      elif ($k | test("^[0-9a-f]{64}$") | not) then bad("the key id is malformed")
      elif ($s | test("^[A-Za-z0-9+/]{85}[AQgw]==$") | not) then bad("the signature is not canonical base64 of 64 bytes")
      elif (try ($p | @base64d | @base64) catch "") != $p then bad("the payload is not canonical base64 of text")
      else ($p | @base64d) as $body | (try ($body | fromjson) catch null) as $st
      | ($st | if type == "object" then .predicate else null end) as $r
      | if ($r | type) != "object" or ([$r.id, $r.run, $r.phase, $r.at, $r.tenant] | map(type) | unique) != ["string"]
          or ([$r.seq, $r.boundary.n?] | map(type) | unique) != ["number"]
          or ($r.id | test("^[a-z0-9_]{1,64}$") | not) or ($r.run | test("^[A-Za-z0-9_.:-]{1,128}$") | not) or ($body | contains("\n")) then bad("not a receipt")
        elif $st._type != "https://in-toto.io/Statement/v1" or $st.predicateType != "urn:answerable:receipt:v1"
          then bad("the statement is of another type")
        else ({key: $k, sig: ($s | bytes[0:64] | map("\\x" + hex) | join("")), id: $r.id, run: $r.run, seq: $r.seq,
          prev: $r.prev, phase: $r.phase, at: $r.at, tenant: $r.tenant, n: $r.boundary.n,
          boot: "\($r.boundary.id) \($r.boundary.boot)", apart: $r.boundary.isolation, step: $r.step, control: $r.control,
          commits: [$r.commitments // {} | .[]],
          names: [($r.commitments // {} | .[]), $r.authority.request?, $r.authority.policy?,
            ($r.control.specs? // {} | .[]?)]} | tojson), $body
        end
      end
    end' <"$work/envelopes" >"$work/read" || { say "envelope: a receipt cannot be read"; finish; }
jq -rR 'fromjson? // empty | select(type == "object" and (has("bad") or has("sig")))
  | [(.bad // "-"), (.key // "-"), (.id // "-"), (.sig // "-" | gsub("\\\\"; "%"))] | join(" | ")' \
  <(sed -n 'p;n' "$work/read") >"$work/heads"
mapfile -t members <"$work/members"
total=${#members[@]}
[ "$(wc -l <"$work/heads")" -eq "$total" ] || { say "envelope: a receipt cannot be read"; finish; }
number=0 held=0
: >"$work/damaged"
while IFS= read -r head <&3 && { IFS= read -r _ && IFS= read -r body; } <&4; do
  member=${members[number]}
  number=$((number + 1))
  bad=${head%% | *} rest=${head#* | }
  key=${rest%% | *} rest=${rest#* | }
  id=${rest%% | *} sig=${rest#* | }
  if [ "$bad" != - ]; then
    say "envelope: ($member): $bad"
    echo "$member" >>"$work/damaged"
    continue
  fi
  pem=${gate_of[$key]-}
  if [ -z "$pem" ]; then
    if [ -n "${log_of[$key]-}" ]; then
      say "key-role: $id ($member): signed with the log's key, which signs checkpoints only"
    else
      say "signature: $id ($member): signed by the key ${key:0:16}…, which is not trusted"
    fi
    echo "$member" >>"$work/damaged"
    continue
  fi
  printf 'DSSEv1 28 application/vnd.in-toto+json %d %s' "${#body}" "$body" >"$work/pae/1"
  printf '%b' "${sig//%/\\}" >"$work/sig/1"
  if openssl pkeyutl -verify -rawin -pubin -inkey "$pem" -in "$work/pae/1" -sigfile "$work/sig/1" >/dev/null 2>&1; then
    held=$((held + 1))
  else
    say "signature: $id ($member): the signature does not hold: the receipt was altered after it was signed"
    echo "$member" >>"$work/damaged"
  fi
done 3<"$work/heads" 4<"$work/read"
echo "signatures   $held of $total receipts are signed by a gate key"

# --- chain, time, counters, tenant ------------------------------------------------------------------------
# From which size of the log on the bundle says that it is complete: runs may have begun before.
since=$(jq -r '.complete.from // empty | if type == "number" and . >= 0 and . == floor then . else "?" end' manifest.json 2>/dev/null)
case $since in *\?*) say "complete: (manifest.json): does not say from which size on"; since='' ;; esac
jq -n --arg since "$since" --slurpfile proofs <(jq -c . proofs.json 2>/dev/null || echo '{}') \
  --slurpfile manifest <(jq -c . manifest.json 2>/dev/null || echo '{}') --rawfile hashes "$work/hashes" \
  --rawfile names "$work/members" --rawfile read <(sed -n 'p;n' "$work/read") --rawfile damaged "$work/damaged" \
  --rawfile periods "$work/periods" -r '
  def lines: split("\n") | map(select(. != ""));
  ($hashes | lines | map({key: .[65:], value: ("sha256:" + .[0:64])}) | from_entries) as $digest
  | ($damaged | lines | map({key: ., value: true}) | from_entries) as $damaged
  | ($proofs[0].leaves // {} | if type == "object" then . else {} end) as $leaves
  | ($names | lines) as $names
  | [$read | lines | to_entries[] | . as $l | ($l.value | fromjson) + {member: $names[$l.key]} | select(.bad == null)
      | . + {digest: $digest[.member], leaf: $leaves[.member]}]
  | . as $all
  | ($periods | lines | map(split(" ") | {key: .[0], value: {from: .[1], until: (.[2] // "")}}) | from_entries) as $periods
  | def outside($r; $key; $did): ($periods[$key // ""] // {from: "", until: ""}) as $p
      | if ($p.from != "" and $r.at < $p.from) or ($p.until != "" and $r.at > $p.until)
        then "fault key-period: \($r.id) (\($r.member)): \($did) at \($r.at), when its key was not in use" else empty end;
  def at($r; $check; $what): "fault \($check): \($r.id) (\($r.member)): \($what)";
  (group_by(.run)[] | sort_by(.seq) as $run | $run[0] as $first
    | (if $first.seq != 0 and $since != "" and $since != "0" then "late the steps of `\($first.run)` began before the older checkpoint"
       elif $first.seq != 0 then "fault chain: `\($first.run)` has no receipt at seq 0"
       elif $first.phase != "run.open" and ($first.run | startswith("control:") | not)
         then at($first; "chain"; "the first receipt of a run is not its run.open") else empty end),
      (range(1; $run | length) as $i | $run[$i - 1] as $b | $run[$i] as $a
        | (if $a.seq == $b.seq then at($a; "chain"; "seq \($a.seq) is taken twice: \($b.id) has it too")
           elif $a.seq != $b.seq + 1 then "fault chain: `\($a.run)` has no receipt at seq \($b.seq + 1)"
           elif $a.prev != $b.digest and ($damaged[$a.member] or $damaged[$b.member] | not)
             then at($a; "chain"; "prev does not name the receipt before it, \($b.id)") else empty end),
          (if $a.at < $b.at and ($damaged[$a.member] or $damaged[$b.member] | not)
             then at($a; "time"; "written before \($b.id), which it follows") else empty end),
          (if $a.member < $b.member and $a.seq != $b.seq
             then at($b; "chain"; "stands after \($a.id), whose seq is higher") else empty end)),
      (([range($run | length) | select($run[.].phase == "run.close")] | first) as $closed
        | if $closed == null then empty else $run[$closed + 1:][] | select(.phase != "observation" and .phase != "erasure")
            | at(.; "chain"; "follows the run.close") end),
      ($run[] | select(.phase == "run.close") | select(.control.count != .seq or .control.last != .prev)
        | at(.; "chain"; "run.close does not state its own seq as count and its prev as last")),
      (if ([$run[] | select(.phase == "run.close")] | length) == 0 and ($first.run | startswith("control:") | not)
         then (if $since == "" then "open run `\($first.run)` has no run.close: receipts after seq \($run[-1].seq) may be missing"
           else "late `\($first.run)` was open at the checkpoint" end) else empty end),
      (([$run[] | select(.phase == "outcome" or .phase == "denied") | {key: .step, value: true}] | from_entries) as $done
        | ([$run[] | select(.phase == "control" and .control.do == "write-off") | {key: .control.intent, value: true}]
           | from_entries) as $off
        | [$run[] | select(.phase == "intent" and ($done[.step] | not) and ($off[.id] | not))] | group_by(.step)[] | last
        | "unknown intent \(.id) has no outcome: its effect may have happened")),
  (.[] | outside(.; .key; "written"), (select(.phase == "approval") | outside(.; .control.signature?.key?; "answered"))),
  (($manifest[0].runs? // [] | if type == "array" then . else [] end) - [.[].run] | unique[]
    | "fault chain: no receipt of the run `\(.)` that the manifest lists"),
  (.[].names[] | select(type == "string") | "name \(.)"),
  "newest \([.[].at] | max)",
  (["same-process", "same-user", "separate-user", "remote"] as $kinds
    | "apart \($kinds[[.[].apart as $is | $kinds | index([$is]) // 0] | min])"),
  (group_by(.id)[] | select(length > 1) | at(.[1]; "chain"; "the id was used before, in \(.[0].member)")),
  (map(select(.leaf | type == "number")) | group_by(.boot)[] | sort_by(.leaf) as $boot
    | (if $boot[0].n > $boot[0].leaf then at($boot[0]; "counters"; "n is larger than the entries logged before it") else empty end),
      (range(1; $boot | length) as $i | $boot[$i - 1] as $b | $boot[$i] as $a
        | if $a.n <= $b.n then at($a; "counters"; "n does not rise above that of \($b.id)")
          elif $a.n - $b.n > $a.leaf - $b.leaf then at($a; "counters"; "n skips a number that has no entry in the log")
          else empty end)),
  "tenants \([.[].tenant] | unique | join(" "))"' >"$work/chain" 2>/dev/null || say "chain: the receipts cannot be put in order"
sed -n 's/^fault //p' "$work/chain" >>"$work/faults"
apart=$(sed -n 's/^apart //p' "$work/chain")
if [ -n "$apart" ]; then echo "isolation    the agent was kept from the gate by: $apart"; fi
kinds='same-process same-user separate-user remote' wanted=''
[ -z "$trust" ] || wanted=$(trusted isolation)
near=''
if [ -n "$wanted" ]; then
  [[ " $kinds " == *" $wanted "* ]] || usage "the trust file's isolation is none of: $kinds"
  rest=${kinds#*"$wanted"}
  [ "$apart" = "$wanted" ] || [[ "$rest " == *" $apart "* ]] \
    || near="the agent was kept from the gate by ${apart:-nothing known}, and the trust file asks for $wanted"
fi
echo "chain        seq, prev, time and counters of $total receipts"

# --- disclosed texts ---------------------------------------------------------------------------------------
grep -E '^[0-9a-f]{64} (disclosed|policy|specs)/' "$work/hashes" >"$work/texts"
while read -r hash name; do
  [ "$hash" = "${name#*/}" ] || say "texts: ($name): the content is not what its name commits to"
done <"$work/texts"
sed -n 's/^name sha256://p' "$work/chain" | sort -u >"$work/named"
if [ ! -s "$work/damaged" ]; then  # else the text may be that receipt's own
  while read -r hash name; do say "texts: ($name): no receipt in the bundle commits to it"; done \
    < <(sort "$work/texts" | join -v 1 - "$work/named")
fi
[ ! -d disclosed ] || while IFS= read -r name; do say "texts: ($name): shorter than its salt"; done < <(find disclosed -type f -size -32c)
echo "texts        $(wc -l <"$work/texts" | tr -d ' ') disclosed texts match their commitments"

# --- erasures: what receipts say is gone can be, and is not here -----------------------------------------------
# Where anything was wrong so far, what is missing would be blamed on what is here.
check_erasures() {
  jq -n --arg since "$since" --rawfile names "$work/members" --rawfile read <(sed -n 'p;n' "$work/read") \
    --rawfile files "$work/files" -r '
    def lines: split("\n") | map(select(. != ""));
    def at($r; $what): "fault erasures: \($r.id) (\($r.member)): \($what)";
    def count($spans): [$spans[] | .[1] - .[0] + 1] | add;
    def has($spans; $seq): any($spans[]; .[0] <= $seq and $seq <= .[1]);
    def whole: type == "number" and . == floor;
    def spans: if type != "string" or (test("^(0|[1-9][0-9]{0,15})(-(0|[1-9][0-9]{0,15}))?(,(0|[1-9][0-9]{0,15})(-(0|[1-9][0-9]{0,15}))?)*$") | not)
      then null
      else [split(",")[] | split("-") | map(tonumber)] as $each | [$each[] | [.[0], .[-1]]] as $spans
        | if any($each[]; length > 1 and .[1] <= .[0]) or any(range(1; $spans | length); $spans[.][0] <= $spans[. - 1][1] + 1)
          then null else $spans end end;
    ($names | lines) as $names | ($files | lines | map({key: ., value: true}) | from_entries) as $files
    | [$read | lines | to_entries[] | . as $l | ($l.value | fromjson) + {member: $names[$l.key]}] as $all
    | ($all | group_by(.run)) as $runs
    | ($runs[] | sort_by(.seq) as $run | ($run[0].seq == 0) as $is_whole
      | ([$run[] | select(.phase == "erasure") | .control.erased | select(. != null)
          | spans | select(. != null)[]]) as $gone
      | (if $is_whole then
          ($run[] | select(.phase == "erasure" and .control.erased != null) | . as $r | (.control.erased | spans) as $spans
            | .control.texts as $texts | (.run | startswith("control:")) as $is_control
            | if $spans == null then at($r; "what it erased is not of its form")
              elif $spans[-1][1] >= .seq then at($r; "it erased what was not written yet")
              elif any($run[]; (.commits | length) == 0 and has($spans; .seq))
                then at($r; "it erased a text of a receipt that commits to none")
              elif ($texts | whole | not) or ($texts < count($spans)) or (($is_control | not) and $texts != count($spans))
                then at($r; "it counts another number of texts than it names")
              else empty end),
          (if any($run[]; .phase == "erasure") or $run[0].control.origin?.how? == "fork" then empty
           else $run[] | select(.phase == "run.close" and .control.state == "erased")
             | at(.; "closed as erased, and the run has no erasure") end)
        else empty end),
      ([$run[] | has($gone; .seq) as $is_gone | .commits[] | [., $is_gone]] | group_by(.[0])[]
        | select(all(.[]; .[1])) | "disclosed/\(.[0][0][7:])" | select($files[.])
        | "fault erasures: (\(.)): the text is here, and a receipt says that it is erased")),
    (if $since == "" then empty else
      [$all[] | select(.phase == "erasure" and (.control | has("kind") | not))
        | . + {name: (.control.erasure | if type == "string" then . else "" end)}] | group_by(.name)[]
      | [.[] | select(.run | startswith("control:"))] as $told | [.[] | select(.run | startswith("control:") | not)] as $of
      | if ($told | length) == 0 then at($of[0]; "the control run tells of no such erasure")
        else ($told[1:][] | at(.; "told of before")),
          ($told[0] | . as $w | (.control.erased | spans) as $spans
            | ([$of[].control.texts | select(whole)] | add // 0) as $sum | ([$of[].run] | unique | length) as $runs
            | if ([.control.texts, .control.runs] | all(whole) | not) then at($w; "texts or runs are not counted")
              else (.control.texts - $sum) as $own
                | if $own < 0 or .control.runs != $runs + (if $own > 0 then 1 else 0 end) or $runs < ($of | length)
                    or ($spans != null and count($spans) != $own)
                  then at($w; "it counts other texts or runs than the runs themselves say") else empty end end)
        end end)' >"$work/erasures" 2>/dev/null || say "erasures: the receipts cannot be judged"
  sed -n 's/^fault //p' "$work/erasures" >>"$work/faults"
}
[ -s "$work/faults" ] || check_erasures

# --- checkpoint --------------------------------------------------------------------------------------------
size='' root=''
check_checkpoint() { # check_checkpoint FILE: sets size and root, and leaves the signed text in $work/note
  local file=$1 lines name_line encoded key_hash
  size='' root=''
  [ "$(wc -c <"$file")" -le 65536 ] && mapfile -t lines <"$file" || lines=()
  # SECURITY: each signature costs a process; 100 are the most that a note may have.
  if [ "${#lines[@]}" -lt 5 ] || [ "${#lines[@]}" -gt 104 ] || [ -n "${lines[3]}" ] || ! [[ ${lines[1]} =~ ^(0|[1-9][0-9]{0,15})$ ]]; then
    say "checkpoint: ($file): not a checkpoint"; return
  fi
  size=${lines[1]}
  root=$(decode "${lines[2]}" | hex)
  [ "$(decode "${lines[2]}" | openssl base64 -A)" = "${lines[2]}" ] \
    || say "checkpoint: ($file): the root hash is not canonical base64"
  if [ "${lines[0]}" != "$origin" ]; then
    say "checkpoint: ($file): of the log ${lines[0]}, not of $origin"; return
  fi
  printf '%s\n%s\n%s\n' "${lines[0]}" "${lines[1]}" "${lines[2]}" >"$work/note"
  newest=$(sed -n 's/^newest //p' "$work/chain") late=''
  for name_line in "${lines[@]:4}"; do
    [ "${name_line% *}" = $'\xe2\x80\x94'" $origin" ] || continue
    encoded=${name_line##* }
    decode "$encoded" >"$work/notesig"
    [ "$(openssl base64 -A -in "$work/notesig")" = "$encoded" ] || continue
    tail -c +5 "$work/notesig" >"$work/sig/note"
    for keyid in "${!log_of[@]}"; do
      pem=${log_of[$keyid]}
      key_hash=$({ printf '%s\n\x01' "$origin"; cat "${pem%.pem}.raw"; } | openssl dgst -sha256 -r | cut -c 1-8)
      [ "$(head -c 4 "$work/notesig" | hex)" = "$key_hash" ] || continue
      openssl pkeyutl -verify -rawin -pubin -inkey "$pem" -in "$work/note" -sigfile "$work/sig/note" >/dev/null 2>&1 || continue
      until=$(sed -n "s/^$keyid [^ ]* //p" "$work/periods")
      if [ "$file" = checkpoint.txt ] && [ -n "$until" ] && [[ $newest > $until ]]; then late=yes; continue; fi
      echo "checkpoint   log $origin of $size entries, signed by the log key ($file)"
      return
    done
  done
  if [ -n "$late" ]; then
    say "key-period: ($file): signed with a log key that was out of use when the last of these receipts was written"; return
  fi
  say "checkpoint: ($file): the log's signature is missing or does not hold"
}
older_root=''
if [ -n "$since" ] && [ "$since" != 0 ]; then
  if [ -f checkpoint.from.txt ]; then
    check_checkpoint checkpoint.from.txt
    older_root=$root
    [ "$size" = "$since" ] || say "complete: (checkpoint.from.txt): of another size than the manifest states"
  else
    say "complete: (checkpoint.from.txt): the older checkpoint is missing"
  fi
fi
size='' root=''
if [ -f checkpoint.txt ]; then
  check_checkpoint checkpoint.txt
  [ -z "$size" ] || [ "tenants ${origin##*/}" = "$(grep '^tenants ' "$work/chain")" ] \
    || say "checkpoint: the receipts are of another tenant"
fi

# --- those who watched the log: cosignatures (C2SP tlog-cosignature), timestamps (RFC 3161) ------------------
cosigned() { # cosigned VKEY: 0 where the checkpoint carries a cosignature of this key that holds; says each that does not
  local name=${1%%+*} rest=${1#*+} line seconds held=1
  decode "${rest#*+}" | tail -c +2 >"$work/cosigner.raw"
  { printf '\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00'; cat "$work/cosigner.raw"; } >"$work/cosigner.der"
  while IFS= read -r line; do
    [ "${line% *}" = $'\xe2\x80\x94'" $name" ] || continue
    decode "${line##* }" >"$work/cosig"
    [ "$(head -c 4 "$work/cosig" | hex)" = "${rest%%+*}" ] || continue
    seconds=0$(tail -c +5 "$work/cosig" | head -c 8 | hex)
    seconds=$((16#$seconds))
    tail -c 64 "$work/cosig" >"$work/sig/cosig"
    { printf 'cosignature/v1\ntime %d\n' "$seconds"; cat "$work/note"; } >"$work/cosigned"
    if [ "$(wc -c <"$work/cosig")" -eq 76 ] && [ "$seconds" -gt 0 ] && [ "$seconds" -lt 253402300799 ] \
      && openssl pkeyutl -verify -rawin -pubin -keyform DER -inkey "$work/cosigner.der" -in "$work/cosigned" \
        -sigfile "$work/sig/cosig" >/dev/null 2>&1; then
      held=0
    else
      say "witnesses: (checkpoint.txt): the cosignature of $name does not hold"
    fi
  done < <(tail -n +5 checkpoint.txt)
  return $held
}
unwitnessed='' unseen=yes
check_watchers() {
  local vkey found=0 monitors=0 asked stamp at
  while IFS= read -r vkey; do ! cosigned "$vkey" || found=$((found + 1)); done < <(trusted 'witness[_0-9]*')
  if [ "$witnesses" -gt 0 ]; then
    echo "witnesses    $found of $witnesses witnesses cosigned the checkpoint"
    if [ "$found" -ge "${quorum:-$witnesses}" ]; then unseen=''; else
      unwitnessed="the trust file asks for ${quorum:-$witnesses} witnesses, and $found cosigned"
    fi
  fi
  while IFS= read -r vkey; do ! cosigned "$vkey" || monitors=$((monitors + 1)); done < <(trusted 'monitor[_0-9]*')
  [ "$monitors" -eq 0 ] || echo "monitors     $monitors signed the checkpoint"
  if [ -s "$work/roots.pem" ] && [ -d timestamps ]; then
    found=0 asked=0
    for stamp in timestamps/*.tsr; do
      asked=$((asked + 1))
      # the authority's certificates need to have been valid then, not now
      at=$(openssl ts -reply -in "$stamp" -text 2>/dev/null | sed -n 's/^Time stamp: //p')
      at=$(jq -rn --arg at "$at" '$at | strptime("%b %d %H:%M:%S %Y GMT") | mktime' 2>/dev/null) || continue
      ! openssl ts -verify -data "$work/note" -in "$stamp" -CAfile "$work/roots.pem" -attime "$at" >/dev/null 2>&1 \
        || found=$((found + 1))
    done
    echo "timestamps   $found of $asked stamped the checkpoint, by an authority of the trust file"
    [ "$found" -gt 0 ] || say "timestamps: none holds under the roots of the trust file"
  fi
}
[ -z "$trust" ] || [ ! -f "$work/note" ] || [ -z "$size" ] || check_watchers

# --- inclusion: all receipts to one root, one openssl call a level --------------------------------------------
check_inclusion() {
  local level=0 left=$size
  if ! jq -e --argjson size "$size" '.size == $size and (.leaves | type == "object") and (.nodes | type == "object")
      and ([.leaves[]] | all(type == "number" and . >= 0 and . < $size and . == floor) and length == (unique | length))
      and ([.nodes[][]] | all(type == "string" and test("^[0-9a-f]{64}$")))' proofs.json >/dev/null 2>&1; then
    say "inclusion: (proofs.json): malformed, or of another tree size than the checkpoint"; return
  fi
  if ! jq -r '.leaves | keys[]' proofs.json | sort | comm -3 - "$work/members" | tr -d '\t' >"$work/unplaced"; then return; fi
  while IFS= read -r name; do say "inclusion: ($name): in the log or in the bundle, and not in both"; done <"$work/unplaced"
  [ ! -s "$work/unplaced" ] || return
  # a line a node of the level: its index, and what is to be hashed for it in hexadecimal
  jq -r --rawfile hashes "$work/hashes" '($hashes | split("\n") | map(select(. != "") | {key: .[65:], value: .[0:64]})
      | from_entries) as $hash | .leaves | to_entries[] | "\(.value) 00\($hash[.key])"' proofs.json >"$work/level"
  while :; do
    rm -rf "$work/nodes"
    mkdir "$work/nodes"
    grep -v = "$work/level" >"$work/hashed"
    # a node without a sibling moves up unchanged
    sed -n 's/^\([0-9]*\) =\(.*\)/\2 \1/p' "$work/level" >"$work/known"
    while read -r index escapes; do
      printf '%b' "$escapes" >"$work/nodes/$index"
    done < <(paste -d ' ' <(cut -d ' ' -f 1 "$work/hashed") <(cut -d ' ' -f 2 "$work/hashed" | sed 's/../\\x&/g'))
    (cd "$work/nodes" && find . -type f | sed 's|^\./||' | tr '\n' '\0' | xargs -0 -r openssl dgst -sha256 -r) \
      | sed 's/ \*/ /' >>"$work/known"
    [ "$left" -gt 1 ] || break
    if ! jq -rn --rawfile known "$work/known" --slurpfile proof proofs.json --arg level "$level" --argjson left "$left" '
        ($known | split("\n") | map(select(. != "") | {key: .[65:], value: .[0:64]}) | from_entries) as $known
        | ($proof[0].nodes[$level] // {}) as $given
        | ([$known | keys[] | tonumber | if . % 2 == 1 then . - 1 else . + 1 end | select(. < $left) | tostring
            | select($known[.] == null)] | unique) as $wanted
        | if ($given | keys) != $wanted then error("nodes")
          else ($known + $given) as $all | [$known | keys[] | tonumber / 2 | floor] | unique[]
            | . as $up | $all["\(2 * $up)"] as $l | $all["\(2 * $up + 1)"] as $r
            | if 2 * $up + 1 >= $left then "\($up) =\($l)" else "\($up) 01\($l)\($r)" end
          end' >"$work/level" 2>/dev/null; then
      say "inclusion: (proofs.json): the proof does not fit the tree"; return
    fi
    level=$((level + 1)) left=$(((left + 1) / 2))
  done
  if [ "$(jq --argjson level "$level" '[.nodes | keys[] | tonumber | select(. >= $level)] | length' proofs.json)" != 0 ]; then
    say "inclusion: (proofs.json): the proof holds nodes that are not needed"
  elif [ "$(cut -c 1-64 "$work/known")" = "$root" ]; then
    echo "inclusion    $total receipts lead to the root hash of the checkpoint"
  else
    say "inclusion: receipts and proof lead to another root hash than the checkpoint's: one was altered or never logged"
  fi
}
[ -z "$size" ] || [ ! -f proofs.json ] || check_inclusion

# --- completeness: every entry from the older checkpoint to this one ----------------------------------------------
check_complete() {
  local level node='' found=''
  jq -e --argjson since "$since" --argjson size "$size" \
    '(.leaves | length) == $size - $since and ([.leaves[]] | sort == [range($since; $size)])' proofs.json >/dev/null 2>&1 \
    || say "complete: (proofs.json): not every entry from $since to $size is here"
  for ((level = 0; since >> level > 0; level++)); do
    ((since >> level & 1)) || continue
    node=$(jq -r --arg level "$level" --arg index "$(((since >> level) - 1))" '.nodes[$level][$index] // ""' proofs.json)
    if [ -z "$found" ]; then found=$node; else
      found=$(printf '%b' "$(printf '%s' "01$node$found" | sed 's/../\\x&/g')" | openssl dgst -sha256 -r | cut -c 1-64)
    fi
  done
  [ "$found" = "$older_root" ] || say "complete: (checkpoint.from.txt): it is not the beginning of this log"
  echo "complete     all entries from $since to $size"
}
[ -z "$since" ] || [ -z "$size" ] || [ ! -f proofs.json ] || check_complete

# --- verdict ---------------------------------------------------------------------------------------------------
finish
sed -n -e 's/^unknown /unknown: /p' -e 's/^open /open question: /p' -e 's/^late /note: /p' "$work/chain" | printable
[ -z "$unwitnessed" ] || echo "open question: $unwitnessed"
[ -z "$near" ] || echo "open question: $near"
echo "not checked here: the rules of steps and approvals, and what decisions were asked; answerable-verify does"
echo "not shown by a pass: that what the gate was told was true, that its keys and its clock were kept right"
[ -z "$unseen" ] || echo "  and that others are shown the same log"
echo "not signed by anybody: report.html, and this script"
if [ -n "$unwitnessed$near" ] || grep -q '^open ' "$work/chain"; then
  echo "UNDETERMINED: nothing is wrong, and something cannot be told"
  exit 3
elif [ -z "$trust" ]; then
  echo "SELF-CONSISTENT ONLY: the keys are the bundle's own; give --trust FILE"
  exit 3
fi
echo "VERIFIED against $(basename "$trust")"
