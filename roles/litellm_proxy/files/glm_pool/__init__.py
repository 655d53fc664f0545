"""The plug-in that LiteLLM loads from config.yaml: authentication and the choice of the upstream key."""
