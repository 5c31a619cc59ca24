#!/run/guest/busybox sh
# PID 1 of the guest, second part, on the machine's root: the kernel's file systems, modules, the network, the agent.
# From /run/guest/settings: modules (a folder), modprobe (names), python, agent (a file), port.
bb=/run/guest/busybox
. /run/guest/settings
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
$bb mkdir -p /dev/pts /dev/shm /lib/modules
$bb mount -t devpts devpts /dev/pts
$bb mount -t tmpfs tmpfs /dev/shm
$bb mount -t tmpfs tmpfs /mnt
$bb ln -s "$modules" "/lib/modules/$($bb uname -r)"
$bb ln -sfn /proc/self/mounts /etc/mtab
$bb hostname guest
$bb ip link set lo up
# shellcheck disable=SC2154 # from the settings
for module in virtio_net $modprobe; do modprobe "$module"; done
$bb ip addr add 10.0.2.15/24 dev eth0
$bb ip link set eth0 up
$bb ip route add default via 10.0.2.2
"$python" -S -E "$agent" "$port" </dev/null >/dev/console 2>&1
$bb reboot -f # QEMU runs with -no-reboot
