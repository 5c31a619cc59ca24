"""The initiator (bdev_nvme): remote controllers, their paths, and the bdevs that they bring."""
