"""EXTERNAL (RFC 4422 appendix A): who one is says the certificate that TLS has verified.

Its addresses (subjectAltName) are tried as account names, then its common name. The client may name the
account to act as: one of these, or, for an administrator, any.
"""

from __future__ import annotations

from mstore.auth.judge import Judge
from mstore.auth.sasl.mechanism import Exchange, Failed, Identity, read_name, take_first
from mstore.base.errors import MStoreError


def exchange(judge: Judge) -> Exchange:
    """Find the certificate's account."""
    question = judge.question
    names = [*question.emails, *([question.common_name] if question.common_name else [])]
    if not question.tls or not names:
        raise Failed(text="no client certificate")
    authzid = read_name((yield from take_first(judge)))
    judge.admit(names[0])
    accounts = judge.site.accounts
    try:
        found = [record for record in map(accounts.find, names) if record is not None and record.enabled]
        wanted = accounts.find(authzid) if authzid else None
    except MStoreError as error:
        raise judge.unavailable(error) from error
    if not found:
        raise Failed(text="the certificate is no account's")
    mine = [record for record in found if wanted is not None and record.id == wanted.id]
    return Identity((mine or found)[0].name, authzid)
