"""The benchmark's and the simulation's own modules."""
