"""What a question is asked with and what counts as its answer."""
