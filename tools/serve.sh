#!/usr/bin/env bash
# A private instance under build/instance (or, where that can't be: /var/lib/sequester-try, ~/.local/state/sequester-try). Ctrl-C stops it.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/build
dir=$bin/instance
listen=${1:-127.0.0.1:8443}

# the processes run as users of their own: each directory above theirs must let them pass
reachable() { local d=$1; while [ "$d" != / ]; do [ -d "$d" ] && [ "$(( 0$(stat -c %a "$d") & 1 ))" = 0 ] && return 1; d=$(dirname "$d"); done; return 0; }
if [ "$(id -u)" = 0 ] && ! reachable "$bin"; then dir=/var/lib/sequester-try; fi

# a socket's path is short: a checkout deep down has its server in the user's own place
if [ "$(id -u)" != 0 ]; then
    umask 077
    [ ${#dir} -le 80 ] || dir=${XDG_STATE_HOME:-$HOME/.local/state}/sequester-try
    mkdir -p "$(dirname "$dir")"
else
    umask 022
fi
[ -f "$dir/sequester.ini" ] || "$bin/sequester" init "$dir" --listen "$listen" --key-backend file >/dev/null
address=$(sed -n 's/^listen = //p' "$dir/sequester.ini")
cat <<TEXT
address      https://$address
CA file      $dir/tls/ca.crt
its log      $dir/log

make a user  build/sequester admin user add NAME --role user --run-dir $dir/run
a panel      build/sequester panel build tests/data/chr22-1kgp3-b37/ref.bcf --map tests/data/chr22-1kgp3-b37/chr22.b37.gmap.gz --build GRCh37 --out chr22.sqp
             build/sequester admin panel add 1kgp3-chr22 --name "1000 Genomes, chr22" --panel chr22.sqp --run-dir $dir/run
sign in      build/sequester login --server https://$address --cacert $dir/tls/ca.crt --name NAME
a job        build/sequester upload tests/data/chr22-1kgp3-b37/target.array.unphased.vcf.gz
             build/sequester submit --upload ID --panel 1kgp3-chr22; build/sequester status JOB --watch
its result   build/sequester claim JOB --download -o results --password-out result.password
             build/sequester decrypt results/JOB.zip -o opened --password-file result.password; build/sequester help

promises     build/sequester admin status --run-dir $dir/run
             says which of them can't be held here: started as $(id -un), on this machine

Ctrl-C stops the server; what it holds stays under $dir.
TEXT
exec "$bin/sequester-parent" --config "$dir/sequester.ini" 2>>"$dir/log"
