"""A run's configuration and what follows from it."""
