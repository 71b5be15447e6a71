#!/usr/bin/env bash
# The main job on real data, from an empty machine to an erased result, against a private server. Last line: demo: OK
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
bin=$root/build
data=$root/tests/data/chr20-eur-b37
sequester=$bin/sequester

step() { printf '\n\033[1m%s\033[0m\n' "$*"; }
# as it can be typed again
show() {
    local word
    printf '  $'
    for word in "${@//$root\//}"; do
        case $word in *[!A-Za-z0-9_./:=,@+-]*) printf " '%s'" "$word" ;; *) printf ' %s' "$word" ;; esac
    done
    printf '\n'
}
run() { show "$@"; "$@" 2>&1 | sed 's/^/    /'; return "${PIPESTATUS[0]}"; }

# started as root the processes run as users of their own, and must be able to pass to their directories
work=$(mktemp -d /var/tmp/sequester-demo.XXXXXX)
[ "$(id -u)" != 0 ] || chmod 755 "$work"
parent=
finish() {
    code=$?
    [ -n "$parent" ] && kill "$parent" 2>/dev/null && wait "$parent" 2>/dev/null || true
    if [ $code != 0 ]; then
        echo "demo: FAILED (exit $code). The server's last lines:" >&2
        tail -25 "$work/log" >&2 || true
    fi
    rm -rf "$work"
    exit $code
}
trap finish EXIT INT TERM

json() { python3 -c 'import json,sys
v=json.load(sys.stdin)
for k in sys.argv[1:]: v=v[int(k)] if isinstance(v,list) else v[k]
print(v)' "$@"; }

port=$(python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])')
export SEQUESTER_SESSION=$work/session.json
hub=$work/hub

step "1. A private server: own CA, own keys, eight processes with $([ "$(id -u)" = 0 ] && echo rights || echo a task) of their own"
run "$sequester" init "$hub" --listen "127.0.0.1:$port" --key-backend file
"$bin/sequester-parent" --config "$hub/sequester.ini" >>"$work/log" 2>&1 </dev/null &
parent=$!
for _ in $(seq 300); do
    "$sequester" admin status --run-dir "$hub/run" 2>/dev/null | grep -q '^state *up' && break
    kill -0 "$parent" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
    sleep 0.1
done
run "$sequester" admin status --run-dir "$hub/run"
"$sequester" admin status --run-dir "$hub/run" --json >"$work/status.json"
ps -o uid,pid,args -p "$parent" --ppid "$parent" | sed 's/^/    /'

step "2. The operator makes an account and adds a reference panel (1000 Genomes, 300 Europeans, 3 Mb of chromosome 20)"
umask 077
python3 -c 'import secrets; print(secrets.token_urlsafe(18))' >"$work/password"
run "$sequester" admin user add ada --role user --password-file "$work/password" --run-dir "$hub/run"
run "$sequester" panel build "$data/ref.bcf" --map "$data/chr20.b37.gmap.gz" --build GRCh37 --out "$work/chr20.sqp"
run "$sequester" admin panel add 1kgp3-eur-chr20 --name "1000 Genomes phase 3, Europeans, 3 Mb of chr20" --panel "$work/chr20.sqp" --run-dir "$hub/run"

step "3. Ada signs in (TLS 1.3) and uploads array genotypes of 100 people, not phased: sealed as they arrive, read in a sandbox"
run "$sequester" login --server "https://127.0.0.1:$port" --cacert "$hub/tls/ca.crt" --name ada --password-file "$work/password"
run "$sequester" upload "$data/target.array.unphased.vcf.gz"
upload=$("$sequester" uploads --json | json data 0 id)

step "4. The job: quality control, phasing and imputation, each stage in a sandbox of its own without network"
show "$sequester" submit --upload "$upload" --panel 1kgp3-eur-chr20 --name demo
job=$("$sequester" submit --upload "$upload" --panel 1kgp3-eur-chr20 --name demo)
printf '    %s\n' "$job"
run "$sequester" status "$job" --watch

step "5. The result is sealed. Ada signs in again, gets a one-time password, and the package"
mkdir "$work/results"
run "$sequester" claim "$job" --download -o "$work/results" --password-file "$work/password" --password-out "$work/one-time"
package=$(ls "$work/results"/*.zip)
run "$sequester" decrypt "$package" -o "$work/opened" --password-file "$work/one-time"

step "6. How good is it? Against the true genotypes that were kept aside"
run python3 tools/score/score.py --truth "$data/truth.unphased.vcf.gz" --imputed "$work/opened/chr20.dose.vcf.gz" --panel "$data/ref.bcf" --min-agg 0.93 --min-site 0.77

step "7. Ada erases the job: keys destroyed, blocks overwritten and read back, receipts signed"
run "$sequester" delete "$job" --wait
run "$sequester" receipt "$job" -o "$work/receipt.txt"
show "$sequester" receipt verify "$work/receipt.txt"
"$sequester" receipt verify "$work/receipt.txt" >"$work/receipt.shown" || { cat "$work/receipt.shown"; exit 1; }
# the first receipt, then the job's own and the verdict
awk '/^receipt of/ {n++} n == 1' "$work/receipt.shown" | sed 's/^/    /'
echo "    ..."
sed -n '/^receipt of the whole job/,$p' "$work/receipt.shown" | sed 's/^/    /'
show "$sequester" download "$job" -o "$work/again.zip"
if "$sequester" download "$job" -o "$work/again.zip" >"$work/again" 2>&1; then echo "the result could still be downloaded" >&2; exit 1; fi
sed 's/^/    /' "$work/again"

step "8. The audit log: everything that happened, verifiable without any right on the server"
sleep 2 # the next checkpoint
"$sequester" audit key --json >"$work/key.json"
show "$sequester" audit tail "$job"
"$sequester" audit tail "$job" | awk '$3 != "view" {printf "    %-5s %s  %-18s %s\n", $1, $2, $3, $5}' # of each entry what tells the story
run "$sequester" audit verify --log "$hub/state/registrar/log" --vkey "$(json vkey <"$work/key.json")"
if LC_ALL=C grep -rqa "HG00096\|NA06989" "$hub/state"; then echo "a sample name was found on the server's disk" >&2; exit 1; fi

step "What this machine, started this way, doesn't let it promise"
python3 - "$work/status.json" <<'PYTHON'
import json, sys, textwrap
promises = json.load(open(sys.argv[1]))["promises"]
lost = [p for p in promises if not p["held"]]
print("    All %d promises that depend on the machine are held." % len(promises) if not lost else
      "    %d of %d promises that depend on the machine are held here. Not held:" % (len(promises) - len(lost), len(promises)))
for p in lost:
    for start, text in (("    - ", p["text"]), ("      why: ", p["why"]), ("      to have it: ", p["mend"])):
        print(textwrap.fill(text, 118, initial_indent=start, subsequent_indent="        "))
PYTHON

step "How to go on"
cat <<'TEXT'
    ./run serve                     a server to try by hand (the demo's is gone, with all that it held); it says how to make a user and sign in
    build/sequester help            all commands; each has --help with an example
    build/sequester impute --help   imputation on this machine, without a server
    docs/api.md                     the HTTPS interface, for scripts and curl
TEXT
echo
echo "demo: OK"
