"""Messages as bytes: pure functions from bytes to values; no I/O, no session, no store.

``summary`` says what the store keeps of a message; ``mime`` finds its parts, ``structure`` writes them down
for IMAP and ``parts`` for us; ``header``, ``params``, ``address``, ``date`` and ``decode`` read what they are
named for; ``crlf`` mends line ends on the way in. Nothing here raises because of what a message holds, and
everything takes time in proportion to its size.
"""
