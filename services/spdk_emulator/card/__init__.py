"""The Host's side: what a card would show as PCIe NVMe namespaces. Reached through `card.view.Card` only."""
