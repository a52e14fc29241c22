# Sourced by the scripts that build machines out of network namespaces: what they share. The script
# sets `top` first, and describes itself in the comment at its head, which is its help. Machines are called by
# short names; a namespace is "$prefix-NAME". Everything is taken down at the end, however it comes.

programs=$top/target/release
while [ $# -gt 0 ]; do
    case $1 in
        --programs) programs=$(cd "$2" && pwd); shift ;;
        *) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 64 ;;
    esac
    shift
done
PATH=$programs:$PATH
script=$(basename "$0")
prefix=masq-${script%.sh}-$$
work=$(mktemp -d)
started=() machines=()

say() { echo "$script: $*"; }
fail() {
    say "$*" >&2
    tail -n 10 "$work"/*.log >&2 || true
    exit 1
}
finish() {
    local code=$? i
    set +e
    for i in "${started[@]}"; do kill "$i" 2>/dev/null; done
    for i in "${started[@]}"; do wait "$i" 2>/dev/null; done
    for i in "${machines[@]}"; do ip netns del "$prefix-$i" 2>/dev/null; done
    rm -rf "$work"
    exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM

# machine NAME: a namespace of that name, with nothing in it.
machine() {
    machines+=("$1")
    ip netns add "$prefix-$1"
    ip -n "$prefix-$1" link set lo up
}
# cable NAME INTERFACE ADDRESS NAME INTERFACE ADDRESS: between two machines.
cable() {
    ip link add "$2" netns "$prefix-$1" type veth peer name "$5" netns "$prefix-$4"
    ip -n "$prefix-$1" addr add "$3" dev "$2"
    ip -n "$prefix-$4" addr add "$6" dev "$5"
    ip -n "$prefix-$1" link set "$2" up
    ip -n "$prefix-$4" link set "$5" up
}
# way NAME ADDRESS: the router of a machine.
way() { ip -n "$prefix-$1" route add default via "$2"; }
# on NAME COMMAND...
on() {
    local name=$1
    shift
    ip netns exec "$prefix-$name" "$@"
}
# start NAME LOG COMMAND...: in the background; its process id is the last of `started`.
start() {
    local name=$1 log=$2
    shift 2
    ip netns exec "$prefix-$name" "$@" >"$work/$log.log" 2>&1 &
    started+=($!)
}
# ask NAME COMMAND...: `masq` on that machine; its data folder is "$work/NAME".
ask() {
    local name=$1
    shift
    on "$name" masq --data-dir "$work/$name" "$@"
}
# within SECONDS COMMAND...: until it succeeds.
within() {
    local until=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $until ] || return 1
        sleep 0.2
    done
}
