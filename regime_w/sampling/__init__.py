"""Asking a model: requests, their journal, engines."""
