"""Problems: their form, their sources, and the prompts made from them."""
