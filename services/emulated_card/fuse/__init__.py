"""A file in user space, in the kernel's own protocol over /dev/fuse: one file, one mount, served by the event loop."""
