"""The lab's problems: reasoning-gym families with worked solutions, in splits that share no problem."""
