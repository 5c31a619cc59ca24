"""csi-controller: volumes and who may connect to them, through storage backends."""
