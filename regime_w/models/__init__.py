"""Model and adapter folders, their manifests, the tiny model."""
