"""A simulated Z.AI: the HTTP API of the GLM models, for tests that need no network and no account."""

__version__ = "1.0.0"
