"""What developers run by hand and no rule starts: inputs to measure with, the simulation of many GPUs."""
