"""Authentication: the client side for the protocols, the server side for authproxyd."""
