#!/usr/bin/env bash
# A node at home behind a real router (miniupnpd, in namespaces of this script's own): each protocol
# makes a mapping, a neighbour outside dials the node through it, and it is gone after the stop.
#
# usage: testnet/home-router.sh [--programs DIR]
#   --programs DIR  use masqd and masq from there [default: target/release]
#
# Needs root, ip (iproute2), nft (nftables) and miniupnpd. Nothing leaves the namespaces.
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/testnet/namespaces.sh"

# The home is 192.168.77.0/24. Outside has addresses that count as public: a router with a private or
# a documentation address outside maps nothing.
for name in home router world; do machine $name; done
cable home home0 192.168.77.2/24 router inside0 192.168.77.1/24
cable world world0 9.9.0.2/24 router outside0 9.9.0.1/24
way home 192.168.77.1
on router sysctl -qw net.ipv4.ip_forward=1
on router nft -f - <<'RULES'
table inet filter {
    chain forward {
        type filter hook forward priority 0; policy drop;
        ct state established,related accept
        iifname "inside0" accept
        jump miniupnpd
    }
    chain miniupnpd { }
}
table inet nat {
    chain prerouting { type nat hook prerouting priority -100; jump mapped; }
    chain mapped { }
    chain postrouting {
        type nat hook postrouting priority 100;
        oifname "outside0" masquerade
        jump mapped_back
    }
    chain mapped_back { }
}
RULES
cat >"$work/router.conf" <<'CONF'
ext_ifname=outside0
listening_ip=inside0
enable_natpmp=yes
enable_upnp=yes
secure_mode=yes
uuid=00000000-0000-0000-0000-000000000001
upnp_table_name=filter
upnp_nat_table_name=nat
upnp_forward_chain=miniupnpd
upnp_nat_chain=mapped
upnp_nat_postrouting_chain=mapped_back
allow 1024-65535 0.0.0.0/0 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
CONF
start router router miniupnpd -d -f "$work/router.conf" -P "$work/router.pid"

# A chain other than dev, where routers are asked; without payments it is never spoken to.
node=(masqd --chain base-sepolia --payments=false --socks off --http off)
start world seed "${node[@]}" --data-dir "$work/world"
within 20 ask world descriptor || fail 'the node outside has no descriptor'
seed=$(ask world descriptor)

mapped() { on router nft list chain inet nat mapped | grep -q 'dport 6277 dnat'; }
unmapped() { ! mapped; }
# It ends with 1 for faults, and in a mesh of two without an exit there is one.
doctor() { ask home doctor || true; }
reached() { doctor | grep -q 'ok *reachability *A neighbour has dialled this node'; }

for protocol in pcp pmp igdp auto; do
    start home home "${node[@]}" --data-dir "$work/home" --neighbours "$seed" --mapping-protocol $protocol
    within 20 mapped || fail "$protocol: the router has no mapping"
    within 20 reached || fail "$protocol: no neighbour reached the node: $(doctor)"
    descriptor=$(ask home descriptor)
    [[ $descriptor == *@9.9.0.1:6277* ]] || fail "$protocol: the descriptor does not name the router's address"
    said=$(doctor | grep -o 'The router sends .*') || fail "$protocol: the doctor does not tell of the mapping"
    kill -INT "${started[-1]}"
    wait "${started[-1]}" || fail "$protocol: the node did not end well"
    unset 'started[-1]'
    within 5 unmapped || fail "$protocol: the mapping outlives the node"
    rm -rf "$work/home"
    say "$protocol: $said A neighbour came through it, and it is gone with the node."
done
