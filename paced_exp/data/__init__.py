"""Problems: what they are, where they come from, how they are put to a model."""
