"""The method, as pure functions without I/O."""
