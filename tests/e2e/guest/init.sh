#!/bin/busybox sh
# PID 1 of the guest, first part, in the initramfs: the modules of the root, the root itself (9p, read-only), a layer in
# memory over it, and over to the second part.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "/m/$module"; done </m/order
mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=512000,cache=loose,noatime root /lower || exec sh
mount -t tmpfs -o mode=755 tmpfs /rw
mkdir /rw/upper /rw/work
mount -t overlay -o lowerdir=/lower,upperdir=/rw/upper,workdir=/rw/work overlay /new || exec sh
for folder in proc sys dev; do mount --move "/$folder" "/new/$folder"; done
mount -t tmpfs -o mode=755 tmpfs /new/run
mkdir /new/run/guest
cp /bin/busybox /init2 /settings /new/run/guest/
exec switch_root /new /run/guest/init2
