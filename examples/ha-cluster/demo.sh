#!/usr/bin/env bash
# A gateway cluster on this machine, in namespaces of its own, without root: a client connects, the active node is killed
# with -9, and what the client's tunnel sees of it is measured. Nothing of the machine's own network is touched.
#
#   ./demo.sh [udp|tcp|tls]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
transport=${1:-tcp}

# Everything else happens inside: a user namespace, in which we are root, and networks that end with it.
if [ "${IKESTREAM_HA_INSIDE:-}" != 1 ]; then
  export IKESTREAM_HA_INSIDE=1
  exec unshare --user --map-root-user --net --mount --pid --fork --kill-child --mount-proc "$0" "$transport"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mount -t tmpfs tmpfs /run
export NO_COLOR=1

say() { printf '\n== %s\n' "$*"; }
on() { ip netns exec "$@"; }

say 'networks: client -- router == left, right == server'
for host in client router left right server; do
  ip netns add "$host"
  on "$host" ip link set lo up
done
cable() { ip link add name "$2" netns "$1" type veth peer name "$4" netns "$3"; }
cable client wan router in
for host in router server; do
  on "$host" ip link add lan type bridge
  on "$host" ip link set lan up
done
number=1
for node in left right; do
  cable "$node" outer router "$node"
  cable "$node" inner server "$node"
  for host in router server; do
    on "$host" ip link set "$node" master lan up
  done
  on "$node" ip addr add "198.18.0.$number/24" dev outer
  on "$node" ip addr add "10.1.0.1$number/24" dev inner
  on "$node" ip link set outer up
  on "$node" ip link set inner up
  on "$node" ip route add default via 198.18.0.254
  on "$node" sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'
  number=$((number + 1))
done
on router sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'
on router ip addr add 198.18.0.254/24 dev lan
on router ip addr add 10.66.0.1/24 dev in
on router ip link set in up
on client ip addr add 10.66.0.2/24 dev wan
on client ip link set wan up
on client ip route add default via 10.66.0.1
on server ip addr add 10.1.0.2/24 dev lan
on server ip route add 10.99.0.0/24 via 10.1.0.10

cp "$here/left.toml" "$here/right.toml" "$work"
umask 077
head -c 36 /dev/urandom | base64 > "$work/cluster.secret"
head -c 24 /dev/urandom | base64 > "$work/psk"

until_says() { # file, pattern
  for _ in $(seq 200); do
    grep -q "$2" "$1" 2> /dev/null && return
    sleep 0.05
  done
  cat "$1" >&2
  exit 1
}

say 'two nodes'
declare -A node_pid
for node in left right; do
  # `exec`, so that the process id is the gateway's own.
  (
    export IKESTREAM_STATE_DIR="$work/$node"
    exec ip netns exec "$node" node "$here/../../bin/ikestream.js" gateway --cluster "$work/$node.toml" \
      --identity gw.example --psk-file "$work/psk" --pool 10.99.0.0/24
  ) > "$work/$node.log" 2>&1 &
  node_pid[$node]=$!
  until_says "$work/$node.log" 'active (\|(ready)'
done
tail -n 1 "$work/left.log" "$work/right.log"

say "a client over $transport"
(
  export IKESTREAM_STATE_DIR="$work/client"
  exec ip netns exec client node "$here/../../bin/ikestream.js" connect 198.18.0.10 --psk-file "$work/psk" \
    --identity alice@example --remote-identity gw.example --remote-ts 10.1.0.0/24 --no-dns --transport "$transport"
) > "$work/client.log" 2>&1 &
client_pid=$!
for _ in $(seq 200); do
  on client ping -c 1 -W 1 10.1.0.2 > /dev/null 2>&1 && break
  sleep 0.1
done
on client ping -c 600 -i 0.02 -D 10.1.0.2 > "$work/ping.log" 2>&1 &
ping_pid=$!
sleep 2

say "kill -9 the active node (${node_pid[left]})"
kill -9 "${node_pid[left]}"
wait "$ping_pid" || true
tail -n 3 "$work/right.log"

say 'what the tunnel saw of it'
awk -F '[][]' '/bytes from/ { if (last && $2 - last > gap) gap = $2 - last; last = $2; count++ }
  END { printf "%d answers of 600; the longest time without one: %d ms\n", count, gap * 1000 }' "$work/ping.log"

kill "$client_pid" "${node_pid[right]}"
wait "$client_pid" "${node_pid[right]}" || true
