"""authproxyd's side of the SASL mechanisms (RFC 4422), each in a small module, behind one interface.

``mechanism`` is the interface, ``table`` the list of our own, ``plugins`` reads those of the site. Nothing
here is used by the protocols: they see challenges and responses only (``mstore.auth.client``).
"""
