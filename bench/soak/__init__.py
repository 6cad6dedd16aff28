"""A long mixed load while processes are killed: what was acknowledged must be so in the end."""
