"""LMTP (RFC 2033): delivery into the store."""
