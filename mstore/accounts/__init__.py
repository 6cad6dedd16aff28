"""Who there is: users, aliases, administrators and groups, in small databases under ``<ms-path>/db/``.

``Accounts`` finds an account by the name somebody logs in with or mail is addressed to; ``Passwords`` keeps
the verifiers in a file of its own, which only authproxyd opens. Nothing here knows mail, mailboxes or
protocols.
"""

from mstore.accounts.accounts import AccountRecord, Accounts
from mstore.accounts.administrators import Administrators
from mstore.accounts.database import missing_databases
from mstore.accounts.login import LoginRules

__all__ = ["AccountRecord", "Accounts", "Administrators", "LoginRules", "missing_databases"]
