# The lab's hosts, wires and addresses, and how they are built. Sourced by `lab`; needs a network and a
# mount namespace of its own, and capabilities over both.

hosts='srca srcb srcc sw gw cli'

# One wire a line: segment, host, interface, IPv4, IPv6. A host on lana or lanb hangs on the bridge of that
# name in `sw`, on a port called HOST-INTERFACE; mgmt is one wire from end to end.
wires='
lana srca eth0  10.1.0.2/24 fd01::2/64
lana srcc eth0  10.1.0.3/24 fd01::3/64
lana gw   lan0  10.1.0.1/24 fd01::1/64
lanb srcb eth0  10.2.0.2/24 fd02::2/64
lanb gw   lan1  10.2.0.1/24 fd02::1/64
mgmt gw   mgmt0 10.9.0.1/24 fd09::1/64
mgmt cli  eth0  10.9.0.2/24 fd09::2/64
'

# each_wire FUNCTION: calls it with the five columns of every wire.
each_wire() {
  printf '%s' "$wires" | while read -r segment host interface v4 v6; do
    [ -z "$segment" ] || "$1" "$segment" "$host" "$interface" "$v4" "$v6"
  done
}

# Fast clocks, so that tests see joins, leaves and expiry within a second or three. A query interval under
# one second is refused by current kernels. The first response interval of 10 ms is how long the bridge
# floods after its querier starts; `start_querier` then sets the one that goes into the queries.
bridge_command() {
  echo "link add $1 type bridge stp_state 0 forward_delay 0 mcast_snooping 1 mcast_igmp_version 3" \
    "mcast_mld_version 2 mcast_query_interval 100 mcast_startup_query_interval 100" \
    "mcast_startup_query_count 2 mcast_query_response_interval 1 mcast_membership_interval 250" \
    "mcast_last_member_interval 20"
  # Its own link-local address at once: without one the bridge sends no MLD query, and floods IPv6.
  echo "link set $1 addrgenmode none up"
  echo "addr add fe80::1/64 dev $1 nodad"
}

switch_wire_command() {
  case $1 in
  lan*) echo "link add $2-$3 master $1 up type veth peer name $3 netns $2" ;;
  esac
}

address_command() {
  [ "$2" != "$only" ] || printf '%s\n' "link set $3 up" "addr add $4 dev $3" "addr add $5 dev $3 nodad"
}

start_querier() {
  echo "link set $1 type bridge mcast_querier 1"
  echo "link set $1 type bridge mcast_query_response_interval 20"
}

build_topology() {
  # Private, so that names never clash with those of the machine or of another lab.
  mount -t tmpfs -o mode=755 tmpfs /run
  mkdir /run/netns
  { echo 'link set lo up'; for host in $hosts; do echo "netns add $host"; done; } | ip -batch -
  # Before the first interface exists, which copies `default`. The same on every machine: IPv4 settings
  # would otherwise be inherited from it. Without duplicate address detection there is nothing to wait for.
  ip -all netns exec sh -euc 'cd /proc/sys/net
    for when in default all; do
      echo 0 >ipv4/conf/$when/rp_filter
      echo 0 >ipv4/conf/$when/force_igmp_version
      echo 0 >ipv6/conf/$when/disable_ipv6
      echo 0 >ipv6/conf/$when/accept_dad
      echo 0 >ipv6/conf/$when/router_solicitations
    done' >/dev/null
  {
    bridge_command lana
    bridge_command lanb
    each_wire switch_wire_command
  } | ip -n sw -batch -
  echo 'link add mgmt0 type veth peer name eth0 netns cli' | ip -n gw -batch -
  for only in $hosts; do
    { echo 'link set lo up'; each_wire address_command; } | ip -n "$only" -batch -
  done
  # Last: a querier started earlier would find no ports to ask.
  { start_querier lana; start_querier lanb; } | ip -n sw -batch -
}
