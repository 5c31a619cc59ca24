"""Block devices of every kind, and the lvol stores on them."""
