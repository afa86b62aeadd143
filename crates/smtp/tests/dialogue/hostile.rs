//! Commands with a `*` wherever a stranger can put an octet, and what he can put there. Not responsible for who is told:
//! the engine and the listener both are.

/// What is said before a command, so that it is one that could be obeyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// EHLO.
    Hello,
    /// EHLO and MAIL.
    Mail,
    /// EHLO, MAIL and RCPT.
    Rcpt,
    /// EHLO, and AUTH without its response.
    Login,
}

/// Every parameter of every command.
pub(crate) const COMMANDS: &[(Before, &str)] = &[
    (Before::Hello, "NO*OP"),
    (Before::Hello, "NOOP x*y"),
    (Before::Hello, "EHLO cl*ient.example"),
    (Before::Hello, "HELO cl*ient.example"),
    (Before::Hello, "EHLO [192.0.2.*1]"),
    (Before::Hello, "HELP M*AIL"),
    (Before::Hello, "STARTTLS*"),
    (Before::Hello, "RSET*"),
    (Before::Hello, "QUIT*"),
    (Before::Hello, "MAIL FROM:*<a@example.com>"),
    (Before::Hello, "MAIL FROM:<a*b@example.com>"),
    (Before::Hello, "MAIL FROM:<\"a*b\"@example.com>"),
    (Before::Hello, "MAIL FROM:<a@exam*ple.com>"),
    (Before::Hello, "MAIL FROM:<a@[192.0.2.*1]>"),
    (Before::Hello, "MAIL FROM:<a@example.com>* SIZE=1"),
    (Before::Hello, "MAIL FROM:<a@example.com> SIZE=*1"),
    (Before::Hello, "MAIL FROM:<a@example.com> BODY=8BIT*MIME"),
    (Before::Hello, "MAIL FROM:<a@example.com> SMTP*UTF8"),
    (Before::Hello, "MAIL FROM:<a@example.com> ENVID=a*b"),
    (Before::Hello, "MAIL FROM:<a@example.com> RET=HD*RS"),
    (Before::Hello, "MAIL FROM:<a@example.com> BY=10*;R"),
    (Before::Hello, "MAIL FROM:<a@example.com> HOLDFOR=1*0"),
    (Before::Hello, "MAIL FROM:<a@example.com> HOLDUNTIL=2027-01-01T00:00:00*Z"),
    (Before::Hello, "MAIL FROM:<a@example.com> MT-PRIORITY=*1"),
    (Before::Hello, "MAIL FROM:<a@example.com> AUTH=a*b"),
    (Before::Hello, "MAIL FROM:<a@example.com> UNKN*OWN=1"),
    (Before::Mail, "RCPT TO:<a*b@example.org>"),
    (Before::Mail, "RCPT TO:<a@exam*ple.org>"),
    (Before::Mail, "RCPT TO:<@x*y:a@example.org>"),
    (Before::Mail, "RCPT TO:<a@example.org> NOTIFY=NEV*ER"),
    (Before::Mail, "RCPT TO:<a@example.org> ORCPT=rfc822;a*b"),
    (Before::Mail, "RCPT TO:<a@example.org> ORCPT=rfc*822;a"),
    (Before::Rcpt, "DATA*"),
    (Before::Rcpt, "BDAT 1*0 LAST"),
    (Before::Rcpt, "BDAT 10 LA*ST"),
    (Before::Rcpt, "bdat 10*"),
    (Before::Hello, "BDAT 10*"),
    (Before::Hello, "AUTH PL*AIN"),
    (Before::Hello, "AUTH PLAIN YW*Jj"),
    (Before::Login, "YW*Jj"),
    (Before::Login, "*"),
    (Before::Hello, "VRFY a*b"),
    (Before::Hello, "EXPN a*b"),
    (Before::Hello, "ETRN example*.org"),
    (Before::Hello, "XCLIENT NAME=spike*.example"),
    (Before::Hello, "XCLIENT ADDR=192.0.2*.1"),
    (Before::Hello, "XCLIENT HELO=a*b LOGIN=c"),
    (Before::Hello, "XFORWARD NAME=spike*.example IDENT=1"),
    (Before::Hello, "XFORWARD IDENT=1*1"),
];

/// Octets that no command may have: controls, a CR on its own, and what is not UTF-8 (RFC 6531 §3.3), be it too short, too
/// long or a half of a pair. A line feed is not among them: it ends the session.
pub(crate) fn octets() -> Vec<Vec<u8>> {
    let controls = (0..32).chain([127]).filter(|octet| *octet != b'\n');
    let lone = controls.chain(128..=255).map(|octet: u8| vec![octet]);
    let malformed: [&[u8]; 6] =
        [b"\xc0\x80", b"\xc0\x8a", b"\xe2\x82", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe0\x80\xaf"];
    lone.chain(malformed.map(<[u8]>::to_vec)).collect()
}

/// The command with something in its place.
pub(crate) fn with(command: &str, octets: &[u8]) -> Vec<u8> {
    let (before, after) = command.split_once('*').unwrap();
    [before.as_bytes(), octets, after.as_bytes(), b"\r\n"].concat()
}

/// Whether it begins a chunk: refused without its size, it ends the session, since what follows cannot be told from
/// commands.
pub(crate) fn begins_chunk(command: &str) -> bool {
    command.get(..4).is_some_and(|name| name.eq_ignore_ascii_case("BDAT"))
}
