#!/usr/bin/env bash
# A mesh as it is in the world: every machine has a namespace and a public address of its own, one is
# behind a router, settings are those of production, and payments go over the chain polygon-amoy, which
# anvil plays with the token at its place. Everybody is well, pages and a large file come through, and
# what was carried is paid ahead.
#
# usage: testnet/world.sh [--programs DIR]
#   --programs DIR  use masqd, masq and masq-testnet from there [default: target/release]
#
# Needs root, ip (iproute2), nft (nftables), curl, and anvil (MASQ_ANVIL, or in the path). Nothing
# leaves the namespaces.
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/testnet/namespaces.sh"

# Machine 0 has the web server and the chain, 1 is the seed, 2 a client, 3 the client behind a router,
# 4 to 8 relay, and 9 to 11 are exits.
readonly LAST=11 CLIENT=2 HOME_CLIENT=3

# chain METHOD...: `token` puts the token in its place, `fund WALLET...` gives 1,000 tokens and a coin.
chain() { on 0 python3 "$work/chain.py" "$top/testnet/contracts/TestToken.json" "$@"; }
cat >"$work/chain.py" <<'PYTHON'
import json, sys, time, urllib.request

# Where the token is on polygon-amoy, and anvil's first account, which is the faucet of the test token.
TOKEN = "0xd98c3EBd6B7f9b7cDa2449eCac00d1E5F47a8193"
FAUCET = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"


def rpc(method, *params):
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request("http://11.0.0.2:8545", body, {"content-type": "application/json"})
    answer = json.load(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10))
    if "error" in answer:
        sys.exit(f"{method}: {answer['error']}")
    return answer["result"]


def send(**fields):
    sent = rpc("eth_sendTransaction", {"from": FAUCET, "gas": hex(3_000_000), **fields})
    for _ in range(100):
        receipt = rpc("eth_getTransactionReceipt", sent)
        if receipt:
            assert receipt["status"] == "0x1", receipt
            return receipt
        time.sleep(0.1)
    sys.exit("a transaction does not get into a block")


artifact, method, *wallets = sys.argv[1:]
if method == "token":
    made = send(data=json.load(open(artifact))["bytecode"])["contractAddress"]
    rpc("anvil_setCode", TOKEN, rpc("eth_getCode", made, "latest"))
    # Anvil calls final what is 64 blocks old, and these have to be there.
    rpc("anvil_mine", hex(80))
for wallet in wallets:
    rpc("anvil_setBalance", wallet, hex(10**18))
    # mint(address,uint256)
    send(to=TOKEN, data="0x40c10f19" + wallet[2:].lower().zfill(64) + hex(1000 * 10**18)[2:].zfill(64))
PYTHON

# One network for each machine, as for nodes that have nothing to do with each other; all of them meet
# in one router.
machine middle
on middle sysctl -qw net.ipv4.ip_forward=1
for i in $(seq 0 $LAST); do
    machine "$i"
    cable "$i" wan "11.0.$i.2/24" middle "to$i" "11.0.$i.1/24"
    way "$i" "11.0.$i.1"
done
# Machine 3 is the router of a home, which maps nothing.
machine home
cable home lan 192.168.77.2/24 $HOME_CLIENT inside 192.168.77.1/24
way home 192.168.77.1
on $HOME_CLIENT sysctl -qw net.ipv4.ip_forward=1
on $HOME_CLIENT nft -f - <<'RULES'
table inet nat {
    chain postrouting { type nat hook postrouting priority 100; oifname "wan" masquerade; }
    chain forward {
        type filter hook forward priority 0; policy drop;
        ct state established,related accept
        iifname "inside" accept
    }
}
RULES

# The chain, from the block in which the token came to be. The token's code is that of the test token.
start 0 web masq-testnet serve-web --listen 11.0.0.2:80
start 0 chain "${MASQ_ANVIL:-anvil}" --chain-id 80002 --number 5323366 --block-time 1 --host 11.0.0.2
within 20 on 0 bash -c 'exec 3<>/dev/tcp/11.0.0.2/8545' || fail 'anvil does not answer'
chain token

wallets=()
for name in $(seq 1 $LAST) home; do
    [ "$name" = $HOME_CLIENT ] && continue
    made=$(masq --data-dir "$work/$name" --json wallet generate --no-password --written-down)
    wallets+=("$(sed -n 's/.*"consuming": *"\(0x[0-9a-fA-F]*\)".*/\1/p' <<<"$made" | head -n 1)")
done
chain fund "${wallets[@]}"
say "a chain, and $((LAST)) wallets with 1,000 tokens each"

node=(masqd --chain polygon-amoy --rpc http://11.0.0.2:8545)
serving=(--mode serve-only --socks off --http off)
start 1 1 "${node[@]}" --data-dir "$work/1" "${serving[@]}"
within 20 ask 1 descriptor || fail 'the seed has no descriptor'
seed=$(ask 1 descriptor)
for name in $(seq 2 $LAST) home; do
    case $name in
        "$HOME_CLIENT") continue ;;
        "$CLIENT" | home) more=() ;;
        9 | 10 | 11) more=("${serving[@]}" --exit) ;;
        *) more=("${serving[@]}") ;;
    esac
    start "$name" "$name" "${node[@]}" --data-dir "$work/$name" --neighbours "$seed" "${more[@]}"
done

# get MACHINE PATH: by the SOCKS proxy of its node.
get() { on "$1" curl -sS --fail --max-time 60 --socks5-hostname 127.0.0.1:1080 "http://11.0.0.2$2"; }
for name in $CLIENT home; do
    within 40 get "$name" /whoami || fail "$name: no page within 40 s"
    seen=$(get "$name" /whoami)
    [[ $seen =~ ^11\.0\.(9|10|11)\.2 ]] || fail "$name: the server saw $seen, which is no exit"
    say "$name: the server saw $seen"
done

# A large file takes more than strangers get on trust: hops are prepaid from the default budget
# meanwhile. Programs try again, as a browser does.
large() {
    local sha head=$work/head.$1
    sha=$(on "$1" curl -sS --fail --max-time 120 -D "$head" --socks5-hostname 127.0.0.1:1080 \
        http://11.0.0.2/bytes/60000000 | sha256sum | cut -d ' ' -f 1)
    [ "$sha" = "$(sed -n 's/^x-content-sha256: \([0-9a-f]*\).*/\1/Ip' "$head")" ]
}
for name in $CLIENT home; do
    within 120 large "$name" || fail "$name: no large file: $(ask "$name" payments status || true)"
    say "$name: 60 MB with the right hash; $(ask "$name" financials | sed -n 's/^ *paid ahead */paid ahead: /p')"
done

# Nobody has a fault; but that there is no name server here, and that the home's router maps nothing.
for name in $(seq 1 $LAST) home; do
    [ "$name" = $HOME_CLIENT ] && continue
    found=$(ask "$name" doctor || true)
    expected=resolver
    [ "$name" = home ] && expected='router|reachability'
    if grep -E '^ *FAULT' <<<"$found" | grep -qvE "FAULT +($expected)"; then fail "$name: $found"; fi
done
say 'every node is well'
