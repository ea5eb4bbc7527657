"""How a stage runs: job, GPUs, processes, records, progress, errors."""
