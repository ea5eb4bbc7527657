"""Questions: where they come from and which part each is in."""
