"""Who may log in: the client side for the protocols here, the server side for authproxyd.

``client`` asks, ``server`` answers through a ``mechanism`` (``authdb`` is ours, those in ``mechanisms`` ask
others), ``sasl`` reads what SASL clients send.
"""
