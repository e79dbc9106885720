"""Loading models and tokenizers that are not trusted."""
