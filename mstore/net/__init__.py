"""Connections: buffered streams, TLS, and what a session is given to work with."""
