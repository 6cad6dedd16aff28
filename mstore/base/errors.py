"""The error tree: what can go wrong, named for the condition; protocols turn each into their own reply."""


class MStoreError(Exception):
    """Root of all conditions that M-Store itself raises; ``str()`` is fit to be shown to a user."""


class NotFound(MStoreError):
    """The mailbox, message or account named does not exist (RFC 5530 NONEXISTENT)."""


class Expunged(MStoreError):
    """The message was expunged, and its bytes are given back already (RFC 5530 EXPUNGEISSUED)."""


class UnknownEncoding(MStoreError):
    """A body part cannot be decoded, or a message cannot be kept as it is (RFC 3516 UNKNOWN-CTE)."""


class Exists(MStoreError):
    """What was to be created is there already (RFC 5530 ALREADYEXISTS)."""


class Invalid(MStoreError):
    """A value that can never be right: a mailbox name, a flag, a date (RFC 5530 CANNOT)."""


class UseRefused(Invalid):
    """There is no such special use, or this mailbox cannot have it (RFC 6154 USEATTR)."""


class HasInferiors(Invalid):
    """A name with others beneath it cannot be removed (RFC 9051 §7.1 HASCHILDREN)."""


class ReadOnly(MStoreError):
    """A change was asked of something opened read-only."""


class Denied(MStoreError):
    """The identity may not do this (RFC 5530 NOPERM)."""


class Busy(MStoreError):
    """A lock was not to be had before its deadline (RFC 5530 INUSE); trying again later may succeed."""


class LimitReached(MStoreError):
    """A limit on number, length or depth forbids it (RFC 5530 LIMIT)."""


class TooBig(MStoreError):
    """The message is larger than the site accepts (RFC 7889 TOOBIG)."""


class OverQuota(MStoreError):
    """The account's quota does not allow it (RFC 5530 OVERQUOTA)."""

    def __init__(self, text: str = "", hopeless: bool = False) -> None:
        super().__init__(text)
        self.hopeless = hopeless
        """It is more than the whole quota: no room that is made will ever be enough."""


class Corrupt(MStoreError):
    """A file of the store does not hold what its checksums promise (RFC 5530 CORRUPTION)."""


class StorageFailed(MStoreError):
    """The system refused a read or a write: an I/O error (RFC 5530 SERVERBUG), a disk that is full or
    read-only (RFC 5530 UNAVAILABLE); its cause tells which."""


class Unavailable(MStoreError):
    """A helper process or a database cannot be reached just now (RFC 5530 UNAVAILABLE)."""


class Moved(Unavailable):
    """The account's mail has been moved to another mailstore, or is just being; a new session finds it."""
