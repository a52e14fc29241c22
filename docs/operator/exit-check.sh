#!/usr/bin/env bash
# Walks the steps of exit.md on one machine: takes configuration and unit out of
# the page, adapts what has to be changed there (network, neighbour, addresses,
# folder), and joins the exit to a testnet that has no other one. A page fetched
# there can only have gone through it.
#
# usage: docs/operator/exit-check.sh [FOLDER WITH masqd, masq AND masq-testnet]
#        [default: target/release]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
bin=$(cd "${1:-$here/../../target/release}" && pwd)
page=$here/exit.md
work=$(mktemp -d)
exit_pid= up=false
finish() {
    code=$?
    set +e
    [ -n "$exit_pid" ] && kill "$exit_pid" 2>/dev/null && wait "$exit_pid" 2>/dev/null
    $up && "$bin/masq-testnet" down --dir "$work/net" >/dev/null
    if [ "$code" = 0 ]; then rm -rf "$work"; else echo "exit-check: logs are in $work" >&2; fi
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM
say() { echo "exit-check: $*"; }
die() { say "$*" >&2; exit 1; }
field() { python3 -c 'import json, sys
value = json.load(sys.stdin)
for key in sys.argv[1].split("."): value = value[key]
print(value)' "$1"; }

# The block of the page in this language.
block() { awk -v start="\`\`\`$1" '$0 == start { on = 1; next } /^```$/ { on = 0 } on' "$page"; }

# Step 3: the page's configuration is complete, apart from what must be changed.
block toml >"$work/as-written.toml"
grep -q '^exit  *= true' "$work/as-written.toml" || die "no configuration in exit.md"
if "$bin/masqd" --config "$work/as-written.toml" --check-config >"$work/check" 2>&1; then
    die "the placeholder of the neighbour passed the check"
fi
grep -q neighbours "$work/check" || { cat "$work/check" >&2; die "the check does not name the setting"; }
say "the configuration, unchanged, is refused for its placeholder"

# Step 5: the unit's syntax, where systemd is there to judge it.
block ini | sed "s|/usr/local/bin/masqd|$bin/masqd|; s/^User=.*/User=$(id -un)/" >"$work/masqd.service"
if command -v systemd-analyze >/dev/null; then
    systemd-analyze verify "$work/masqd.service" 2>&1 | grep "$work/masqd.service" && die "systemd complains"
    say "systemd takes the unit"
fi

"$bin/masq-testnet" up --chain none --nodes 6 --exits 0 --detach --dir "$work/net" --ready neighbours \
    --socks 127.0.0.1:0 --http 127.0.0.1:0 >"$work/up" 2>&1 || { cat "$work/up" >&2; die "no testnet"; }
up=true
"$bin/masq-testnet" status --dir "$work/net" --json >"$work/status"
seed=$(field seed <"$work/status")
socks=$(field socks <"$work/status")
web=http://localhost:$(field web_port <"$work/status")
say "a testnet without an exit is up"
if curl -sS --max-time 10 --proxy "socks5h://$socks" "$web/" >/dev/null 2>"$work/no-exit"; then
    die "a page came through a mesh without an exit"
fi
say "no page without an exit: $(head -n 1 "$work/no-exit")"

# Steps 2 and 3 with what belongs to this machine.
mkdir -m 0700 "$work/data"
address=127.$((RANDOM % 200 + 20)).$((RANDOM % 250)).9
sed -e 's|^chain .*|chain = "dev"|' \
    -e 's|^rpc .*|payments = false|' \
    -e '/^earning_wallet /d' \
    -e "s|^data_dir .*|data_dir = \"$work/data\"|" \
    -e "s|^neighbours .*|neighbours = [\"$seed\"]|" \
    -e "s|^listen .*|listen = [\"$address:6277\"]|" \
    -e "s|^advertise .*|advertise = \"$address\"|" \
    -e 's|^exit_policy .*|exit_policy = ["accept 127.0.0.1:*", "accept [::1]:*", "reject *:*"]|' \
    "$work/as-written.toml" >"$work/exit.toml"
"$bin/masqd" --config "$work/exit.toml" --check-config
"$bin/masqd" --config "$work/exit.toml" >"$work/exit.log" 2>&1 &
exit_pid=$!

# Step 6.
masq() { "$bin/masq" --data-dir "$work/data" "$@"; }
for _ in $(seq 60); do
    kill -0 "$exit_pid" 2>/dev/null || { cat "$work/exit.log" >&2; die "the exit ended"; }
    stage=$(masq status --json 2>/dev/null | field stage 2>/dev/null || true)
    case $stage in connected-to-neighbour | route-found) break ;; esac
    sleep 0.5
done
masq status
case $stage in connected-to-neighbour | route-found) ;; *) die "the exit did not join" ;; esac
masq descriptor | grep -q '^masq://dev:' || die "no descriptor"
(exec 3<>"/dev/tcp/$address/6277") || die "the exit's port does not answer"

for _ in $(seq 60); do
    page_text=$(curl -sS --fail --max-time 10 --proxy "socks5h://$socks" "$web/" 2>"$work/why" || true)
    [[ $page_text == *'It works'* ]] && break
    sleep 1
done
[[ $page_text == *'It works'* ]] || { cat "$work/why" >&2; die "no page through the exit within a minute"; }
say "a page came through the exit"
opened=$(masq status --json | field flows.exit_opened)
[ "$opened" -ge 1 ] || die "the exit counts no flow"

# Afterwards: a stop drains and ends with 0.
kill -TERM "$exit_pid"
wait "$exit_pid" || die "the exit did not stop cleanly"
exit_pid=
say "the exit stopped as asked; all steps work"
