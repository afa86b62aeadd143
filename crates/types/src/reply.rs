//! SMTP replies (RFC 5321 §4.2) with enhanced status codes (RFC 2034, RFC 3463), and every reply literal of the
//! project. Not responsible for when a reply is given.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// An enhanced mail system status code, `class.subject.detail` (RFC 3463 §2).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EnhancedCode {
    class: u8,
    subject: u16,
    detail: u16,
}

/// The text is not an enhanced status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an enhanced status code: expected 2, 4 or 5 and two numbers of up to three digits, with dots")]
pub struct InvalidEnhancedCode;

impl EnhancedCode {
    /// `class` is 2, 4 or 5; subject and detail are at most 999. For literals: anything else is taken as 5.0.0.
    #[must_use]
    pub const fn new(class: u8, subject: u16, detail: u16) -> Self {
        if matches!(class, 2 | 4 | 5) && subject <= 999 && detail <= 999 {
            Self { class, subject, detail }
        } else {
            Self { class: 5, subject: 0, detail: 0 }
        }
    }

    /// 2 success, 4 persistent transient failure, 5 permanent failure.
    #[must_use]
    pub const fn class(self) -> u8 {
        self.class
    }

    /// What the status is about (RFC 3463 §3.1 to §3.8).
    #[must_use]
    pub const fn subject(self) -> u16 {
        self.subject
    }

    /// The condition within its subject.
    #[must_use]
    pub const fn detail(self) -> u16 {
        self.detail
    }

    /// The same subject and detail in another class: how a permanent code is said temporarily.
    #[must_use]
    pub const fn with_class(self, class: u8) -> Self {
        Self::new(class, self.subject, self.detail)
    }
}

impl fmt::Display for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

impl fmt::Debug for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for EnhancedCode {
    type Err = InvalidEnhancedCode;

    fn from_str(text: &str) -> Result<Self, InvalidEnhancedCode> {
        let mut parts = text.split('.');
        let mut number = || {
            let part = parts.next().ok_or(InvalidEnhancedCode)?;
            if part.is_empty() || part.len() > 3 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(InvalidEnhancedCode);
            }
            part.parse::<u16>().map_err(|_| InvalidEnhancedCode)
        };
        let (class, subject, detail) = (number()?, number()?, number()?);
        if parts.next().is_some() {
            return Err(InvalidEnhancedCode);
        }
        match class {
            2 => Ok(Self { class: 2, subject, detail }),
            4 => Ok(Self { class: 4, subject, detail }),
            5 => Ok(Self { class: 5, subject, detail }),
            _ => Err(InvalidEnhancedCode),
        }
    }
}

/// A reply: a three-digit code, an enhanced code where one belongs, and text. Lines of a multi-line reply are
/// separated by `\n` in `text`; neither CR nor any other control octet is ever emitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 599.
    pub code: u16,
    /// Absent for greetings, EHLO and 3xx replies (RFC 2034 §4).
    pub enhanced: Option<EnhancedCode>,
    /// Without the codes.
    pub text: Cow<'static, str>,
}

impl Reply {
    /// A reply literal. Outside this file replies are made from literals with [`Reply::with_text`].
    const fn new(code: u16, class: u8, subject: u16, detail: u16, text: &'static str) -> Self {
        Self { code, enhanced: Some(EnhancedCode::new(class, subject, detail)), text: Cow::Borrowed(text) }
    }

    const fn plain(code: u16, text: &'static str) -> Self {
        Self { code, enhanced: None, text: Cow::Borrowed(text) }
    }

    /// A reply that came from elsewhere: a remote server, or the queue.
    #[must_use]
    pub fn received(code: u16, enhanced: Option<EnhancedCode>, text: String) -> Self {
        Self { code, enhanced, text: Cow::Owned(text) }
    }

    /// The same codes with another text.
    #[must_use]
    pub fn with_text(self, text: impl Into<Cow<'static, str>>) -> Self {
        Self { text: text.into(), ..self }
    }

    /// 2xx.
    #[must_use]
    pub const fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// 3xx.
    #[must_use]
    pub const fn is_intermediate(&self) -> bool {
        self.code / 100 == 3
    }

    /// 4xx.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// 5xx.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// Appends the reply as it is sent, every line with the code, CRLF at the end of each (RFC 5321 §4.2.1).
    pub fn write_to(&self, wire: &mut Vec<u8>) {
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            let separator = if lines.peek().is_some() { b'-' } else { b' ' };
            push_number(wire, self.code);
            wire.push(separator);
            if let Some(EnhancedCode { class, subject, detail }) = self.enhanced {
                for (number, after) in [(class.into(), b'.'), (subject, b'.'), (detail, b' ')] {
                    push_number(wire, number);
                    wire.push(after);
                }
            }
            wire.extend(line.bytes().map(|byte| if byte < b' ' || byte == 0x7f { b' ' } else { byte }));
            wire.extend_from_slice(b"\r\n");
        }
    }
}

/// In decimal digits. Every command gets a reply, so this is not left to formatting, which takes longer.
fn push_number(wire: &mut Vec<u8>, number: u16) {
    if number > 9 {
        push_number(wire, number / 10);
    }
    wire.extend((b'0'..=b'9').nth(usize::from(number % 10)));
}

/// As logged: codes and text in one line.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, " {enhanced}")?;
        }
        for line in self.text.split('\n') {
            write!(f, " {line}")?;
        }
        Ok(())
    }
}

macro_rules! literals {
    ($($(#[$doc:meta])* $name:ident = $value:expr;)*) => {
        $($(#[$doc])* pub const $name: Reply = $value;)*

        #[cfg(test)]
        const ALL: &[(&str, Reply)] = &[$((stringify!($name), $name)),*];
    };
}

literals! {
    /// Greeting; the text becomes the host name (RFC 5321 §4.3.1).
    GREETING = Reply::plain(220, "ESMTP");
    /// Before the TLS handshake (RFC 3207 §4).
    READY_FOR_TLS = Reply::new(220, 2, 0, 0, "Ready to start TLS");
    /// The answer to QUIT.
    CLOSING = Reply::new(221, 2, 0, 0, "Bye");
    /// RSET, NOOP.
    OK = Reply::new(250, 2, 0, 0, "OK");
    /// EHLO and HELO; the text becomes the host name and the extensions.
    HELLO = Reply::plain(250, "");
    /// MAIL (RFC 3463 §3.2, other address status).
    SENDER_OK = Reply::new(250, 2, 1, 0, "Sender OK");
    /// RCPT (RFC 3463: destination address valid).
    RECIPIENT_OK = Reply::new(250, 2, 1, 5, "Recipient OK");
    /// End of data: the message is durable. The text names its id.
    QUEUED = Reply::new(250, 2, 6, 0, "Queued");
    /// VRFY (RFC 5321 §3.5.3, §7.3).
    CANNOT_VRFY = Reply::new(252, 2, 5, 2, "Cannot VRFY user, but will accept message and attempt delivery");
    /// VRFY whose answer is beyond ASCII, for a client that does not take that (RFC 6531 §3.7.4.2).
    CANNOT_VRFY_IN_ASCII = Reply::new(252, 2, 6, 8, "The answer needs SMTPUTF8, but will accept message");
    /// HELP.
    HELP = Reply::new(214, 2, 0, 0, "See RFC 5321");
    /// A login that succeeded (RFC 4954 §6).
    AUTHENTICATED = Reply::new(235, 2, 7, 0, "Authentication successful");
    /// The next step of a login; the text is a challenge in base64 (RFC 4954 §4).
    CHALLENGE = Reply::plain(334, "");
    /// A chunk that is not the last (RFC 3030 §2).
    CHUNK_TAKEN = Reply::new(250, 2, 0, 0, "Chunk received");
    /// MT-PRIORITY where the client may not have what it asked for (RFC 6710 §6; X.3.6 there).
    PRIORITY_CHANGED = Reply::new(250, 2, 3, 6, "Sender OK, priority changed");
    /// VRFY of a recipient that is known; the text is the address (RFC 5321 §3.5.2).
    VERIFIED = Reply::new(250, 2, 1, 5, "");
    /// ETRN (RFC 1985 §5.3).
    QUEUE_STARTED = Reply::new(250, 2, 0, 0, "Queuing started");
    /// ETRN (RFC 1985 §5.3).
    NOTHING_QUEUED = Reply::new(251, 2, 0, 0, "No messages waiting");
    /// DATA.
    START_DATA = Reply::plain(354, "End data with <CR><LF>.<CR><LF>");

    /// The server is leaving or sheds load; the connection closes (RFC 5321 §3.8).
    SHUTTING_DOWN = Reply::new(421, 4, 3, 2, "Service shutting down, try again");
    /// Too many sessions.
    TOO_MANY_SESSIONS = Reply::new(421, 4, 7, 0, "Too many connections, try again later");
    /// A client took too long (RFC 5321 §4.5.3.2.7).
    IDLE_TIMEOUT = Reply::new(421, 4, 4, 2, "Timeout waiting for client input");
    /// The client's errors exceed the limit of a session.
    TOO_MANY_ERRORS = Reply::new(421, 4, 7, 0, "Too many errors");
    /// No queue replica committed the message in time.
    QUEUE_UNAVAILABLE = Reply::new(451, 4, 3, 0, "Message not stored, try again");
    /// What comes back is taken here and read by nobody: inbound and queue do not have the same `[feedback]`.
    REPORTS_UNREAD = Reply::new(451, 4, 3, 5, "Reports are not read now, try again");
    /// The handshake could not be begun (RFC 3207 §4).
    TLS_UNAVAILABLE = Reply::new(454, 4, 7, 0, "TLS not available");
    /// The login could not be checked just now (RFC 4954 §6).
    LOGIN_UNAVAILABLE = Reply::new(454, 4, 7, 0, "Temporary authentication failure");
    /// Who had logged in is no user any more, or may not log in (RFC 5321 §3.8).
    LOGIN_REVOKED = Reply::new(421, 4, 7, 0, "The user may not send any more");
    /// Too many failed logins from here or for this account; the password was not looked at.
    LOGINS_LIMITED = Reply::new(454, 4, 7, 0, "Too many failed logins, try again later");
    /// ETRN could not be carried out (RFC 1985 §5.3).
    QUEUE_NOT_STARTED = Reply::new(458, 4, 3, 0, "Unable to queue messages for this node");
    /// ETRN for a domain that is not to be asked for here (RFC 1985 §5.3).
    NODE_NOT_ALLOWED = Reply::new(459, 4, 7, 1, "Node not allowed");
    /// A client or user has sent as much as it may for now.
    RATE_LIMITED = Reply::new(450, 4, 7, 1, "Rate limit exceeded, try again later");
    /// A recipient whose existence could not be checked just now.
    RECIPIENT_UNVERIFIED = Reply::new(450, 4, 4, 0, "Recipient cannot be verified now, try again later");
    /// The byte budget or the disk is used up.
    INSUFFICIENT_STORAGE = Reply::new(452, 4, 3, 1, "Insufficient system storage, try again later");
    /// More recipients than a transaction may have (RFC 5321 §4.5.3.1.10).
    TOO_MANY_RECIPIENTS = Reply::new(452, 4, 5, 3, "Too many recipients, send the rest in another transaction");
    /// More transactions than a session may have.
    TOO_MANY_TRANSACTIONS = Reply::new(421, 4, 7, 0, "Too many transactions in this session");

    /// Nothing known begins the line.
    UNKNOWN_COMMAND = Reply::new(500, 5, 5, 2, "Command not recognised");
    /// RFC 5321 §4.5.3.1.4.
    LINE_TOO_LONG = Reply::new(500, 5, 5, 6, "Line too long");
    /// A carriage return or line feed on its own (RFC 5321 §2.3.8).
    BARE_LINE_END = Reply::new(500, 5, 5, 2, "Lines must end with <CR><LF>, and neither may stand alone");
    /// A null or other control octet in a command.
    CONTROL_OCTET = Reply::new(500, 5, 5, 2, "Control character in command");
    /// The parameters do not fit the command.
    SYNTAX = Reply::new(501, 5, 5, 4, "Syntax error in parameters");
    /// The host name given with EHLO or HELO is neither a domain nor an address literal.
    BAD_HELO = Reply::new(501, 5, 5, 4, "Invalid host name");
    /// The reverse-path does not parse.
    BAD_SENDER = Reply::new(501, 5, 1, 7, "Bad sender address syntax");
    /// The forward-path does not parse.
    BAD_RECIPIENT = Reply::new(501, 5, 1, 3, "Bad recipient address syntax");
    /// A response in a login that is not base64, or not what the mechanism says (RFC 4954 §4).
    BAD_SASL_RESPONSE = Reply::new(501, 5, 5, 2, "Invalid authentication response");
    /// The client gave up a login (RFC 4954 §4).
    LOGIN_CANCELLED = Reply::new(501, 5, 7, 0, "Authentication cancelled");
    /// A time beyond what EHLO offered (RFC 4865 §4), or a time that has passed (RFC 2852 §4).
    TIME_OUT_OF_RANGE = Reply::new(501, 5, 5, 4, "Time is out of range");
    /// A command this server knows and does not offer.
    NOT_IMPLEMENTED = Reply::new(502, 5, 5, 1, "Command not implemented");
    /// The command does not fit here; the text says what must come first.
    BAD_SEQUENCE = Reply::new(503, 5, 5, 1, "Bad sequence of commands");
    /// No recipient was accepted (RFC 5321 §3.3).
    NO_VALID_RECIPIENTS = Reply::new(554, 5, 5, 1, "No valid recipients");
    /// AUTH after a login (RFC 4954 §4).
    ALREADY_AUTHENTICATED = Reply::new(503, 5, 5, 1, "Already authenticated");
    /// BINARYMIME needs BDAT (RFC 3030 §3).
    BINARY_NEEDS_BDAT = Reply::new(503, 5, 5, 1, "BINARYMIME content needs BDAT");
    /// A mechanism that is not offered (RFC 4954 §4).
    UNKNOWN_MECHANISM = Reply::new(504, 5, 5, 4, "Authentication mechanism not available");
    /// The listener asks for a login first (RFC 4954 §6).
    LOGIN_REQUIRED = Reply::new(530, 5, 7, 0, "Authentication required");
    /// Name or password is wrong; which is not said (RFC 4954 §6).
    LOGIN_FAILED = Reply::new(535, 5, 7, 8, "Authentication credentials invalid");
    /// A mechanism that would show its password to anyone (RFC 4954 §6).
    LOGIN_NEEDS_TLS = Reply::new(538, 5, 7, 11, "Encryption required for authentication");
    /// XCLIENT or XFORWARD from somebody who is not trusted with it.
    NOT_AUTHORISED = Reply::new(550, 5, 7, 0, "Insufficient authorization");
    /// STARTTLS where TLS is already active.
    TLS_ACTIVE = Reply::new(503, 5, 5, 1, "TLS is already active");
    /// Plaintext followed STARTTLS in the same segment: an injection (RFC 3207 §4.2, CVE-2011-0411).
    STARTTLS_INJECTION = Reply::new(554, 5, 5, 1, "Plaintext after STARTTLS");
    /// The greeting of a client that is not served (RFC 5321 §3.1).
    NO_SERVICE = Reply::new(554, 5, 7, 1, "No SMTP service for you here");
    /// Input before the greeting (RFC 5321 §4.3.1).
    EARLY_TALKER = Reply::new(554, 5, 5, 1, "Client spoke before its turn");
    /// The listener asks for TLS first (RFC 3207 §4).
    TLS_REQUIRED = Reply::new(530, 5, 7, 0, "Must issue a STARTTLS command first");
    /// A parameter of MAIL or RCPT that was not advertised (RFC 5321 §4.1.1.11).
    UNKNOWN_PARAMETER = Reply::new(555, 5, 5, 4, "Parameter not recognised");
    /// The same parameter twice, or one with a value it cannot have.
    BAD_PARAMETER = Reply::new(501, 5, 5, 4, "Bad parameter value");
    /// RFC 1870 §6.1.
    MESSAGE_TOO_BIG = Reply::new(552, 5, 3, 4, "Message exceeds the size limit");
    /// Non-ASCII address without SMTPUTF8 (RFC 6531 §3.5).
    SMTPUTF8_NEEDED = Reply::new(553, 5, 6, 7, "Address needs SMTPUTF8");
    /// EXPN whose answer is beyond ASCII, for a client that does not take that (RFC 6531 §3.7.4.2).
    CANNOT_EXPN_IN_ASCII = Reply::new(550, 5, 6, 8, "The answer needs SMTPUTF8");
    /// A recipient that does not exist.
    NO_SUCH_RECIPIENT = Reply::new(550, 5, 1, 1, "No such recipient");
    /// A recipient that the sender's mail is not sent to any more.
    RECIPIENT_SUPPRESSED = Reply::new(550, 5, 1, 1, "Recipient is on your suppression list");
    /// The user may not use this sender address.
    SENDER_NOT_OWNED = Reply::new(553, 5, 7, 1, "Sender address is not owned by the user");
    /// Neither the recipient's domain nor the client's network is ours to relay for.
    RELAY_DENIED = Reply::new(550, 5, 7, 1, "Relaying denied");
    /// More Received fields than a way through the world has (RFC 5321 §6.3).
    MAIL_LOOP = Reply::new(554, 5, 4, 6, "Too many hops, mail loop");
    /// A bare CR or LF within the content.
    BARE_LINE_END_IN_CONTENT = Reply::new(550, 5, 6, 0, "Content has a bare <CR> or <LF>");
    /// A null octet within the content (RFC 5321 §4.5.2 allows it to no sender).
    NUL_IN_CONTENT = Reply::new(550, 5, 6, 0, "Content has a null octet");
    /// RFC 5321 §4.5.3.1.6, with room beyond it.
    CONTENT_LINE_TOO_LONG = Reply::new(550, 5, 6, 0, "Content has a line that is too long");
    /// The header section exceeds its limit.
    HEADER_TOO_LARGE = Reply::new(552, 5, 3, 4, "Header section too large");
    /// A stranger gave our own name in EHLO or HELO.
    OWN_NAME = Reply::new(550, 5, 7, 1, "You are not me");
    /// Refused by policy without more to say.
    POLICY = Reply::new(550, 5, 7, 1, "Refused by policy");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_code_and_enhanced_code_agree() {
        for (name, reply) in ALL {
            assert!((200..=599).contains(&reply.code), "{name}");
            if let Some(enhanced) = reply.enhanced {
                assert_eq!(u16::from(enhanced.class()), reply.code / 100, "{name}");
            }
            assert!(reply.text.len() < 400 && reply.text.is_ascii(), "{name}: RFC 5321 section 4.5.3.1.5");
        }
    }

    #[test]
    fn every_line_carries_the_codes_and_no_control_octet_escapes() {
        let mut wire = Vec::new();
        POLICY.with_text("one\r\ntwo\u{7}\0three\nfour").write_to(&mut wire);
        assert_eq!(String::from_utf8(wire).unwrap(), "550-5.7.1 one \r\n550-5.7.1 two  three\r\n550 5.7.1 four\r\n");
    }

    #[test]
    fn enhanced_codes_read_back() {
        for text in ["2.0.0", "4.999.1", "5.7.510"] {
            assert_eq!(text.parse::<EnhancedCode>().unwrap().to_string(), text);
        }
        for text in ["", "3.0.0", "5.1", "5.1.1.1", "5.1000.1", "5.-1.1", "5.1.", "٥.1.1", "05.1.1x"] {
            assert!(text.parse::<EnhancedCode>().is_err(), "{text}");
        }
    }
}
