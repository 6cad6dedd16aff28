"""CRAM-MD5 (RFC 2195), judged by pysasl; the challenge is ours, for pysasl's tells host and process."""

from __future__ import annotations

from pysasl.exception import InvalidResponse
from pysasl.mechanism import ChallengeResponse
from pysasl.mechanism.crammd5 import CramMD5Mechanism

from mstore.auth.judge import Judge
from mstore.auth.sasl.mechanism import Exchange, Failed, Identity, malformed, read_name, refuse_initial
from mstore.auth.stamp import make_stamp

_CRAM_MD5 = CramMD5Mechanism()


class _Secret:
    """The password, for pysasl."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def compare_authcid(self, authcid: str) -> bool:
        return True

    def get_clear_secret(self) -> str:
        return self._secret.decode()


def exchange(judge: Judge) -> Exchange:
    """Send a message-id; have the name and its keyed digest."""
    refuse_initial(judge)
    challenge = make_stamp(judge.question.server)
    response = yield challenge
    read_name(response)
    try:
        found, _ = _CRAM_MD5.server_attempt([ChallengeResponse(challenge, response)])
    except InvalidResponse:
        raise malformed() from None
    login = found.authcid
    if judge.find_secret(login, lambda secret: bool(found.verify(_Secret(secret)))) is None:
        raise Failed
    return Identity(login)
