"""What the chain costs: see chain.py."""
