"""`litellm-proxyctl`: the LiteLLM proxy of this host in the hands of its administrator."""
