"""TRL's trainers: arguments, resume, packing; what a training learns from."""
