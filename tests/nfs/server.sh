# Starts the server of NFS in the machine of machine.py, also once more.
#
# What mountd would answer when the kernel asks it is told beforehand, for ever: who the clients are, and what is exported.
forever=2147483647
export_as() { # folder, number, flags: any port 2, by number 2000, no check of folders above 400
    echo "clients $1 $forever $3 65534 65534 $2" > /proc/net/rpc/nfsd.export/channel
    printf 'clients 1 \\x%02x000000 %s %s\n' "$2" $forever "$1" > /proc/net/rpc/nfsd.fh/channel
}
for client in 1 2; do
    echo "nfsd 10.9.$client.2 $forever clients" > /proc/net/rpc/auth.unix.ip/channel
done
export_as /srv/disks 0 $((0x6402)) # goes on to the disks below it (4000)
export_as /srv/disks/store 1 $((0x2402))
export_as /srv/disks/small 2 $((0x2402))
export_as /srv/disks/read-only 3 $((0x2403))
echo "tcp 2049" > /proc/fs/nfsd/portlist
echo 8 > /proc/fs/nfsd/threads
