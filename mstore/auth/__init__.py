"""Who may log in: the client side for the protocols here, the server side for authproxyd.

``client`` asks, ``server`` answers through a ``mechanism`` (``authdb`` is ours), ``sasl`` reads what SASL
clients send.
"""
