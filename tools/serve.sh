#!/usr/bin/env bash
# A private instance under build/instance (or, where other users can't pass to there, /var/lib/sequester-try). Ctrl-C stops it.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/build
dir=$bin/instance
listen=${1:-127.0.0.1:8443}

# the processes run as users of their own: each directory above theirs must let them pass
reachable() { local d=$1; while [ "$d" != / ]; do [ -d "$d" ] && [ "$(( 0$(stat -c %a "$d") & 1 ))" = 0 ] && return 1; d=$(dirname "$d"); done; return 0; }
if [ "$(id -u)" = 0 ] && ! reachable "$bin"; then dir=/var/lib/sequester-try; fi

[ "$(id -u)" = 0 ] || {
    echo "serve: as an ordinary user the sandbox can't be started in this version; run it as root: sudo ./run serve" >&2
    exit 1
}
umask 022
[ -f "$dir/sequester.ini" ] || "$bin/sequester" init "$dir" --listen "$listen" --key-backend file >/dev/null
address=$(sed -n 's/^listen = //p' "$dir/sequester.ini")
cat <<TEXT
address      https://$address
CA file      $dir/tls/ca.crt
its log      $dir/log

make a user  build/sequester admin user add NAME --role user --run-dir $dir/run
a panel      build/sequester admin panel add 1kgp3-chr22 --name "1000 Genomes, chr22" --build hg19 \\
                 --panel tests/data/chr22-1kgp3-b37/ref.bcf --map tests/data/chr22-1kgp3-b37/chr22.b37.gmap.gz --run-dir $dir/run
get a token  build/sequester login --server https://$address --cacert $dir/tls/ca.crt --name NAME
then         build/sequester upload FILE; build/sequester submit --upload ID --panel 1kgp3-chr22; build/sequester help

Ctrl-C stops the server; what it holds stays under $dir.
TEXT
exec "$bin/sequester-parent" --config "$dir/sequester.ini" 2>>"$dir/log"
