"""Bytes on disk: segments of messages, a journal of changes, an index of columns; knows rows, not mail.

What is promised: a group of the journal is applied whole or not at all, a message that is visible is on disk,
a file of this package can be told from garbage by its checksums, and whatever a crash leaves behind is either
repaired by the next writer or harmless. Reading order: ``layout`` (every structure, as tables), ``raw`` (the
only caller of writing system calls), ``lock``, ``segment``, ``column``, ``snapshot``, ``index``, ``journal``,
``blob``. The life of a change is told in ``docs/storage.md``."""
