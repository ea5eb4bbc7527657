"""The benchmark's stages."""
