//! Facts to write notifications about, and reading them with another's parser.

use std::net::IpAddr;
use std::time::Duration;

use mail_parser::{Message, MessageParser, MimeHeaders, PartType};
use mailtier_message::dsn::{self, Action, DsnFacts, DsnGroup, DsnMessage};
use mailtier_types::{
    Cause, Mailbox, MessageId, Outcome, RecipientRequest, RemoteHost, Reply, Stage, Timestamp, Trouble, TroubleKind,
};

pub(crate) const ARRIVAL: Timestamp = Timestamp::from_secs(1_800_000_000);
pub(crate) const FIVE_DAYS: Duration = Duration::from_secs(5 * 86_400);

pub(crate) const HEADERS: &str = "Received: from client.example (client.example [192.0.2.99])\r\n\tby mx.example.net (Mailtier) \
    with ESMTP id 0003g9230vqvs;\r\n\tFri, 15 Jan 2027 08:00:00 +0000\r\nFrom: Alice <alice@example.com>\r\n\
    To: bob@example.org\r\nSubject: Quarterly figures\r\nMessage-ID: <figures@example.com>\r\n\
    Date: Fri, 15 Jan 2027 07:59:58 +0000\r\n";

pub(crate) fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).unwrap()
}

pub(crate) fn remote(name: &str, address: [u8; 4]) -> Option<RemoteHost> {
    Some(RemoteHost { name: name.to_owned(), address: Some(IpAddr::from(address)) })
}

pub(crate) fn outcome(stage: Stage, cause: Cause, remote: Option<RemoteHost>, at: Timestamp) -> Option<Outcome> {
    Some(Outcome { remote, ..Outcome::new(stage, cause, at) })
}

pub(crate) fn reply(code: u16, enhanced: &str, text: &str) -> Cause {
    Cause::Reply(Reply::received(code, enhanced.parse().ok(), text.to_owned()))
}

pub(crate) fn trouble(kind: TroubleKind, text: &str) -> Cause {
    Cause::Trouble(Trouble { kind, text: text.to_owned() })
}

pub(crate) fn failure(recipients: &[&str], outcome: Option<Outcome>, expired: bool) -> DsnGroup {
    DsnGroup { recipients: recipients.iter().map(|text| mailbox(text)).collect(), outcome, expired, deadline: false }
}

/// Bob does not exist, as most notifications say.
pub(crate) fn no_such_user() -> DsnGroup {
    let said =
        reply(550, "5.1.1", "<bob@example.org>: Recipient address rejected: User unknown in virtual mailbox table");
    let at = ARRIVAL.after(Duration::from_secs(2));
    failure(&["bob@example.org"], outcome(Stage::Rcpt, said, remote("mx1.example.org", [192, 0, 2, 7]), at), false)
}

pub(crate) fn write(to: &str, headers: &[u8], failures: &[DsnGroup], age: Duration) -> DsnMessage {
    report(to, headers, Report { action: Action::Failed, requests: &[], failures, age })
}

/// What a notification of any kind is about.
pub(crate) struct Report<'a> {
    pub(crate) action: Action,
    pub(crate) requests: &'a [RecipientRequest],
    pub(crate) failures: &'a [DsnGroup],
    pub(crate) age: Duration,
}

pub(crate) fn report(to: &str, headers: &[u8], report: Report<'_>) -> DsnMessage {
    let message = dsn::write(&DsnFacts {
        reporting_mta: "mx.example.net",
        from_domain: "example.net",
        message: MessageId::from_i64(123_456_799_999_999).unwrap(),
        now: ARRIVAL.after(report.age),
        to: &mailbox(to),
        about: MessageId::from_i64(123_456_789_012_345).unwrap(),
        arrival: ARRIVAL,
        original_headers: headers,
        action: report.action,
        is_whole: false,
        envelope_id: None,
        requests: report.requests,
        failures: report.failures,
    });
    check_lines(&message);
    message
}

/// What every mail server insists on.
fn check_lines(message: &DsnMessage) {
    let text = message.content.strip_suffix(b"\r\n").expect("the last line ends");
    for line in text.split(|&octet| octet == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert!(line.len() <= 998, "{} octets: {}", line.len(), line.escape_ascii());
        assert!(!line.iter().any(|&octet| octet == b'\r' || octet == b'\0'), "{}", line.escape_ascii());
    }
    let line_feeds = message.content.iter().filter(|&&octet| octet == b'\n').count();
    let line_ends = message.content.windows(2).filter(|pair| pair == b"\r\n").count();
    assert_eq!(line_feeds, line_ends, "no bare line feed");
    assert_eq!(message.eight_bit, !message.content.is_ascii());
    let header_end = message.content.windows(4).position(|four| four == b"\r\n\r\n").expect("a header section");
    assert_eq!(message.smtputf8, !message.content[..header_end].is_ascii());
}

/// A notification as a parser sees it.
pub(crate) struct Parsed {
    /// Names of the fields of its header section.
    pub(crate) fields: Vec<String>,
    pub(crate) subject: String,
    pub(crate) people: String,
    /// Groups of fields: of the message, then of each recipient.
    pub(crate) programs: Vec<Vec<(String, String)>>,
    /// Media types of the parts.
    pub(crate) types: Vec<String>,
    pub(crate) headers: Vec<u8>,
}

pub(crate) fn parse(content: &[u8]) -> Parsed {
    let message = MessageParser::new().parse(content).expect("a message");
    let kind = message.content_type().expect("a type");
    assert_eq!((kind.ctype(), kind.subtype()), ("multipart", Some("report")));
    assert_eq!(kind.attribute("report-type"), Some("delivery-status"));
    let parts: Vec<usize> = match &message.parts[0].body {
        PartType::Multipart(parts) => parts.iter().map(|&part| part as usize).collect(),
        other => panic!("{other:?} is no multipart"),
    };
    assert_eq!(parts.len(), 3, "no more parts and no less");
    let types = parts.iter().map(|&part| type_of(&message, part)).collect();
    let programs = String::from_utf8(message.parts[parts[1]].contents().to_vec()).unwrap();
    Parsed {
        fields: message.headers().iter().map(|header| header.name.as_str().to_owned()).collect(),
        subject: message.subject().unwrap_or_default().to_owned(),
        people: String::from_utf8(message.parts[parts[0]].contents().to_vec()).unwrap(),
        programs: programs.split("\r\n\r\n").filter(|group| !group.trim().is_empty()).map(fields_of).collect(),
        types,
        headers: message.parts[parts[2]].contents().to_vec(),
    }
}

fn type_of(message: &Message<'_>, part: usize) -> String {
    let kind = message.parts[part].content_type().expect("a type");
    format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or_default())
}

fn fields_of(group: &str) -> Vec<(String, String)> {
    let unfolded = group.trim_end().replace("\r\n ", " ");
    let fields =
        unfolded.split("\r\n").map(|line| line.split_once(": ").unwrap_or_else(|| panic!("{line} is no field")));
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
