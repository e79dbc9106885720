"""Models and tokenizers, which are loaded as untrusted files."""
