"""CSI words that more than one service speaks: validation, identity, the publish_context."""
