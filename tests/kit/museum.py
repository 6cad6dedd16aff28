"""The museum: messages that have hurt mail servers, and some that might. Each has a name; none is polite.

``exhibits()`` makes the small ones, ``monsters()`` those whose size is the point, of so many megabytes.
"""

from collections.abc import Iterator


def crlf(text: str) -> bytes:
    """Test text with its line feeds as CRLF, characters up to U+00FF as single bytes."""
    return text.replace("\n", "\r\n").encode("latin-1")


_PLAIN_HEADER = "From: a@example.com\nTo: b@example.org\nSubject: s\nDate: Wed, 17 Jul 1996 02:23:25 -0700\n"


def exhibits() -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every small exhibit."""
    yield from _shapes()
    yield from _headers()
    yield from _addresses()
    yield from _types()
    yield from _boundaries()
    yield from _nested()


def _shapes() -> Iterator[tuple[str, bytes]]:
    yield "empty", b""
    yield "one-byte", b"x"
    yield "nul", b"\0"
    yield "only-lf", b"\n"
    yield "only-crlf", b"\r\n"
    yield "only-cr", b"\r"
    yield "empty-lines", b"\r\n" * 50
    yield "no-header", b"\r\nbody without a header\r\n"
    yield "no-body", crlf(_PLAIN_HEADER)
    yield "no-empty-line", b"Subject: the end"
    yield "bare-lf", _PLAIN_HEADER.encode() + b"\nbody\nwith\nLF\n"
    yield "bare-cr", b"From: a@b\rSubject: c\r\rbody\rbody\r"
    yield "mixed-ends", b"From: a@b\nSubject: c\r\n\nbody\rand\r\nso on\n\r\n"
    yield "cr-cr-lf", b"From: a@b\r\r\nSubject: c\r\r\n\r\r\nbody\r\r\n"
    yield "all-bytes", bytes(range(256)) * 4
    yield "all-bytes-in-body", crlf(_PLAIN_HEADER + "\n") + bytes(range(256)) * 4
    yield (
        "eight-bit-everywhere",
        b"".join(b"%b\xff: \xe4\xf6\xfc %b\x80\r\n" % (name, name) for name in (b"From", b"To", b"Subject"))
        + b"\r\n\xe4\xf6\xfc",
    )
    yield "utf8-header", "From: Jörg <jörg@exämple.de>\r\nSubject: Grüße ✉\r\n\r\nünï\r\n".encode()
    yield (
        "mbox-from-line",
        crlf("From a@b Fri Feb 22 17:06:23 2008\n>From old\n" + _PLAIN_HEADER + "\nbody\n"),
    )


def _headers() -> Iterator[tuple[str, bytes]]:
    yield "no-colon", crlf("This line has no colon\n" + _PLAIN_HEADER + " and goes on\nnor this\n\nbody\n")
    yield "colon-only", b":\r\n: value\r\n ::\r\n\r\n"
    yield "space-before-colon", crlf("Subject : spaced\nFrom\t: a@b\n\n")
    yield "continuation-first", crlf(" continued from nowhere\nSubject: s\n\n")
    yield "whitespace-line-in-header", crlf("Subject: a\n \n\t\n b\nFrom: a@b\n\n")
    yield "folded-everywhere", crlf('Subject:\n folded\n\tsubject\n here\nFrom:\n\n "A\n B"\n <a@\n b>\n\n')
    yield "empty-fields", crlf("From:\nTo: \nCc:\t\nSubject:\nDate:\nMessage-ID:\nIn-Reply-To:\nSender:\n\n")
    yield (
        "doubled",
        crlf("Subject: one\nSubject: two\nTo: a@b\nTo: c@d\nFrom: x@y\nFrom: z@w\nDate: 1\nDate: 2\n\n"),
    )
    yield (
        "nul-in-fields",
        b'From: a\0b <c\0d@e\0f>\r\nSubject: x\0y\r\nContent-Type: text/pl\0ain; a="\0"\r\n\r\n\0',
    )
    yield "cr-in-fields", b"Subject: a\rb\r\nFrom: a\rb <c@d>\r\nContent-Description: x\ry\r\n\r\n"
    yield "quotes-in-subject", crlf('Subject: say "hello\\world" {3}\nMessage-ID: <"a\\"b"@c>\n\n')
    yield "literal-injection", crlf("Subject: {5}\n\nFrom: a@b\n\n* BYE\n")
    yield (
        "encoded-words",
        crlf(
            "Subject: =?utf-8?B?R3LDvMOf?= =?utf-8?Q?=C3?= =?utf-8?Q?=BC?= =?bogus?X?y?= =?x?q?=?= =?=\n"
            'From: =?iso-8859-1?Q?J=F6rg?= <j@x>, "=?utf-8?B?!!!?=" <k@x>\n\n'
        ),
    )
    yield "bad-dates", crlf("Date: Thu, 31 Feb 99999 25:61:61 +99999\n\n")


def _addresses() -> Iterator[tuple[str, bytes]]:
    lists = (
        "a",
        "<a>",
        "<@b>",
        "<>",
        "@",
        "a@",
        "@b",
        ",,,",
        ";",
        ":;",
        "g:",
        "g:;",
        "g: a@b",
        "g: a@b;, c@d",
        "g: h: a@b;;",
        '"unterminated',
        '"a\\',
        "(comment",
        "(a(b(c",
        "a@b (name)",
        "(x) a@b (y (z))",
        "<@r1,@r2:u@d>",
        "N <@r:u@d>",
        "a@b@c",
        "a b c@d",
        "john . doe @ example . com",
        '"q@q"@d',
        "a@[1.2.3.4]",
        "<a@b",
        "a@b>",
        "a <b <c@d>>",
        "a@b <c@d>",
        "a@b c@d",
        "N <a@b> junk, x@y",
        '"" <a@b>',
        '""@b',
        "a\\,b@c",
        "A.B. C <x@y>",
        "'a' <b@c>",
        "undisclosed-recipients:;",
        "a@b;c@d",
        "[1.2]",
        "=?utf-8?Q?a,b?= <c@d>",
        "<<<<>>>>",
        "((((",
        "))))",
        "\\",
        '"\\"',
        '"\\\\" <a@b>',
        "g: (c);",
        ":::",
        "@a,@b:c@d",
    )
    for number, text in enumerate(lists):
        yield (
            f"address-{number}",
            crlf(f"From: {text}\nTo: x@y, {text}\nCc: {text}, z@w\nReply-To: {text}\n\n"),
        )


def _types() -> Iterator[tuple[str, bytes]]:
    types = (
        "",
        "text",
        "/",
        "text/",
        "/plain",
        "text plain",
        "text/plain;",
        "text/plain; charset",
        "text/plain; charset=",
        'text/plain; charset="',
        'text/plain; name="a\\"b"',
        'text/plain; name="un\\',
        "text/plain; =x; ;; a=b=c",
        "text/plain (comment (nested)) ; charset=utf-8 (x)",
        "TEXT/HTML; Charset=UTF-8; charset=latin1",
        "multipart/mixed",
        "multipart/mixed; boundary=",
        'multipart/mixed; boundary=""',
        "multipart; boundary=x",
        "message/rfc822",
        "message/partial; id=x; number=1",
        "message/global",
        "application/x; a*0=1; a*2=3; a*1=2",
        "a/b; n*0*=utf-8''%e4; n*1=b c%; n*3=lost",
        "a/b; n*1=x; n*2=y",
        "a/b; *0=x; *=y; **=z; n*x=1; n*01=2",
        "a/b; " + "; ".join(f"p*{n}=v" for n in range(300)),
        "a/b; " + ";" * 500,
        "a/b; x=" + '"\\' * 100,
        "text/plain; name=\xe4\xf6.txt",
        "x" * 300 + "/" + "y" * 300,
        "image/png; name=my file.png; size=3",
    )
    for number, text in enumerate(types):
        yield (
            f"type-{number}",
            crlf(
                f"MIME-Version: 1.0\nContent-Type: {text}\nContent-Transfer-Encoding: (c) {text[:9]}\n"
                f"Content-ID: \nContent-Disposition: {text[5:]}\nContent-MD5: =\n"
                f"Content-Language: en,, de (x), {text[:4]}\n"
                f"Content-Location: {text[:20]}\nContent-Description: {text[:30]}\n\nbody\n--x\n\n--x--\n"
            ),
        )


def multipart(boundary: str, *parts: str, kind: str = "mixed", close: bool = True) -> str:
    """The text of a multipart entity."""
    text = f'Content-Type: multipart/{kind}; boundary="{boundary}"\n\n'
    text += "".join(f"--{boundary}\n{part}\n" for part in parts)
    return text + f"--{boundary}--\n" if close else text


def _boundaries() -> Iterator[tuple[str, bytes]]:
    leaf = "Content-Type: text/plain\n\nleaf"
    yield "unclosed", crlf(multipart("b", leaf, leaf, close=False))
    yield "no-boundary-line", crlf('Content-Type: multipart/mixed; boundary="b"\n\nnothing\nof the kind\n')
    yield "only-close", crlf('Content-Type: multipart/mixed; boundary="b"\n\n--b--\n')
    yield "cut-in-boundary", crlf('Content-Type: multipart/mixed; boundary="boundary"\n\n--bound')
    yield "boundary-at-end", crlf('Content-Type: multipart/mixed; boundary="b"\n\n--b')
    yield "empty-parts", crlf('Content-Type: multipart/mixed; boundary="b"\n\n--b\n--b\n\n--b\n\n\n--b--')
    yield "headers-only-parts", crlf(multipart("b", "Content-Type: text/html", "X: y\n"))
    yield "outer-prefix-of-inner", crlf(multipart("b", multipart("bb", leaf, leaf), leaf))
    yield "inner-prefix-of-outer", crlf(multipart("bb", multipart("b", leaf, leaf), leaf))
    yield "same-boundary", crlf(multipart("b", multipart("b", leaf, leaf), leaf))
    yield "outer-ends-inner", crlf(multipart("o", multipart("i", leaf, close=False), leaf))
    yield "boundary-ends-in-dashes", crlf(multipart("b--", leaf, multipart("b", leaf)))
    yield (
        "boundary-with-spaces",
        crlf('Content-Type: multipart/mixed; boundary="a b "\n\n--a b  \t\n\nx\n--a b--  \n'),
    )
    yield "boundary-line-with-more", crlf(multipart("b", leaf).replace("--b\n", "--b and more\n"))
    yield (
        "boundary-folded",
        crlf('Content-Type: multipart/mixed; boundary="foo\n bar"\n\n--foo bar\n\nx\n--foo bar--\n'),
    )
    yield "boundary-8bit", crlf(multipart("\xe4\xff", leaf))
    yield "boundary-long", crlf(multipart("l" * 2000, leaf))
    yield (
        "preamble-epilogue",
        crlf(multipart("b", leaf).replace("\n\n--b", "\n\npreamble\n--b", 1) + "epilogue\n--b\n"),
    )
    yield "lf-boundaries", multipart("b", leaf, leaf).encode()
    yield "multipart-base64", crlf("Content-Transfer-Encoding: base64\n" + multipart("b", leaf))


def _nested() -> Iterator[tuple[str, bytes]]:
    inner = _PLAIN_HEADER + "\nhello\n"
    message = "Content-Type: message/rfc822\n\n"
    yield "rfc822", crlf(message + inner)
    yield "rfc822-empty", crlf(message)
    yield "rfc822-no-body", crlf("Content-Type: message/rfc822\n")
    yield "rfc822-in-rfc822", crlf(message + message + message + inner)
    yield "rfc822-base64", crlf("Content-Transfer-Encoding: base64\n" + message + "RnJvbTogYUBiDQoNCg==\n")
    yield "rfc822-in-mixed", crlf(multipart("b", message + inner, message + multipart("c", inner), "\nlast"))
    is_global = message.replace("rfc822", "global")
    hidden = is_global.replace("\n\n", "\nContent-Transfer-Encoding: quoted-printable\n\n")
    parts = is_global + inner, hidden + inner, message + is_global + inner
    yield "global-in-mixed", crlf(multipart("b", *parts))
    yield "rfc822-cut", crlf(multipart("b", message + "Subject: cut in the header"))
    yield (
        "digest",
        crlf(
            multipart("b", "\n" + inner, "Content-Type: text/plain\n\nx", "X: y\n\n" + inner, kind="digest")
        ),
    )
    yield "digest-bad-type", crlf(multipart("b", "Content-Type: nonsense\n\n" + inner, kind="DiGest"))


def nested_multiparts(depth: int) -> bytes:
    """``depth`` multiparts one within the other, each properly closed."""
    text = "Content-Type: text/plain\n\ncore"
    for level in range(depth):
        text = multipart(f"b{level}", text)
    return crlf(text)


def many_parts(count: int) -> bytes:
    """One multipart of ``count`` small parts."""
    part = b"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n"
    return b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + part * count + b"--b--\r\n"


def monsters(scale: int = 1) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of messages of about ``scale`` megabytes, each meant to find something quadratic."""
    size = scale << 20
    head = crlf(_PLAIN_HEADER)

    def fill(unit: bytes) -> bytes:
        return unit * (size // len(unit))

    yield "long-line", head + b"\r\n" + b"x" * size
    yield "long-subject", b"Subject: " + b"x" * size + b"\r\n\r\n"
    yield "long-header-no-end", fill(b"X-Field: value\r\n")
    yield "header-of-colons", b":" * size
    yield "header-of-spaces", b"Subject:" + b" " * size + b"x\r\nDate:" + b" " * size + b"\r\n\r\n"
    yield "header-of-folds", b"Subject: x" + fill(b"\r\n ") + b"\r\n\r\n"
    yield "header-of-lf", b"A: b" + fill(b"\r\n\t\r\n ")
    yield "many-addresses", b"To: " + fill(b"a@b.example, ") + b"\r\n\r\n"
    yield "many-groups", b"To: " + fill(b"g: a@b; ") + b"\r\n\r\n"
    yield "many-bad-addresses", b"To: " + fill(b'"\xe4" <x>, ') + b"\r\n\r\n"
    yield "open-angles", b"From: " + fill(b"<") + b"\r\n\r\n"
    yield (
        "open-comments",
        b"From: " + fill(b"(") + b"\r\nContent-Type: text/plain " + fill(b"(") + b"\r\n\r\n",
    )
    yield "comments", b"From: " + fill(b"(a)") + b"\r\nContent-Type: text/plain " + fill(b"(a)") + b"\r\n\r\n"
    yield "open-quotes", b"From: " + fill(b'"') + b"\r\nContent-Type: text/plain; " + fill(b'"') + b"\r\n\r\n"
    yield "backslashes", b'From: "' + fill(b"\\") + b'\r\nContent-Type: a/b; c="' + fill(b"\\") + b"\r\n\r\n"
    yield (
        "ats",
        b"From: " + fill(b"@") + b"\r\nTo: " + fill(b"a@") + b"\r\nCc: <" + fill(b"@a,") + b"\r\n\r\n",
    )
    yield "dots", b"From: " + fill(b"a. ") + b"@x\r\nTo: " + fill(b"a ") + b"@x\r\n\r\n"
    yield "many-params", b"Content-Type: text/plain" + fill(b"; a=b") + b"\r\n\r\n"
    yield (
        "param-pieces",
        (
            b"Content-Type: text/plain"
            + b"".join(b"; a*%d*=%%41" % n for n in range(size // 12))
            + b"\r\n\r\n"
        ),
    )
    yield (
        "semicolons",
        b"Content-Type: text/plain" + fill(b";") + b"\r\nContent-Language: " + fill(b",") + b"\r\n\r\n",
    )
    yield "encoded-words", b"Subject: " + fill(b"=?utf-8?Q?=41?= ") + b"\r\n\r\n"
    yield "half-encoded-words", b"Subject: " + fill(b"=?utf-8?Q?") + b"\r\nFrom: " + fill(b"=?") + b"\r\n\r\n"
    boundary = b"Content-Type: multipart/mixed; boundary="
    yield "parts", many_parts(size // 35)
    yield "empty-parts", boundary + b"b\r\n\r\n" + fill(b"--b\n")
    yield "almost-boundaries", boundary + b"b" * 60 + b"\r\n\r\n" + fill(b"--" + b"b" * 59 + b"\n")
    yield "dashes", boundary + b"-\r\n\r\n" + fill(b"-")
    yield "dash-lines", boundary + b"x\r\n\r\n" + fill(b"--y\n")
    yield "closes", boundary + b"b\r\n\r\n--b\r\n\r\n" + fill(b"--b--\n")
    yield "messages", fill(b"Content-Type: message/rfc822\r\n\r\n")
    yield (
        "deep",
        b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(150))
        + b"\r\n"
        + fill(b"--b1 text\n--b text\n"),
    )
    yield (
        "deep-quiet",
        b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(99))
        + b"\r\n"
        + fill(b"a line of text that is no boundary\r\n"),
    )
    yield (
        "deep-messages",
        b"Content-Type: message/rfc822\r\n\r\n" * 99 + b"\r\n" + fill(b"text text text\r\n"),
    )
    yield "nul-lines", head + b"\r\n" + fill(b"\0\r\n")
    yield "random", head + b"\r\n" + fill(bytes((n * n * 31 + n // 7) & 255 for n in range(65536)))
