"""Backups: what accounts hold, in a directory of plain files that only ever grows, and the way back.

``docs/backup.md`` has the format. ``pack`` keeps the bytes of messages, each once; ``manifest`` says of an
account what it was at one time; ``repository`` is the directory; ``save`` and ``restore`` go to and fro,
``verify`` reads all of it.
"""
