"""The catalog of an account on disk, as tables of fields like all other structures (see ``layout``).

A catalog is a header and then groups, framed like a journal's: one change of the account's names is one
group.
"""

from __future__ import annotations

from mstore.files.layout import Field, Layout, magic

CATALOG_VERSION = 1
CATALOG_MAGIC = magic(b"MSct")
REMOVED_GUARD = magic(b"gone")

CATALOG = Layout("CatalogHeader", "opens `catalog`; groups of records follow", [
    Field("magic", "I", "`MSct`"),
    Field("crc", "I", "CRC-32 of the rest of this header"),
    Field("version", "H", "of the format"),
    Field("reserved_a", "6x", ""),
    Field("generation", "Q", "one more each time the file is written anew"),
    Field("account_id", "Q", "id of the account"),
    Field("created", "q", "seconds since 1970"),
    Field("reserved_b", "24x", ""),
])  # fmt: skip

NAME_SET = Layout("NameSet", "this name is so from now on; the name and the attributes follow", [
    Field("mailbox_id", "Q", "id of the mailbox, which names its directory; 0: none, for a \\Noselect name"),
    Field("uid_validity", "I", "UIDVALIDITY of the mailbox"),
    Field("flags", "I", "1: \\Noselect"),
    Field("name_length", "H", "bytes of the name, UTF-8"),
    Field("attributes", "H", "number of attributes"),
    Field("reserved", "4x", ""),
])  # fmt: skip
NO_SELECT = 1

ATTRIBUTE = Layout("Attribute", "one attribute of a name; its value follows, without padding", [
    Field("tag", "H", "what it says: 1 special use (RFC 6154), 2 its ACL, 3 lifetime; others are kept"),
    Field("length", "H", "bytes of the value"),
])  # fmt: skip
ATTRIBUTE_SPECIAL_USE, ATTRIBUTE_ACL, ATTRIBUTE_LIFETIME = 1, 2, 3
MAX_ATTRIBUTE_BYTES = 0xFFFF

LIFETIME = Layout("Lifetime", "the value of the attribute of that name", [
    Field("days", "I", "how many days messages stay there, whatever auto-expunge says; 0 for ever"),
])  # fmt: skip

ACL_ENTRY = Layout("AclEntry", "the value of an access control list is so many of these, in order", [
    Field("kind", "B", "whom it means: 1 anyone, 2 anonymous, 3 a user, 4 a group"),
    Field("negative", "B", "1: these rights are taken away (RFC 4314 §2)"),
    Field("rights", "H", "one bit for each of `lrswipkxtea`, the first is bit 0"),
    Field("reserved", "4x", ""),
    Field("id", "Q", "id of the account or of the group; 0 for the others"),
])  # fmt: skip

NAME_REMOVED = Layout("NameRemoved", "there is no such name any more; the name follows", [
    Field("guard", "I", "`gone`: damage elsewhere never becomes a removal"),
    Field("name_length", "H", "bytes of the name, UTF-8"),
    Field("reserved", "2x", ""),
    Field("mailbox_id", "Q", "the mailbox whose directory is now to be removed; 0: none"),
])  # fmt: skip
SUBSCRIBED = Layout("Subscribed", "the name is subscribed; the name follows", [
    Field("name_length", "H", "bytes of the name, UTF-8"),
    Field("reserved", "6x", ""),
])  # fmt: skip
UNSUBSCRIBED = Layout("Unsubscribed", "the name is no longer subscribed; the name follows", [
    Field("name_length", "H", "bytes of the name, UTF-8"),
    Field("reserved", "6x", ""),
])  # fmt: skip
SWEPT = Layout("Swept", "the directory of a removed mailbox is gone", [
    Field("mailbox_id", "Q", "id of the mailbox"),
])  # fmt: skip
DOOMED = Layout("Doomed", "the directory of a mailbox without a name is to be removed", [
    Field("guard", "I", "`gone`"),
    Field("reserved", "4x", ""),
    Field("mailbox_id", "Q", "id of the mailbox"),
])  # fmt: skip
VALIDITY_USED = Layout("ValidityUsed", "no UIDVALIDITY up to this one may be given again", [
    Field("uid_validity", "I", "UIDVALIDITY"),
    Field("reserved", "4x", ""),
])  # fmt: skip

ANNOTATED = Layout("Annotated", "an annotation has this value (RFC 5464); its name and the value follow", [
    Field("mailbox_id", "Q", "the mailbox it is about; 0: the site"),
    Field("account_id", "Q", "the account whose mailbox that is; 0: this account's own"),
    Field("name_length", "H", "bytes of the annotation's name, ASCII"),
    Field("flags", "H", "1: it has no value any more"),
    Field("value_length", "I", "bytes of the value"),
])  # fmt: skip
ANNOTATION_REMOVED = 1

FURNISHED = Layout("Furnished", "the account has been given its default mailboxes, for good", [
    Field("time", "q", "seconds since 1970"),
])  # fmt: skip

DELETED_MAGIC = magic(b"MSdm")
DELETED_MAILBOX = Layout("DeletedMailbox", "the file `deleted` of a deleted mailbox; its name follows", [
    Field("magic", "I", "`MSdm`"),
    Field("crc", "I", "CRC-32 of the rest, name included"),
    Field("time", "q", "when it was deleted, seconds since 1970"),
    Field("uid_validity", "I", "UIDVALIDITY"),
    Field("name_length", "I", "bytes of the name, UTF-8"),
])  # fmt: skip

TYPE_NAME_SET, TYPE_NAME_REMOVED, TYPE_SUBSCRIBED, TYPE_UNSUBSCRIBED = 1, 2, 3, 4
TYPE_SWEPT, TYPE_DOOMED, TYPE_VALIDITY_USED = 5, 6, 7
TYPE_FURNISHED, TYPE_ANNOTATED = 8, 9
RECORDS: dict[int, Layout] = {
    TYPE_NAME_SET: NAME_SET, TYPE_NAME_REMOVED: NAME_REMOVED, TYPE_SUBSCRIBED: SUBSCRIBED,
    TYPE_UNSUBSCRIBED: UNSUBSCRIBED, TYPE_SWEPT: SWEPT, TYPE_DOOMED: DOOMED,
    TYPE_VALIDITY_USED: VALIDITY_USED, TYPE_FURNISHED: FURNISHED,
    TYPE_ANNOTATED: ANNOTATED,
}  # fmt: skip

LAYOUTS = (
    CATALOG, NAME_SET, ATTRIBUTE, LIFETIME, ACL_ENTRY, NAME_REMOVED, SUBSCRIBED, UNSUBSCRIBED, SWEPT, DOOMED,
    VALIDITY_USED, FURNISHED, ANNOTATED, DELETED_MAILBOX,
)  # fmt: skip
