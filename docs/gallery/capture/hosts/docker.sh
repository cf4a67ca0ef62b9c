# A Docker host with two compose projects, each with a network of its own, and a container that
# is in both. Docker makes everything itself; the image is one busybox.
# NICs: 1
name dock
static eth0 198.18.0.20/24 198.18.0.1
modprobe -a br_netfilter overlay veth nf_nat
mkdir -p /image/bin
cp /bin/busybox /image/bin/sleep
dockerd --bip 198.19.0.1/24 --data-root /run/docker-data --storage-driver vfs >/tmp/dockerd.log 2>&1 &
wait_for docker info || tail /tmp/dockerd.log
tar -C /image -c . | docker import - box
network() { # PROJECT NET SUBNET
	docker network create --label com.docker.compose.project="$1" --label com.docker.compose.network="$2" --subnet "$3" "$1_$2"
}
service() { # PROJECT SERVICE NET...
	docker run -d --label com.docker.compose.project="$1" --label com.docker.compose.service="$2" --hostname "$2" --name "$1-$2-1" --network "$1_$3" box /bin/sleep 100000
}
network shop front 198.19.1.0/24
network shop back 198.19.2.0/24
network blog default 198.19.3.0/24
service shop web front
service shop api front
docker network connect shop_back shop-api-1
service shop db back
service blog wordpress default
service blog mariadb default
docker run -d --hostname registry --name registry box /bin/sleep 100000
capture() { picture; }
