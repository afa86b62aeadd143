//! Log lines as Postfix writes them, for people and tools that read its log: one line for each recipient. What Postfix has
//! no line for is written in its manner. Times are UTC. Not responsible for what programs say.
//!
//! What strangers say stands in many fields. What could be taken for the frame of a line is replaced by `?`, as Postfix does.

use std::error::Error;
use std::fmt::{self, Write as _};

use mailtier_types::text::{Chain, is_printable};
use time::OffsetDateTime;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The format.
#[derive(Debug)]
pub(crate) struct Postfix {
    host: String,
    /// Postfix's daemon with the duty of this program.
    daemon: &'static str,
    pid: u32,
}

impl Postfix {
    /// For this program on this host.
    pub(crate) fn new(service: &str, host: &str) -> Self {
        let daemon = match service {
            "mailtier-inbound" => "smtpd",
            "mailtier-outbound" => "smtp",
            _ => "qmgr",
        };
        Self { host: word(host), daemon, pid: std::process::id() }
    }

    fn frame(&self, now: OffsetDateTime, daemon: &str) -> String {
        let month = MONTHS.get(usize::from(u8::from(now.month())) - 1).unwrap_or(&"Jan");
        let (hour, minute, second) = now.to_hms();
        let Self { host, pid, .. } = self;
        format!("{month} {:>2} {hour:02}:{minute:02}:{second:02} {host} mailtier/{daemon}[{pid}]: ", now.day())
    }
}

impl<S, N> FormatEvent<S, N> for Postfix
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let now = OffsetDateTime::now_utc();
        let mut said = Said::default();
        event.record(&mut said);
        let lines = said.lines();
        for (daemon, line) in &lines {
            writeln!(writer, "{}{line}", self.frame(now, daemon))?;
        }
        if lines.is_empty() {
            write!(writer, "{}{}", self.frame(now, self.daemon), severity(*event.metadata().level()))?;
            ctx.format_fields(writer.by_ref(), event)?;
            writeln!(writer)?;
        }
        Ok(())
    }
}

const fn severity(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error: ",
        Level::WARN => "warning: ",
        _ => "",
    }
}

/// What an event says, by the names of its fields.
#[derive(Debug, Default)]
struct Said(Vec<(&'static str, String)>);

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name(), value.to_owned()));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.0.push((field.name(), Chain(value).to_string()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push((field.name(), format!("{value:?}")));
    }
}

/// A line, and which of Postfix's daemons would write it.
type Lines = Vec<(&'static str, String)>;

impl Said {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    fn word(&self, name: &str) -> String {
        self.get(name).map(word).unwrap_or_default()
    }

    /// What Postfix would write; nothing where it has no such lines.
    fn lines(&self) -> Lines {
        match (self.get("status"), self.get("client")) {
            (Some("accepted"), Some(_)) => self.accepted(),
            (Some("rejected" | "deferred" | "refused"), Some(_)) => self.refused().into_iter().collect(),
            (Some("disconnected"), Some(client)) => vec![("smtpd", format!("disconnect from {}", peer(client)))],
            (Some("delivered" | "deferred" | "failed" | "expired"), None) if self.get("to").is_some() => self.settled(),
            (None, Some(client)) if self.get("result") == Some("failed") => {
                let (method, user) = (self.word("sasl_method"), self.word("sasl_username"));
                let told = "authentication failed: wrong name or password";
                vec![("smtpd", format!("warning: {}: SASL {method} {told}, sasl_username={user}", peer(client)))]
            }
            _ => Vec::new(),
        }
    }

    fn accepted(&self) -> Lines {
        let id = self.word("message");
        let mut client = format!("{id}: client={}", peer(&self.word("client")));
        if let Some(user) = self.get("user") {
            let _ = write!(client, ", sasl_username={}", word(user));
        }
        if let Some(origin) = self.get("orig_client") {
            let _ = write!(client, ", orig_client={}", peer(origin));
        }
        let (size, recipients) = (self.word("size"), self.word("nrcpt"));
        let active = format!("{id}: from=<{}>, size={size}, nrcpt={recipients} (queue active)", self.address("from"));
        let header = format!("{id}: message-id=<{}>", self.address("message_id"));
        vec![("smtpd", client), ("cleanup", header), ("qmgr", active)]
    }

    /// At which command, and of what.
    fn refused(&self) -> Option<(&'static str, String)> {
        let client = peer(self.get("client")?);
        let (command, about) = if let Some(to) = self.get("to") {
            ("RCPT", format!("<{}>", address(to)))
        } else if self.get("from").is_some() && self.get("reason").is_some() {
            ("MAIL", format!("<{}>", self.address("from")))
        } else if self.get("from").is_some() {
            ("END-OF-MESSAGE", "<END-OF-MESSAGE>".to_owned())
        } else if self.get("helo").is_some() {
            ("HELO", format!("<{}>", self.address("helo")))
        } else {
            ("CONNECT", format!("<{client}>"))
        };
        let (codes, text) = reply(self.get("reply").unwrap_or("554 5.7.1 Client host rejected"));
        let mut line = format!("NOQUEUE: reject: {command} from {client}: {codes} {about}: {text}");
        let facts = [("from", "from"), ("to", "to"), ("helo", "helo")];
        let facts = facts.into_iter().filter(|(name, _)| self.get(name).is_some());
        for (place, (name, label)) in facts.enumerate() {
            let before = if place == 0 { ";" } else { "" };
            let _ = write!(line, "{before} {label}=<{}>", self.address(name));
        }
        Some(("smtpd", line))
    }

    fn settled(&self) -> Lines {
        let id = self.word("message");
        let status = match self.get("status").unwrap_or_default() {
            "delivered" => "sent",
            "failed" => "bounced",
            other => other,
        }
        .to_owned();
        if status == "expired" && self.get("reply").is_none() {
            return vec![(
                "qmgr",
                format!("{id}: from=<{}>, status=expired, returned to sender", self.address("from")),
            )];
        }
        let relay = self.get("relay").map_or_else(|| "none".to_owned(), word);
        let delay = self.get("delay").map_or_else(|| "0".to_owned(), word);
        let mut facts = format!("relay={relay}, delay={delay}");
        for name in ["delays", "dsn"] {
            if let Some(value) = self.get(name) {
                let _ = write!(facts, ", {name}={}", word(value));
            }
        }
        let why = self.get("reply").map_or_else(
            || self.get("operator").map_or_else(String::new, |operator| format!("ordered by {}", text(operator))),
            text,
        );
        let recipients = self.get("to").map(recipients).unwrap_or_default();
        let line = |to: &str| ("smtp", format!("{id}: to=<{}>, {facts}, status={status} ({why})", address(to)));
        recipients.into_iter().map(line).collect()
    }

    fn address(&self, name: &str) -> String {
        self.get(name).map(address).unwrap_or_default()
    }
}

/// A client of which no name is known.
fn peer(address: &str) -> String {
    format!("unknown[{}]", word(address))
}

/// Recipients with commas between; one in quotes may have commas itself.
fn recipients(list: &str) -> Vec<&str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    list.split(move |one| {
        let was_escaped = std::mem::take(&mut is_escaped);
        match one {
            '"' if !was_escaped => is_quoted = !is_quoted,
            '\\' if is_quoted && !was_escaped => is_escaped = true,
            _ => {}
        }
        one == ',' && !is_quoted
    })
    .collect()
}

/// The codes, and the words.
fn reply(reply: &str) -> (String, String) {
    let mut parts = reply.splitn(3, ' ');
    let (code, status, rest) = (parts.next(), parts.next(), parts.next());
    let is_status = |text: &&str| text.len() >= 5 && text.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.');
    match (code, status.filter(is_status)) {
        (Some(code), Some(status)) => (format!("{} {status}", word(code)), text(rest.unwrap_or_default())),
        (Some(code), None) => (word(code), text(reply.split_once(' ').map_or("", |(_, words)| words))),
        (None, _) => (String::new(), String::new()),
    }
}

/// An address, a Message-ID or a name without what encloses it.
fn address(value: &str) -> String {
    let value = value.strip_prefix('<').and_then(|value| value.strip_suffix('>')).unwrap_or(value);
    value.chars().map(|one| if is_plain(one) { one } else { '?' }).collect()
}

/// One of our words, or one that looks like it.
fn word(value: &str) -> String {
    value.chars().map(|one| if is_plain(one) && one != ',' { one } else { '?' }).collect()
}

/// Words in a line of their own.
fn text(value: &str) -> String {
    let shown = |one: char| match one {
        '\n' => ' ',
        one if is_printable(one) => one,
        _ => '?',
    };
    value.chars().map(shown).collect()
}

fn is_plain(one: char) -> bool {
    is_printable(one) && !matches!(one, ' ' | '<' | '>' | '(' | ')' | '\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(said: &[(&'static str, &str)]) -> Vec<String> {
        let said = Said(said.iter().map(|(name, value)| (*name, (*value).to_owned())).collect());
        said.lines().into_iter().map(|(daemon, line)| format!("{daemon}: {line}")).collect()
    }

    #[test]
    fn an_accepted_message_has_the_lines_of_three_daemons() {
        let said = [
            ("message", "06FA1"),
            ("client", "192.0.2.1"),
            ("from", "<s@a.example>"),
            ("nrcpt", "2"),
            ("size", "1234"),
            ("message_id", "<x@a.example>"),
            ("user", "joe"),
            ("status", "accepted"),
        ];
        let expected = [
            "smtpd: 06FA1: client=unknown[192.0.2.1], sasl_username=joe",
            "cleanup: 06FA1: message-id=<x@a.example>",
            "qmgr: 06FA1: from=<s@a.example>, size=1234, nrcpt=2 (queue active)",
        ];
        assert_eq!(lines(&said), expected);
    }

    #[test]
    fn each_recipient_has_a_line_with_postfix_s_words() {
        let outcome = |status, reply| {
            lines(&[
                ("message", "06FA1"),
                ("from", "s@a.example"),
                ("to", "a@b.example,\"x,y\"@b.example"),
                ("relay", "mx.b.example[192.0.2.2]"),
                ("delay", "0.52"),
                ("delays", "0.10/0.010/0.20/0.21"),
                ("dsn", "2.0.0"),
                ("status", status),
                ("reply", reply),
            ])
        };
        let facts = "relay=mx.b.example[192.0.2.2], delay=0.52, delays=0.10/0.010/0.20/0.21, dsn=2.0.0";
        assert_eq!(
            outcome("delivered", "250 2.0.0 ok\nso"),
            [
                format!("smtp: 06FA1: to=<a@b.example>, {facts}, status=sent (250 2.0.0 ok so)"),
                format!("smtp: 06FA1: to=<\"x,y\"@b.example>, {facts}, status=sent (250 2.0.0 ok so)"),
            ]
        );
        for (status, word) in [("deferred", "deferred"), ("failed", "bounced"), ("expired", "expired")] {
            let expected = format!("smtp: 06FA1: to=<a@b.example>, {facts}, status={word} (no)");
            assert_eq!(outcome(status, "no").first(), Some(&expected));
        }
        let ordered =
            [("message", "06FA1"), ("to", "a@b.example"), ("relay", "none"), ("status", "failed"), ("operator", "eve")];
        let expected = ["smtp: 06FA1: to=<a@b.example>, relay=none, delay=0, status=bounced (ordered by eve)"];
        assert_eq!(lines(&ordered), expected);
        let never = [("message", "06FA1"), ("from", "s@a.example"), ("to", "a@b.example"), ("status", "expired")];
        assert_eq!(lines(&never), ["qmgr: 06FA1: from=<s@a.example>, status=expired, returned to sender"]);
    }

    #[test]
    fn what_is_refused_says_at_which_command() {
        let client = ("client", "192.0.2.1");
        let (from, to, helo) = (("from", "<s@a.example>"), ("to", "no@b.example"), ("helo", "c.example"));
        let (reason, status) = (("reason", "unknown_recipient"), ("status", "rejected"));
        let start = |command| format!("smtpd: NOQUEUE: reject: {command} from unknown[192.0.2.1]: ");
        for (said, expected) in [
            (
                vec![client, helo, from, to, ("reply", "550 5.1.1 No such user"), reason, status],
                start("RCPT")
                    + "550 5.1.1 <no@b.example>: No such user; from=<s@a.example> to=<no@b.example> helo=<c.example>",
            ),
            (
                vec![client, helo, from, ("reply", "450 4.7.1 Too fast"), reason, status],
                start("MAIL") + "450 4.7.1 <s@a.example>: Too fast; from=<s@a.example> helo=<c.example>",
            ),
            (
                vec![client, helo, from, ("reply", "554 No"), status],
                start("END-OF-MESSAGE") + "554 <END-OF-MESSAGE>: No; from=<s@a.example> helo=<c.example>",
            ),
            (
                vec![client, helo, ("reply", "550 5.7.1 No"), reason, status],
                start("HELO") + "550 5.7.1 <c.example>: No; helo=<c.example>",
            ),
            (
                vec![client, reason, ("status", "refused")],
                start("CONNECT") + "554 5.7.1 <unknown[192.0.2.1]>: Client host rejected",
            ),
        ] {
            assert_eq!(lines(&said), [expected]);
        }
    }

    #[test]
    fn a_failed_login_is_what_fail2ban_looks_for() {
        let said = [
            ("message", "login"),
            ("client", "192.0.2.1"),
            ("sasl_method", "PLAIN"),
            ("sasl_username", "joe x"),
            ("result", "failed"),
        ];
        let expected = "smtpd: warning: unknown[192.0.2.1]: SASL PLAIN authentication failed: wrong name or password, sasl_username=joe?x";
        assert_eq!(lines(&said), [expected]);
    }

    #[test]
    fn strangers_cannot_make_a_line_say_what_did_not_happen() {
        let said = [
            ("client", "192.0.2.1"),
            ("helo", "x>\n06FA1: to=<a@b.example>, status=sent (250"),
            ("from", "<>"),
            ("reply", "550 5.7.1 No\r\n\u{1b}[2J"),
            ("status", "rejected"),
        ];
        let expected = "smtpd: NOQUEUE: reject: END-OF-MESSAGE from unknown[192.0.2.1]: 550 5.7.1 <END-OF-MESSAGE>: No? ?[2J; from=<> \
                        helo=<x??06FA1:?to=?a@b.example?,?status=sent??250>";
        assert_eq!(lines(&said), [expected]);
    }

    #[test]
    fn times_are_those_of_a_log() {
        let postfix = Postfix { host: "mx1".to_owned(), daemon: "smtpd", pid: 7 };
        let now = OffsetDateTime::from_unix_timestamp(1_793_992_801).unwrap();
        assert_eq!(postfix.frame(now, "smtp"), "Nov  6 19:20:01 mx1 mailtier/smtp[7]: ");
    }
}
