# A Kubernetes node with 40 pods on the CNI plugin "bridge", as containerd calls it for each pod:
# the plugin makes cni0, the veth pairs, the addresses and the routes itself.
# NICs: 1
name node1
static eth0 198.18.0.40/24 198.18.0.1
modprobe -a bridge veth nf_nat br_netfilter
echo 1 >/proc/sys/net/ipv4/ip_forward
conf='{"cniVersion":"1.0.0","name":"pods","type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":true,"hairpinMode":true,"ipam":{"type":"host-local","ranges":[[{"subnet":"198.19.4.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]}}'
n=0
for app in coredns coredns metrics-server kube-proxy-check ingress ingress \
	web web web web web web web web api api api api api api queue queue worker worker worker worker worker worker worker worker \
	redis redis postgres postgres grafana prometheus loki cron mail search; do
	n=$((n + 1))
	pod=$(printf '%08x-0000-4000-8000-%012x' $n $n)
	ip netns add "cni-$pod"
	echo "$conf" | env CNI_COMMAND=ADD CNI_CONTAINERID="$(printf '%064x' $n)" CNI_NETNS="/run/netns/cni-$pod" CNI_IFNAME=eth0 CNI_PATH=/usr/lib/cni /usr/lib/cni/bridge >/dev/null
	# The pod's first process, in the control group that the kubelet makes for it.
	group=/sys/fs/cgroup/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod$(echo "$pod" | tr - _).slice/cri-containerd-$(printf '%064x' $n).scope
	mkdir -p "$group"
	nsenter --net="/run/netns/cni-$pod" unshare --uts sh -c "echo \$\$ >$group/cgroup.procs; echo $app-$n >/proc/sys/kernel/hostname; exec sleep 100000" &
done
# The runtime's names in /run/netns are ids; the pods are to be called by their host names.
sleep 3
for pod in /run/netns/*; do umount "$pod"; rm "$pod"; done
capture() { picture; }
