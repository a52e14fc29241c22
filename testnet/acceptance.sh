#!/usr/bin/env bash
# Ordinary programs through a mesh of ten nodes: curl, git, nc and raw TCP
# against nginx and some misbehaving servers, by SOCKS5 and by HTTP proxy. Each
# case has its expected outcome and a time limit. Exit code 0 only if all are
# right.
#
# usage: testnet/acceptance.sh [--testnet PATH] [--nodes N] [--size MB] [--direct]
#   --testnet PATH  the masq-testnet to use [default: target/release/masq-testnet]
#   --nodes N       nodes of the mesh [default: 10]
#   --size MB       size of the large object [default: 500]
#   --direct        no mesh and no proxies: the same cases straight to the servers,
#                   to see that the cases themselves are right
#
# Needs nginx, curl, git, python3. Touches nothing outside a temporary folder.
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
testnet=$here/../target/release/masq-testnet
nodes=10
size_mb=500
direct=false
while [ $# -gt 0 ]; do
    case $1 in
        --testnet) testnet=$2; shift ;;
        --nodes) nodes=$2; shift ;;
        --size) size_mb=$2; shift ;;
        --direct) direct=true ;;
        *) sed -n '2,16s/^# \{0,1\}//p' "$0"; exit 64 ;;
    esac
    shift
done
# Settings of the caller's own must not bend the cases.
unset http_proxy https_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_TERMINAL_PROMPT=0

for tool in nginx curl git python3 sha256sum timeout xargs; do
    command -v "$tool" >/dev/null || PATH=$PATH:/usr/sbin
    command -v "$tool" >/dev/null || { echo "acceptance: $tool is not installed" >&2; exit 69; }
done

work=$(mktemp -d)
nginx_pid= servers_pid= up=false failed=0 passed=0
finish() {
    $up && "$testnet" down --dir "$work/net" >/dev/null
    [ -n "$servers_pid" ] && kill "$servers_pid" 2>/dev/null
    [ -n "$nginx_pid" ] && kill "$nginx_pid" 2>/dev/null
    wait 2>/dev/null
    if [ "$failed" = 0 ]; then rm -rf "$work"; else echo "kept for looking at: $work"; fi
}
trap finish EXIT
trap 'exit 130' INT TERM

# --- servers ----------------------------------------------------------------

free_port() {
    python3 -c 'import socket
s = socket.socket(socket.AF_INET6); s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.bind(("::", 0)); print(s.getsockname()[1])'
}
port=$(free_port)
www=$work/www
mkdir -p "$www/small" "$www/upload" "$work/tmp" "$work/out"
echo "a small page" >"$www/index.html"
head -c "${size_mb}000000" /dev/urandom >"$www/big"
big_sha=$(sha256sum <"$www/big")
for n in $(seq 0 999); do echo "object $n of this run: $RANDOM$RANDOM" >"$www/small/$n"; done
git init -q --bare "$www/repo.git"
git init -q -b main "$work/tree"
head -c 3000000 /dev/urandom >"$work/tree/data"
git -C "$work/tree" add data
git -C "$work/tree" -c user.name=a -c user.email=a@b -c commit.gpgsign=false commit -qm one
git -C "$work/tree" push -q "$www/repo.git" main
git -C "$www/repo.git" symbolic-ref HEAD refs/heads/main
git -C "$www/repo.git" update-server-info

listen_v6=
if python3 -c 'import socket; socket.socket(socket.AF_INET6).bind(("::1", 0))' 2>/dev/null; then
    listen_v6="listen [::1]:$port;"
fi
cat >"$work/nginx.conf" <<CONF
daemon off;
worker_processes 1;
pid $work/nginx.pid;
error_log $work/nginx.log;
events { worker_connections 4096; }
http {
    access_log off;
    sendfile on;
    tcp_nodelay on;
    keepalive_requests 100000;
    client_max_body_size 0;
    client_body_temp_path $work/tmp/body;
    proxy_temp_path $work/tmp/proxy;
    fastcgi_temp_path $work/tmp/fastcgi;
    uwsgi_temp_path $work/tmp/uwsgi;
    scgi_temp_path $work/tmp/scgi;
    server {
        listen 127.0.0.1:$port;
        $listen_v6
        root $www;
        location / { }
        location /upload/ { dav_methods PUT; }
        location /page-404 { return 404 "not here\n"; }
    }
}
CONF
[ "$(id -u)" = 0 ] && sed -i "1i user root;" "$work/nginx.conf"
nginx -p "$work" -e "$work/nginx.log" -c "$work/nginx.conf" &
nginx_pid=$!
mkfifo "$work/hold"
sleep 100000 >"$work/hold" &
hold_pid=$!
python3 "$here/acceptance/servers.py" <"$work/hold" >"$work/ports" &
servers_pid=$!
trap 'kill "$hold_pid" 2>/dev/null; finish' EXIT
for _ in $(seq 100); do
    curl -s -o /dev/null "http://127.0.0.1:$port/" && grep -q sha256 "$work/ports" && break
    sleep 0.1
done
server() { awk -v name="$1" '$1 == name { print $2 }' "$work/ports"; }
[ -n "$(server chunked_sha256)" ] || { echo "acceptance: the servers did not start" >&2; exit 1; }

# --- the mesh ---------------------------------------------------------------

if $direct; then
    socks='' http=''
else
    "$testnet" up --nodes "$nodes" --detach --dir "$work/net" \
        --socks 127.0.0.1:0 --http 127.0.0.1:0 >"$work/up" 2>"$work/up.err" ||
        { cat "$work/up" "$work/up.err"; failed=1; exit 1; }
    up=true
    read -r socks http < <("$testnet" status --dir "$work/net" --json |
        python3 -c 'import json, sys; s = json.load(sys.stdin); print(s["socks"], s["http"])')
fi

# --- running cases ----------------------------------------------------------

# run NAME LIMIT SCRIPT: SCRIPT is a line of bash that is true when all is well.
# $p are curl's proxy arguments, $way is the way for tcp.py.
run() {
    local name=$1 limit=$2 script=$3 start end outcome
    start=$(date +%s.%N)
    export work www port p way here big_sha socks http
    if timeout -k 5 "$limit" bash -c "set -o pipefail; $helpers; $script" >"$work/case.out" 2>&1; then
        outcome=ok; passed=$((passed + 1))
    else
        outcome=FAIL; failed=$((failed + 1))
    fi
    end=$(date +%s.%N)
    printf '%-5s %-44s %7.2f s of %3d s\n' "$outcome" "$name" "$(echo "$end $start" | awk '{ print $1 - $2 }')" "$limit"
    [ "$outcome" = ok ] || sed 's/^/        /' "$work/case.out" | head -n 20
}
# Helpers of the cases: fetch, and the outcome of a fetch that must fail.
helpers=$(cat <<'EOS'
get() { curl -sS --fail --max-time 60 $p "$@"; }
# ends CODES STATUSES ARGS: curl ends with one of the exit codes, or else with
# exit code 0 and one of the HTTP statuses.
ends() {
    local codes=$1 statuses=$2 status code; shift 2
    status=$(curl -sS --max-time 30 -o /dev/null -w '%{http_code} %{http_connect}' $p "$@"); code=$?
    echo "curl ended with $code, status $status"
    case " $codes " in *" $code "*) return 0 ;; esac
    [ "$code" = 0 ] && for s in $statuses; do case " $status " in *" $s "*) return 0 ;; esac; done
    return 1
}
EOS
)

# cases NAME HOST: everything that each way must carry. HOST is how the way
# writes the loopback address.
cases() {
    local name=$1 host=$2
    local web="http://$host:$port"
    echo "--- $name"
    run "small page" 5 "[ \"\$(get $web/)\" = 'a small page' ]"
    run "status of the server comes through" 5 "ends '' 404 $web/page-404"
    run "keep-alive: three requests, one connection" 10 \
        "[ \"\$(get -o /dev/null -o /dev/null -o /dev/null -w '%{num_connects}\n' $web/ $web/small/1 $web/small/2 | awk '{ n += \$1 } END { print n }')\" = 1 ]"
    run "chunked" 20 "get http://127.0.0.1:$(server chunked)/ | sha256sum | grep -q $(server chunked_sha256)"
    run "a server that trickles: first line at once" 10 \
        "get -N http://127.0.0.1:$(server trickle)/ | { read -r line; [ \"\$line\" = 'line 0' ] && [ \$SECONDS -le 1 ] && [ \"\$(tail -n 1)\" = 'line 19' ]; }"
    run "a server that resets midway" 10 "ends '18 56' '' http://127.0.0.1:$(server reset_midway)/"
    run "a server that resets at once" 10 "ends '7 52 55 56 97' '502 503' http://127.0.0.1:$(server reset_at_once)/"
    run "a closed port" 10 "ends '7 97 56' '502 503' http://127.0.0.1:$(server closed)/"
    run "download of $size_mb MB, SHA-256" 250 "[ \"\$(get --max-time 250 $web/big | sha256sum)\" = \"\$big_sha\" ]"
    run "upload of $size_mb MB, SHA-256" 250 \
        "rm -f \$www/upload/big; get --max-time 250 -T \$www/big $web/upload/big && [ \"\$(sha256sum <\$www/upload/big)\" = \"\$big_sha\" ]"
    run "1,000 small fetches in parallel" 120 \
        "rm -rf \$work/out; mkdir \$work/out; seq 0 999 | xargs -P 100 -I{} curl -sS --fail --max-time 60 \$p -o \$work/out/{} $web/small/{} && diff -rq \$www/small \$work/out"
}

# raw NAME: half-close and raw bytes.
raw() {
    echo "--- raw TCP, $1"
    run "the client ends its half first" 30 "python3 \$here/acceptance/tcp.py \$way 127.0.0.1 $(server echo) client-fin"
    run "the server ends its half first" 30 \
        "sent=\$(python3 \$here/acceptance/tcp.py \$way 127.0.0.1 $(server first_fin) server-fin) && for n in \$(seq 50); do [ \"\$(python3 \$here/acceptance/tcp.py direct 127.0.0.1 $(server heard) pipe </dev/null)\" = \"\$sent\" ] && exit 0; sleep 0.1; done; exit 1"
    run "a client that goes away midway, and one after it" 10 \
        "python3 \$here/acceptance/tcp.py \$way 127.0.0.1 $port drop; [ \"\$(get http://127.0.0.1:$port/)\" = 'a small page' ]"
    run "as a ProxyCommand: 3 MB there and back" 30 \
        "head -c 3000000 \$www/big | python3 \$here/acceptance/tcp.py \$way 127.0.0.1 $(server echo) pipe | head -c 3000000 | cmp - <(head -c 3000000 \$www/big)"
}

nowhere=this-name-does-not-exist.invalid
if $direct; then
    p='' way=direct
    cases "direct" 127.0.0.1
    raw direct
    run "a name that does not resolve" 10 "ends '6' '' http://$nowhere/"
    run "git clone" 60 "rm -rf \$work/clone; git clone -q http://127.0.0.1:$port/repo.git \$work/clone && cmp \$work/clone/data \$work/tree/data"
else
    p="--proxy socks5h://$socks" way=socks5:$socks
    cases "SOCKS5, names resolved at the exit" localhost
    run "a name that does not resolve" 10 "ends '97' '' http://$nowhere/"
    run "IPv4 literal" 5 "[ \"\$(get http://127.0.0.1:$port/)\" = 'a small page' ]"
    [ -n "$listen_v6" ] && run "IPv6 literal" 5 "[ \"\$(get http://[::1]:$port/)\" = 'a small page' ]"
    p="--proxy socks5://$socks"
    run "IPv4 literal, resolved by curl" 5 "[ \"\$(get http://127.0.0.1:$port/)\" = 'a small page' ]"
    [ -n "$listen_v6" ] && run "IPv6 literal, resolved by curl" 5 "[ \"\$(get http://[::1]:$port/)\" = 'a small page' ]"
    p="--proxy socks5h://me:secret@$socks"
    run "user and password" 5 "[ \"\$(get http://localhost:$port/)\" = 'a small page' ]"
    p="--proxy socks5h://$socks"
    raw "SOCKS5"
    if nc -h 2>&1 | grep -q -e '-X proto'; then
        run "nc -X 5, as ssh would use it" 20 \
            "printf 'GET /small/7 HTTP/1.0\r\n\r\n' | nc -X 5 -x \$socks 127.0.0.1 $port | tail -n 1 | cmp - \$www/small/7"
        run "nc -X connect, as ssh would use it" 20 \
            "printf 'GET /small/8 HTTP/1.0\r\n\r\n' | nc -X connect -x \$http 127.0.0.1 $port | tail -n 1 | cmp - \$www/small/8"
    fi
    run "SOCKS4 is refused or served, not left hanging" 5 "curl -sS --max-time 4 --proxy socks4://\$socks http://127.0.0.1:$port/; [ \$? != 28 ]"
    run "HTTP sent to the SOCKS port gets an answer" 5 "curl -sS --max-time 4 http://\$socks/; [ \$? != 28 ]"

    p="--proxy http://$http" way=http:$http
    cases "HTTP proxy" localhost
    run "a name that does not resolve" 10 "ends '' '502 503 504' http://$nowhere/"
    run "git clone" 60 "rm -rf \$work/clone; git -c http.proxy=http://\$http clone -q http://127.0.0.1:$port/repo.git \$work/clone && cmp \$work/clone/data \$work/tree/data"
    raw "HTTP proxy, CONNECT"

    p="--proxy http://$http --proxytunnel"
    cases "HTTP proxy, CONNECT for everything" 127.0.0.1
    run "a name that does not resolve" 10 "ends '56' '502 503 504' http://$nowhere/"

    echo "--- afterwards"
    run "every node still runs" 10 \
        "$testnet status --dir \$work/net --json | python3 -c 'import json, sys; sys.exit(not all(n[\"running\"] and n[\"status\"] for n in json.load(sys.stdin)[\"nodes\"]))'"
    run "no flow is left open" 20 \
        "for n in \$(seq 15); do $testnet status --dir \$work/net --json | python3 -c 'import json, sys; sys.exit(any(n[\"status\"][\"flows\"][\"open\"] + n[\"status\"][\"flows\"][\"exit_open\"] for n in json.load(sys.stdin)[\"nodes\"]))' && exit 0; sleep 1; done; exit 1"
    run "masq-testnet down" 30 "$testnet down --dir \$work/net"
    up=false
fi

echo
echo "$passed right, $failed wrong"
[ "$failed" = 0 ]
