"""Play recorded sessions again."""
