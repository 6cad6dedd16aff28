"""The command table, and one module for each family of commands."""
