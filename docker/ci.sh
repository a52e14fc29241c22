#!/usr/bin/env bash
# Builds static programs, an image without a base, and a mesh of containers;
# fetches through three of them, a gigabyte slowly while no container may use
# more than 150 MB of memory; takes everything down again.
#
# usage: docker/ci.sh [--programs DIR] [--relays N]
#   --programs DIR  use masqd, masq and masq-testnet from there instead of
#                   building them
#   --relays N      relays in the mesh [default: 6; containers: N + 8]
#
# Where no engine answers, one is started by hand and stopped at the end;
# missing packages are installed where apt-get and the right to use it are there.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")
programs='' relays=6 consumers=3 exits=3
while [ $# -gt 0 ]; do
    case $1 in
        --programs) programs=$2; shift ;;
        --relays) relays=$2; shift ;;
        *) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 64 ;;
    esac
    shift
done

say() { echo "docker/ci.sh: $*"; }
work=$(mktemp -d)
# A project and ports of its own, so that a mesh of the user's is left alone.
project=masqci$$
export MASQ_IMAGE=masq:ci-$$ MASQ_SOCKS=21080-21099 MASQ_HTTP=28118-28137
engine_pids=() compose=() up=false

finish() {
    local code=$?
    set +e
    if $up; then
        if [ "$code" != 0 ]; then
            "${compose[@]}" ps
            "${compose[@]}" logs --tail 20
        fi
        "${compose[@]}" down --timeout 15 --volumes >/dev/null 2>&1
    fi
    docker image rm "$MASQ_IMAGE" >/dev/null 2>&1
    # The last started first: dockerd before containerd.
    local i
    for ((i = ${#engine_pids[@]} - 1; i >= 0; i--)); do
        kill "${engine_pids[i]}" 2>/dev/null
        wait "${engine_pids[i]}" 2>/dev/null
    done
    rm -rf "$work"
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

have() { command -v "$1" >/dev/null 2>&1; }

install_tools() {
    local missing=()
    have docker && { have dockerd || docker version >/dev/null 2>&1; } || missing+=(docker.io)
    have docker-compose || docker compose version >/dev/null 2>&1 || missing+=(docker-compose)
    have iptables || missing+=(iptables)
    have curl || missing+=(curl)
    [ ${#missing[@]} = 0 ] && return
    have apt-get || { say "not installed: ${missing[*]}" >&2; exit 69; }
    say "installing ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

start_engine() {
    docker info >/dev/null 2>&1 && return
    say "starting containerd and dockerd"
    if [ ! -S /run/containerd/containerd.sock ]; then
        containerd >"$work/containerd.log" 2>&1 &
        engine_pids+=($!)
        for _ in $(seq 100); do [ -S /run/containerd/containerd.sock ] && break; sleep 0.1; done
    fi
    dockerd >"$work/dockerd.log" 2>&1 &
    engine_pids+=($!)
    for _ in $(seq 300); do
        docker info >/dev/null 2>&1 && return
        kill -0 "${engine_pids[-1]}" 2>/dev/null || break
        sleep 0.1
    done
    tail -n 20 "$work/dockerd.log" >&2
    say "no engine" >&2
    exit 69
}

build_programs() {
    [ -n "$programs" ] && return
    local target
    target=$(rustc -vV | sed -n 's/^host: //p')
    say "building static programs for $target"
    (cd "$top" && RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --locked \
        --target "$target" -p masq --bin masqd --bin masq -p masq-testnet --bin masq-testnet)
    programs=${CARGO_TARGET_DIR:-$top/target}/$target/release
}

build_image() {
    mkdir -p "$work/context/data"
    local program
    for program in masqd masq masq-testnet; do
        cp "$programs/$program" "$work/context/"
        if ldd "$programs/$program" 2>/dev/null | grep -q '=>'; then
            say "$program is not static" >&2
            exit 1
        fi
    done
    say "building the image"
    docker build -q -f "$here/Dockerfile.prebuilt" -t "$MASQ_IMAGE" "$work/context" >/dev/null
    docker run --rm "$MASQ_IMAGE" --version
}

# fetch CONSUMER: by both proxies of one consumer.
fetch() {
    local address page sha
    address=$(docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$1")
    page=$(curl -sS --fail --max-time 10 --proxy "socks5h://$address:1080" http://web:8000/) || return 1
    [[ $page == *'It works'* ]] || { say "another page than expected: $page" >&2; return 1; }
    sha=$(curl -sS --fail --max-time 20 -D "$work/head" --proxy "http://$address:8118" \
        http://web:8000/bytes/5000000 | sha256sum | cut -d ' ' -f 1) || return 1
    grep -qi "^x-content-sha256: $sha" "$work/head" || { say "the hash differs" >&2; return 1; }
    say "$1: page and 5 MB with the right hash; the server saw $(
        curl -sS --fail --max-time 10 --proxy "socks5h://$address:1080" http://web:8000/whoami)"
}

# until_fetched CONSUMER: tries until it works or 60 s have passed since the
# last container started.
until_fetched() {
    while :; do
        fetch "$1" 2>"$work/why" && return
        if [ $(($(date +%s) - started)) -gt 60 ]; then
            cat "$work/why" >&2
            say "$1 does not serve within 60 s" >&2
            exit 1
        fi
        sleep 1
    done
}

# A gigabyte by a reader slower than the mesh, who stops for a while in its midst: whatever is
# under way has to wait where it is, and no process may hold more than the limit (S19).
LIMIT=150m
slow_gigabyte() {
    local address sha expected ids peak most=0
    mapfile -t ids < <("${compose[@]}" ps -q)
    docker update --memory "$LIMIT" --memory-swap "$LIMIT" "${ids[@]}" >/dev/null
    address=$(docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$1")
    sha=$(curl -sS --fail --max-time 300 --limit-rate 30M -D "$work/head" \
        --proxy "socks5h://$address:1080" http://web:8000/bytes/1000000000 |
        { head -c 300000000; sleep 10; cat; } | sha256sum | cut -d ' ' -f 1)
    expected=$(sed -n 's/^x-content-sha256: \([0-9a-f]*\).*/\1/Ip' "$work/head")
    [ -n "$expected" ] && [ "$sha" = "$expected" ] || { say "the gigabyte came with $sha, not $expected" >&2; exit 1; }
    for id in "${ids[@]}"; do
        [ "$(docker inspect -f '{{.State.OOMKilled}} {{.RestartCount}}' "$id")" = 'false 0' ] ||
            { say "$(docker inspect -f '{{.Name}}' "$id") needed more than $LIMIT of memory" >&2; exit 1; }
        peak=$(cat /sys/fs/cgroup/memory/docker/"$id"/memory.max_usage_in_bytes \
            /sys/fs/cgroup/system.slice/docker-"$id".scope/memory.peak 2>/dev/null || true)
        [ "${peak:-0}" -gt "$most" ] && most=$peak
    done
    say "a gigabyte with the right hash, read slowly, with $LIMIT for each container; the most that one used: $((most / 1000000)) MB"
}

install_tools
if have docker-compose; then compose=(docker-compose); else compose=(docker compose); fi
compose+=(-p "$project" -f "$top/testnet/compose.yaml")
"${compose[@]}" config -q
start_engine
build_programs
build_image

say "starting $((relays + exits + consumers + 2)) containers"
up=true
"${compose[@]}" up --no-build --detach \
    --scale relay="$relays" --scale exit="$exits" --scale consumer="$consumers" >"$work/up.log" 2>&1 ||
    { cat "$work/up.log" >&2; exit 1; }
started=$(date +%s)
mapfile -t ids < <("${compose[@]}" ps -q consumer)
[ ${#ids[@]} = "$consumers" ] || { say "only ${#ids[@]} consumers" >&2; exit 1; }
for id in "${ids[@]}"; do
    until_fetched "$(docker inspect -f '{{slice .Name 1}}' "$id")"
done
published=$(docker port "${ids[0]}" 1080/tcp | head -n 1)
curl -sS --fail --max-time 10 -o /dev/null --proxy "socks5h://$published" http://web:8000/
say "the published port $published serves too"
slow_gigabyte "${ids[0]}"

running=$("${compose[@]}" ps -q | xargs docker inspect -f '{{.State.Running}}' | grep -c true)
[ "$running" = $((relays + exits + consumers + 2)) ] || { say "only $running containers still run" >&2; exit 1; }
"${compose[@]}" down --timeout 15 --volumes >"$work/down.log" 2>&1
up=false
[ -z "$(docker ps -aq --filter "label=com.docker.compose.project=$project")" ] || { say "containers are left" >&2; exit 1; }
say "all right: $running containers, three fetched through, nothing left"
