# The first process of the machine of machine.py: a server of NFS 4.2, two clients, and pytest.
#
#   sh inside.sh SCRATCH PYTHON TESTS
#
# The machine sees the files of this one and may write in SCRATCH alone, which it has at /srv/out.
# /srv/one and /srv/two are one export as two machines see it, /srv/small one of 256 KiB, /srv/read-only what the server lets
# nobody write. The server's own disks are below /srv/disks.
scratch=$1 python=$2 tests=$3
export PATH=/usr/sbin:/usr/bin:/sbin:/bin PYTHONDONTWRITEBYTECODE=1 HOME=/srv/tmp

mount -t proc proc /proc
mount -t sysfs sys /sys
for folder in /run /var/lib /srv; do mount -t tmpfs disk $folder; done
cd /srv
mkdir -p out disks/store disks/small disks/read-only one two small read-only tmp /var/lib/nfs/v4recovery
mount -t hostfs -o "$scratch" none out
mount -t tmpfs store disks/store
mount -t tmpfs -o size=256k small disks/small
mount --bind disks/store disks/read-only
"$python" -I -c '
import ctypes, os, sys
for file in open(sys.argv[1]).read().splitlines():
    module = os.open(file, os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).syscall(313, module, b"", 0):  # finit_module
        sys.exit(f"{file}: {os.strerror(ctypes.get_errno())}")
' "$scratch/modules"

for client in 1 2; do
    ip netns add client$client
    ip link add cable$client type veth peer name eth0 netns client$client
    ip addr add 10.9.$client.1/24 dev cable$client
    ip link set cable$client up
    ip -n client$client addr add 10.9.$client.2/24 dev eth0
    ip -n client$client link set eth0 up
done
mount -t nfsd nfsd /proc/fs/nfsd
echo 10 > /proc/fs/nfsd/nfsv4gracetime # seconds; the kernel takes no less
echo 10 > /proc/fs/nfsd/nfsv4leasetime
echo "-2 -3 +4" > /proc/fs/nfsd/versions
sh "${tests%/*}/server.sh"
echo Y > /proc/fs/nfsd/v4_end_grace

mount_as() { # client, export, folder; the server tells clients apart by the names of their machines
    nsenter --net=/run/netns/client$1 unshare --uts sh -c "hostname client$1 && mount -i -t nfs4 \
        -o vers=4.2,hard,addr=10.9.$1.1,clientaddr=10.9.$1.2 10.9.$1.1:/$2 /srv/$3"
}
mount_as 1 store one && mount_as 2 store two && mount_as 1 small small && mount_as 1 read-only read-only && {
    "$python" -m pytest --import-mode=importlib -p no:cacheprovider --basetemp=/srv/tmp/pytest -rA --color=no \
        --junitxml=/srv/out/outcomes.xml "$tests"
    echo $? > /srv/out/code
}
# Power off. Elsewhere than in a machine of its own this would end no more than the name space of processes that it is in.
"$python" -I -c 'import ctypes; ctypes.CDLL(None).reboot(0x4321fedc)'
