"""M-Store, a message store: LMTP in, IMAP4 and POP3 out.

Layers, each importing only what stands below it:
``imap  pop3  lmtp  cli`` → ``store  accounts  auth  net`` → ``files  mail`` → ``base``.
The processes live in ``workers``; nothing here imports gevent, forks (but for msadm's prompt) or handles a
signal.
"""

__version__ = "1.0.0"
