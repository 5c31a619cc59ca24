"""How an lvol store uses its base bdev, in clusters, as SPDK's blobstore lays it out (lib/blob/blobstore.h)."""

PAGE = 4096  # bytes of a metadata page
CLUSTER_DEFAULT = 4 << 20
_MASK_HEADER = 5  # bytes: type and length of an on-disk bit mask


def total_data_clusters(size: int, cluster_size: int, md_ratio: int) -> int:
    """Clusters left for data. `md_ratio`: metadata pages per cluster, in percent."""
    clusters = size // cluster_size
    md_pages = max(clusters * md_ratio // 100, 1)
    masks = 2 * _mask_pages(md_pages) + _mask_pages(clusters)
    metadata = (1 + masks + md_pages) * PAGE
    return clusters - -(-metadata // cluster_size)


def max_growable_size(size: int, cluster_size: int) -> int:
    """Bytes that the base bdev may grow to: as many clusters as the mask's pages have bits."""
    bits = (_mask_pages(size // cluster_size) * PAGE - _MASK_HEADER) * 8
    return bits * cluster_size


def _mask_pages(bits: int) -> int:
    return -(-(_MASK_HEADER + -(-bits // 8)) // PAGE)
