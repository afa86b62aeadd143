//! Dialogues of the client as transcripts. Each is run with the remote's octets whole, one by one and cut at random,
//! and must read the same every time.
//!
//! `S:` is what the remote says, `>` what the driver does; `C:` is what the client says and `=` what it reports. Each
//! input is logged, then everything it led to.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mailtier_types::{ByMode, Cause, EnvelopeId, Mailbox, OriginalRecipient, RecipientRequest, Return, ReversePath};
use proptest::prelude::*;

use super::{ClientAction, ClientConfig, ClientSession, RecipientReport, RemainingTime, Transaction, Wishes};
use crate::TlsInfo;
use crate::server::ClientAttribute;

/// Where the octets of both sides are cut: after as many as the numbers say, in turn.
#[derive(Clone, Debug)]
struct Cuts {
    sizes: Vec<usize>,
    turn: usize,
}

impl Cuts {
    fn new(sizes: &[usize]) -> Self {
        Self { sizes: sizes.to_vec(), turn: 0 }
    }

    fn next(&mut self, most: usize) -> usize {
        self.turn += 1;
        self.sizes[self.turn % self.sizes.len()].clamp(1, most)
    }
}

struct Play {
    session: ClientSession,
    now: Instant,
    cuts: Cuts,
    log: String,
    said: Vec<u8>,
    body: Vec<Vec<u8>>,
    was_ready: bool,
    wishes: Wishes,
}

impl Play {
    #[expect(clippy::disallowed_methods, reason = "a test needs some beginning")]
    fn new(cuts: Cuts) -> Self {
        let now = Instant::now();
        let config = ClientConfig { keeps_transcript: true, ..ClientConfig::new("client.example") };
        let session = ClientSession::new(Arc::new(config), now);
        Self {
            session,
            now,
            cuts,
            log: String::new(),
            said: Vec::new(),
            body: Vec::new(),
            was_ready: false,
            wishes: Wishes::default(),
        }
    }

    /// Does what the inputs of a transcript say, and returns the transcript of what happened.
    fn run(mut self, transcript: &str) -> String {
        let mut lines = transcript.lines().map(str::trim).filter(|line| !line.is_empty()).peekable();
        self.settle();
        while let Some(line) = lines.next() {
            if let Some(said) = line.strip_prefix("S:") {
                let mut block = unescape(said.trim_start());
                writeln!(self.log, "{line}").unwrap();
                while let Some(more) = lines.next_if(|next| next.starts_with("S:")) {
                    writeln!(self.log, "{more}").unwrap();
                    block.extend(unescape(more.strip_prefix("S:").unwrap().trim_start()));
                }
                self.hear(&block);
            } else if let Some(command) = line.strip_prefix("> ") {
                writeln!(self.log, "{line}").unwrap();
                self.command(command);
            }
        }
        self.log
    }

    fn hear(&mut self, block: &[u8]) {
        let mut rest = block;
        // What the reactions are must not depend on the cuts, and neither may their order: they are logged at the end.
        let mut log = std::mem::take(&mut self.log);
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(self.cuts.next(rest.len()));
            self.session.handle_input(piece, self.now);
            self.settle();
            rest = after;
        }
        log.push_str(&self.log);
        self.log = log;
    }

    fn command(&mut self, command: &str) {
        let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
        if verb == "wish" {
            return self.wish(rest);
        }
        self.was_ready = false;
        match verb {
            "begin" => self.begin(rest),
            "lmtp" => {
                let config = ClientConfig { lmtp: true, ..ClientConfig::new("client.example") };
                self.session = ClientSession::new(Arc::new(config), self.now);
            }
            "transcript" => {
                for line in self.session.take_transcript().lines() {
                    writeln!(self.log, "T: {} {} {}", line.at.as_secs(), line.by.mark(), line.text).unwrap();
                }
            }
            "reused" => self.session.restart_transcript(self.now),
            "quit" => self.session.quit(self.now),
            "starttls" => self.session.start_tls(self.now),
            "login" => {
                let (mechanism, initial) = rest.split_once(' ').unwrap_or((rest, ""));
                let initial = (!initial.is_empty()).then(|| unescape(&format!("{initial}\\c")));
                self.session.log_in(mechanism.parse().unwrap(), initial.as_deref(), self.now);
            }
            "answer" => self.session.answer(Some(&unescape(&format!("{rest}\\c"))), self.now),
            "cancel" => self.session.answer(None, self.now),
            "reject" => self.session.reject_login(rest),
            "handshake" => {
                let info = TlsInfo::default();
                self.session.handle_tls(info, self.now);
            }
            "eof" => self.session.handle_eof(self.now),
            "wait" => {
                self.now += Duration::from_secs(rest.parse().unwrap());
                self.session.handle_timeout(self.now);
            }
            "wait_and_drip" => self.drip(rest.parse().unwrap()),
            other => panic!("{other} is no command"),
        }
        self.settle();
    }

    /// What the next transaction asks for beside delivery.
    fn wish(&mut self, rest: &str) {
        for word in rest.split(' ') {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let wishes = &mut self.wishes;
            match name {
                "binary" => wishes.binary = true,
                "requiretls" => wishes.require_tls = true,
                "probe" => wishes.probe = true,
                "priority" => wishes.priority = value.parse().unwrap(),
                "headers" => wishes.ret = Some(Return::Headers),
                "envid" => wishes.envelope_id = Some(EnvelopeId::new(value).unwrap()),
                "by" => {
                    let (seconds, mode) = value.split_at(value.len() - 1);
                    let mode = if mode == "R" { ByMode::Return } else { ByMode::Notify };
                    wishes.deliver_by = Some(RemainingTime { seconds: seconds.parse().unwrap(), mode, trace: true });
                }
                "for" => {
                    let parts: Vec<&str> = value.split(';').collect();
                    wishes.requests.push(RecipientRequest {
                        recipient: Mailbox::parse(parts[0]).unwrap(),
                        notify: Some(parts[1].parse().unwrap()),
                        original: Some(OriginalRecipient::new(parts[2], parts[3]).unwrap()),
                    });
                }
                "origin" => {
                    self.wishes.origin = vec![
                        ClientAttribute::Address(Some("192.0.2.1".parse().unwrap())),
                        ClientAttribute::Port(Some(25)),
                        ClientAttribute::Hello(Some("client one".to_owned())),
                    ];
                }
                other => panic!("{other} is no wish"),
            }
        }
    }

    /// `[8bit] [utf8] sender recipients… = content`.
    fn begin(&mut self, rest: &str) {
        let (envelope, content) = rest.split_once(" = ").unwrap();
        let mut words = envelope.split(' ').peekable();
        let eight_bit = words.next_if_eq(&"8bit").is_some();
        let smtputf8 = words.next_if_eq(&"utf8").is_some();
        let content = unescape(content);
        let content = content.strip_suffix(b"\r\n").unwrap();
        let transaction = Transaction {
            sender: ReversePath::parse(words.next().unwrap().trim_matches(['<', '>'])).unwrap(),
            recipients: words.map(|word| Mailbox::parse(word).unwrap()).collect(),
            eight_bit,
            smtputf8,
            proper_lines: content.ends_with(b"\r\n"),
            size_bytes: content.len() as u64,
            wishes: std::mem::take(&mut self.wishes),
        };
        self.body = content.chunks(self.cuts.next(content.len().max(1))).map(<[u8]>::to_vec).collect();
        self.session.begin(transaction, self.now);
    }

    /// One octet of garbage now and then does not extend the time for a reply.
    fn drip(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            self.session.handle_input(b"2", self.now);
            self.session.handle_timeout(self.now);
        }
    }

    /// Until the session waits.
    fn settle(&mut self) {
        loop {
            match self.session.poll() {
                ClientAction::Send => {
                    let output = self.session.output();
                    let count = self.cuts.next(output.len());
                    self.said.extend_from_slice(&output[..count]);
                    self.session.sent(count, self.now);
                    if self.session.output().is_empty() {
                        self.log_said();
                    }
                }
                ClientAction::NeedBody => {
                    for piece in std::mem::take(&mut self.body) {
                        self.session.body(&piece);
                    }
                    self.session.end_of_body(self.now);
                }
                ClientAction::Ready => {
                    if !std::mem::replace(&mut self.was_ready, true) {
                        self.log_ready();
                    }
                    return;
                }
                ClientAction::Challenge(challenge) => {
                    let line = format!("= challenge: {}", String::from_utf8_lossy(&challenge));
                    writeln!(self.log, "{}", line.trim_end()).unwrap();
                    return;
                }
                ClientAction::UpgradeTls => {
                    self.log.push_str("= upgrade\n");
                    return;
                }
                ClientAction::Finished(report) => {
                    writeln!(self.log, "= finished, {}", if report.reusable { "reusable" } else { "spent" }).unwrap();
                    for RecipientReport { stage, cause } in &report.recipients {
                        writeln!(self.log, "= {}: {}", stage.name(), describe(cause)).unwrap();
                    }
                }
                ClientAction::Failed(failure) => {
                    writeln!(self.log, "= failed at {}: {}", failure.stage.name(), describe(&failure.cause)).unwrap();
                }
                ClientAction::Closed => {
                    if !self.log.ends_with("= closed\n") {
                        self.log.push_str("= closed\n");
                    }
                    assert_eq!(self.session.next_timeout(), None, "nothing is awaited after the end");
                    return;
                }
                ClientAction::NeedInput => {
                    assert!(self.session.next_timeout().is_some(), "nothing is awaited for ever");
                    return;
                }
            }
        }
    }

    fn log_said(&mut self) {
        let said = String::from_utf8(std::mem::take(&mut self.said)).unwrap();
        for line in said.split_inclusive("\r\n") {
            let line = line.strip_suffix("\r\n").expect("whole lines");
            writeln!(self.log, "{}", format!("C: {line}").trim_end()).unwrap();
        }
    }

    fn log_ready(&mut self) {
        let offered = self.session.capabilities();
        let mut text = String::from("= ready");
        for (name, is_offered) in [
            (" pipelining", offered.pipelining),
            (" 8bit", offered.eight_bit),
            (" utf8", offered.smtputf8),
            (" starttls", offered.starttls),
            (" size", offered.size.is_some()),
            (" logins", offered.offers_logins()),
            (" in-tls", self.session.tls().is_some()),
            (" in-as-user", self.session.is_logged_in()),
        ] {
            text.push_str(if is_offered { name } else { "" });
        }
        writeln!(self.log, "{text}").unwrap();
    }
}

fn describe(cause: &Cause) -> String {
    match cause {
        Cause::Reply(reply) => reply.to_string(),
        Cause::Trouble(trouble) => format!("{:?} {} ({})", trouble.kind, trouble.kind.enhanced(), trouble.text),
    }
}

/// A line, with `\r`, `\n`, `\0` and `\e` (an é) in it; CRLF follows unless it ends with `\c`.
fn unescape(line: &str) -> Vec<u8> {
    let mut octets =
        line.replace("\\r", "\r").replace("\\n", "\n").replace("\\0", "\0").replace("\\e", "é").into_bytes();
    match octets.strip_suffix(b"\\c") {
        Some(cut) => cut.to_vec(),
        None => {
            octets.extend_from_slice(b"\r\n");
            octets
        }
    }
}

/// Runs a transcript in every way of cutting, and asserts that it comes out as it is written.
fn check(transcript: &str) {
    let expected: String =
        transcript.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect();
    for sizes in [&[usize::MAX][..], &[1], &[2], &[3, 1, 7], &[5, 4], &[1, 60], &[13]] {
        assert_eq!(Play::new(Cuts::new(sizes)).run(transcript), expected, "cut at {sizes:?}");
    }
}

const PIPELINED: &str = "
    S: 220 mx.example.org ESMTP
    C: EHLO client.example
    S: 250-mx.example.org
    S: 250-PIPELINING
    S: 250-SIZE 1000000
    S: 250 8BITMIME
    = ready pipelining 8bit size
";

const PLAIN: &str = "
    S: 220 mx.example.org ESMTP
    C: EHLO client.example
    S: 250 mx.example.org
    = ready
";

#[test]
fn a_whole_session_with_pipelining() {
    check(&format!(
        "{PIPELINED}
        > begin a@example.com b@example.org c@example.org = Subject: x\\r\\n\\r\\n.dot\\r\\nend
        C: MAIL FROM:<a@example.com> SIZE=23
        C: RCPT TO:<b@example.org>
        C: RCPT TO:<c@example.org>
        C: DATA
        S: 250 2.1.0 ok
        S: 250 2.1.5 ok
        S: 251 2.1.5 will forward
        S: 354 go
        C: Subject: x
        C:
        C: ..dot
        C: end
        C: .
        S: 250 2.6.0 queued as 7
        = finished, reusable
        = final: 250 2.6.0 queued as 7
        = final: 250 2.6.0 queued as 7
        = ready pipelining 8bit size
        > begin <> b@example.org = x
        C: MAIL FROM:<> SIZE=1
        C: RCPT TO:<b@example.org>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 354 go
        C: x
        C: .
        S: 250 ok
        = finished, reusable
        = final: 250 ok
        = ready pipelining 8bit size
        > quit
        C: QUIT
        S: 221 bye
        = closed"
    ));
}

#[test]
fn without_pipelining_command_by_command() {
    check(&format!(
        "{PLAIN}
        > begin a@example.com b@example.org c@example.org = x
        C: MAIL FROM:<a@example.com>
        S: 250 ok
        C: RCPT TO:<b@example.org>
        S: 550 5.1.1 unknown
        C: RCPT TO:<c@example.org>
        S: 250 ok
        C: DATA
        S: 354 go
        C: x
        C: .
        S: 250 ok
        = finished, reusable
        = rcpt: 550 5.1.1 unknown
        = final: 250 ok
        = ready"
    ));
}

#[test]
fn without_pipelining_nothing_more_is_said_than_helps() {
    check(&format!(
        "{PLAIN}
        > begin a@example.com b@example.org c@example.org = x
        C: MAIL FROM:<a@example.com>
        S: 451 4.7.1 greylisted
        = finished, reusable
        = mail: 451 4.7.1 greylisted
        = mail: 451 4.7.1 greylisted
        = ready
        > begin a@example.com b@example.org = x
        C: MAIL FROM:<a@example.com>
        S: 250 ok
        C: RCPT TO:<b@example.org>
        S: 450 4.2.1 later
        = finished, reusable
        = rcpt: 450 4.2.1 later
        = ready
        > begin a@example.com b@example.org = x
        C: RSET
        S: 250 ok
        C: MAIL FROM:<a@example.com>
        S: 250 ok
        C: RCPT TO:<b@example.org>
        S: 250 ok
        C: DATA
        S: 451 4.3.0 not now
        = finished, reusable
        = data: 451 4.3.0 not now
        = ready"
    ));
}

#[test]
fn helo_where_ehlo_is_unknown() {
    check(
        "S: 220 old
        C: EHLO client.example
        S: 502 5.5.1 what
        C: HELO client.example
        S: 250 old
        = ready
        > begin a@example.com b@example.org = x
        C: MAIL FROM:<a@example.com>",
    );
    check(
        "S: 220 old
        C: EHLO client.example
        S: 500 what
        C: HELO client.example
        S: 550 5.7.1 go away
        = failed at ehlo: 550 5.7.1 go away
        = closed",
    );
}

#[test]
fn mail_refused_in_a_group() {
    check(&format!(
        "{PIPELINED}
        > begin a@example.com b@example.org c@example.org = x
        C: MAIL FROM:<a@example.com> SIZE=1
        C: RCPT TO:<b@example.org>
        C: RCPT TO:<c@example.org>
        C: DATA
        S: 550 5.7.1 no
        S: 503 5.5.1 need mail
        S: 503 5.5.1 need mail
        S: 503 5.5.1 need mail
        = finished, reusable
        = mail: 550 5.7.1 no
        = mail: 550 5.7.1 no
        = ready pipelining 8bit size
        > begin a@example.com b@example.org = x
        C: MAIL FROM:<a@example.com> SIZE=1
        C: RCPT TO:<b@example.org>
        C: DATA"
    ));
}

#[test]
fn some_recipients_refused_in_a_group() {
    check(&format!(
        "{PIPELINED}
        > begin a@example.com b@example.org c@example.org d@example.org = x
        C: MAIL FROM:<a@example.com> SIZE=1
        C: RCPT TO:<b@example.org>
        C: RCPT TO:<c@example.org>
        C: RCPT TO:<d@example.org>
        C: DATA
        S: 250 ok
        S: 550 5.1.1 unknown
        S: 250 ok
        S: 452 4.5.3 too many
        S: 354 go
        C: x
        C: .
        S: 554 5.7.1 spam
        = finished, reusable
        = rcpt: 550 5.1.1 unknown
        = final: 554 5.7.1 spam
        = rcpt: 452 4.5.3 too many
        = ready pipelining 8bit size"
    ));
}

#[test]
fn all_recipients_refused_and_data_too() {
    check(&format!(
        "{PIPELINED}
        > begin a@example.com b@example.org = x
        C: MAIL FROM:<a@example.com> SIZE=1
        C: RCPT TO:<b@example.org>
        C: DATA
        S: 250 ok
        S: 550 5.1.1 unknown
        S: 554 5.5.1 no valid recipients
        = finished, reusable
        = rcpt: 550 5.1.1 unknown
        = ready pipelining 8bit size
        > begin a@example.com c@example.org = x
        C: RSET
        C: MAIL FROM:<a@example.com> SIZE=1
        C: RCPT TO:<c@example.org>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 250 ok
        S: 354 go
        C: x
        C: .
        S: 250 ok
        = finished, reusable
        = final: 250 ok
        = ready pipelining 8bit size"
    ));
}

#[test]
fn data_accepted_for_nobody_gets_just_the_dot() {
    // RFC 2920 section 3.1.
    check(&format!(
        "{PIPELINED}
        > begin a@example.com b@example.org = never sent
        C: MAIL FROM:<a@example.com> SIZE=10
        C: RCPT TO:<b@example.org>
        C: DATA
        S: 250 ok
        S: 550 5.1.1 unknown
        S: 354 go
        C: .
        S: 250 took it for nobody
        = finished, reusable
        = rcpt: 550 5.1.1 unknown
        = ready pipelining 8bit size
        > begin a@example.com b@example.org = y
        C: MAIL FROM:<a@example.com> SIZE=1
        C: RCPT TO:<b@example.org>
        C: DATA"
    ));
    check(&format!(
        "{PIPELINED}
        > begin a@example.com b@example.org = never sent
        C: MAIL FROM:<a@example.com> SIZE=10
        C: RCPT TO:<b@example.org>
        C: DATA
        S: 550 5.7.1 no
        S: 503 5.5.1 no
        S: 354 go
        C: .
        > eof
        = finished, spent
        = mail: 550 5.7.1 no
        = closed"
    ));
}

#[test]
fn a_421_at_any_moment_ends_the_session() {
    // RFC 5321 section 3.8.
    check(
        "S: 421 4.3.2 busy
        = failed at banner: 421 4.3.2 busy
        = closed",
    );
    check(
        "S: 220 mx
        C: EHLO client.example
        S: 421 4.3.2 busy
        = failed at ehlo: 421 4.3.2 busy
        = closed",
    );
    check(&format!(
        "{PLAIN}
        S: 421 4.4.2 idle too long
        = failed at mail: 421 4.4.2 idle too long
        = closed
        > begin a@example.com b@example.org = x
        = finished, spent
        = mail: Closed 4.4.2 (the session is not ready for a transaction)
        = closed"
    ));
    check(&format!(
        "{PIPELINED}
        > begin a@example.com b@example.org c@example.org d@example.org = x
        C: MAIL FROM:<a@example.com> SIZE=1
        C: RCPT TO:<b@example.org>
        C: RCPT TO:<c@example.org>
        C: RCPT TO:<d@example.org>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 550 5.1.1 unknown
        S: 421 4.3.2 going down
        = finished, spent
        = rcpt: 421 4.3.2 going down
        = rcpt: 550 5.1.1 unknown
        = rcpt: 421 4.3.2 going down
        = closed"
    ));
    check(&format!(
        "{PIPELINED}
        > begin a@example.com b@example.org = x
        C: MAIL FROM:<a@example.com> SIZE=1
        C: RCPT TO:<b@example.org>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 354 go
        C: x
        C: .
        S: 421 4.3.2 going down
        = finished, spent
        = final: 421 4.3.2 going down
        = closed"
    ));
    check(&format!(
        "{PIPELINED}
        > begin a@example.com b@example.org = x
        C: MAIL FROM:<a@example.com> SIZE=1
        C: RCPT TO:<b@example.org>
        C: DATA
        S: 250 ok
        S: 550 5.1.1 unknown
        S: 354 go
        C: .
        S: 421 4.3.2 going down
        = finished, spent
        = rcpt: 550 5.1.1 unknown
        = closed"
    ));
}

#[test]
fn greetings_that_are_none() {
    check(
        "S: 554 5.7.1 no service
        = failed at banner: 554 5.7.1 no service
        = closed",
    );
    check(
        "S: 250 hello
        = failed at banner: Protocol 4.5.0 (the remote greeted with something else than 220)
        = closed",
    );
    check(
        "S: SSH-2.0-OpenSSH_9.9
        = failed at banner: Protocol 4.5.0 (the remote sent something that is no SMTP reply)
        = closed",
    );
    check(
        "> eof
        = failed at banner: Closed 4.4.2 (connection lost while waiting for the greeting)
        = closed",
    );
    check(
        "S: 220-half a\\c
        > eof
        = failed at banner: Closed 4.4.2 (connection lost while waiting for the greeting)
        = closed",
    );
}

#[test]
fn a_connection_lost_in_a_transaction() {
    check(&format!(
        "{PIPELINED}
        > begin a@example.com b@example.org c@example.org = x
        C: MAIL FROM:<a@example.com> SIZE=1
        C: RCPT TO:<b@example.org>
        C: RCPT TO:<c@example.org>
        C: DATA
        S: 250 ok
        S: 550 5.1.1 unknown
        > eof
        = finished, spent
        = rcpt: 550 5.1.1 unknown
        = rcpt: Closed 4.4.2 (connection lost while sending the envelope)
        = closed"
    ));
    check(&format!(
        "{PIPELINED}
        > begin a@example.com b@example.org = x
        C: MAIL FROM:<a@example.com> SIZE=1
        C: RCPT TO:<b@example.org>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 354 go
        C: x
        C: .
        S: 250 2.0.0 ok that lost its end\\c
        > eof
        = finished, spent
        = final: Unanswered 4.4.2 (connection lost while waiting for the reply to the end of data)
        = closed"
    ));
    check(&format!(
        "{PLAIN}
        > eof
        = failed at mail: Closed 4.4.2 (connection lost between transactions)
        = closed"
    ));
}

#[test]
fn replies_out_of_step() {
    check(&format!(
        "{PLAIN}
        > begin a@example.com b@example.org = x
        C: MAIL FROM:<a@example.com>
        S: 354 go
        = finished, spent
        = mail: Protocol 4.5.0 (the remote answered MAIL or RCPT with 3xx)
        = closed"
    ));
    check(&format!(
        "{PIPELINED}
        > begin a@example.com b@example.org = x
        C: MAIL FROM:<a@example.com> SIZE=1
        C: RCPT TO:<b@example.org>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 250 one too many
        = finished, spent
        = data: Protocol 4.5.0 (the remote answered DATA with 2xx)
        = closed"
    ));
    check(&format!(
        "{PIPELINED}
        > begin a@example.com b@example.org = x
        C: MAIL FROM:<a@example.com> SIZE=1
        C: RCPT TO:<b@example.org>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 354 go
        C: x
        C: .
        S: 354 go on
        = finished, spent
        = final: Unanswered 4.4.2 (the remote answered the end of data with 3xx)
        = closed"
    ));
    check(&format!(
        "{PIPELINED}
        > begin a@example.com b@example.org = x
        C: MAIL FROM:<a@example.com> SIZE=1
        C: RCPT TO:<b@example.org>
        C: DATA
        S: 250 ok
        S: ok
        = finished, spent
        = rcpt: Protocol 4.5.0 (the remote sent something that is no SMTP reply)
        = closed"
    ));
    check(&format!(
        "{PIPELINED}
        > begin a@example.com b@example.org = x
        C: MAIL FROM:<a@example.com> SIZE=1
        C: RCPT TO:<b@example.org>
        C: DATA
        S: 250 ok
        S: 550 no
        S: 554 no
        = finished, reusable
        = rcpt: 550 no
        = ready pipelining 8bit size
        > begin a@example.com b@example.org = x
        C: RSET
        C: MAIL FROM:<a@example.com> SIZE=1
        C: RCPT TO:<b@example.org>
        C: DATA
        S: 500 5.5.1 what
        = finished, spent
        = mail: Protocol 4.5.0 (the remote refused RSET)
        = closed"
    ));
    check(&format!(
        "{PLAIN}
        S: 250 unasked
        = failed at mail: Protocol 4.5.0 (the remote sent a reply that nothing asked for)
        = closed"
    ));
}

#[test]
fn content_that_the_remote_cannot_take() {
    check(&format!(
        "{PLAIN}
        > begin 8bit a@example.com b@example.org c@example.org = x
        = finished, reusable
        = mail: Conversion 5.6.3 (the content is 8-bit and the remote does not offer 8BITMIME)
        = mail: Conversion 5.6.3 (the content is 8-bit and the remote does not offer 8BITMIME)
        = ready
        > begin utf8 a@example.com b@example.org = x
        = finished, reusable
        = mail: Smtputf8 5.6.7 (SMTPUTF8 is needed and the remote does not offer it)
        = ready
        > begin ä@example.com b@example.org = x
        = finished, reusable
        = mail: Smtputf8 5.6.7 (SMTPUTF8 is needed and the remote does not offer it)
        = ready
        > begin a@example.com ä@example.org b@example.org = x
        C: MAIL FROM:<a@example.com>
        S: 250 ok
        C: RCPT TO:<b@example.org>
        S: 250 ok
        C: DATA
        S: 354 go
        C: x
        C: .
        S: 250 ok
        = finished, reusable
        = mail: Smtputf8 5.6.7 (SMTPUTF8 is needed and the remote does not offer it)
        = final: 250 ok
        = ready"
    ));
}

#[test]
fn parameters_only_where_offered_and_needed() {
    check(
        "S: 220 mx
        C: EHLO client.example
        S: 250-mx
        S: 250-SMTPUTF8
        S: 250 8BITMIME
        = ready 8bit utf8
        > begin 8bit utf8 a@example.com b@example.org = \\e
        C: MAIL FROM:<a@example.com> BODY=8BITMIME SMTPUTF8
        S: 250 ok
        C: RCPT TO:<b@example.org>
        S: 250 ok
        C: DATA
        S: 354 go
        C: é
        C: .
        S: 250 ok
        = finished, reusable
        = final: 250 ok
        = ready 8bit utf8
        > begin a@example.com ä@example.org = x
        C: MAIL FROM:<a@example.com> SMTPUTF8
        S: 250 ok
        C: RCPT TO:<ä@example.org>
        S: 250 ok
        C: DATA
        S: 354 go
        C: x
        C: .
        S: 250 ok
        = finished, reusable
        = final: 250 ok
        = ready 8bit utf8
        > begin a@example.com b@example.org = x
        C: MAIL FROM:<a@example.com>",
    );
}

const LOGINS: &str = "
    S: 220 mx
    C: EHLO client.example
    S: 250-mx
    S: 250 AUTH PLAIN LOGIN SCRAM-SHA-256
    = ready logins
";

/// What a login comes to after EHLO.
fn check_login(transcript: &str) {
    check(&format!("{LOGINS}{transcript}"));
}

/// RFC 4954 section 4.1 has this dialogue.
#[test]
fn logins_with_and_without_challenges() {
    check_login(
        "
        > login PLAIN \\0user\\0secret
        C: AUTH PLAIN AHVzZXIAc2VjcmV0
        S: 235 2.7.0 Authentication successful
        = ready logins in-as-user
        ",
    );
    check_login(
        "
        > login LOGIN
        C: AUTH LOGIN
        S: 334 VXNlcm5hbWU6
        = challenge: Username:
        > answer user
        C: dXNlcg==
        S: 334 UGFzc3dvcmQ6
        = challenge: Password:
        > answer secret
        C: c2VjcmV0
        S: 235 ok
        = ready logins in-as-user
        ",
    );
    check_login(
        "
        > login SCRAM-SHA-256 n,,n=user,r=x
        C: AUTH SCRAM-SHA-256 biwsbj11c2VyLHI9eA==
        S: 334 cj14eQ==
        = challenge: r=xy
        > answer c=biws
        C: Yz1iaXdz
        S: 334 dj0x
        = challenge: v=1
        > answer
        C:
        S: 235 2.7.0 in
        = ready logins in-as-user
        ",
    );
}

#[test]
fn what_was_offered_before_tls_may_be_somebody_elses_offer() {
    check(
        "
        S: 220 mx
        C: EHLO client.example
        S: 250-mx
        S: 250-STARTTLS
        S: 250 AUTH PLAIN
        = ready starttls logins
        > starttls
        C: STARTTLS
        S: 220 go
        = upgrade
        > handshake
        C: EHLO client.example
        S: 250 mx
        = ready in-tls
        ",
    );
}

#[test]
fn a_login_that_is_refused_is_no_word_about_the_message() {
    for (said, told) in [
        ("535 5.7.8 no such user", "the login was refused: 535 5.7.8 no such user"),
        ("454 4.7.0 later", "the login was refused: 454 4.7.0 later"),
        ("504 5.5.4 unknown", "the login was refused: 504 5.5.4 unknown"),
        ("530 5.7.0 in clear", "the login was refused: 530 5.7.0 in clear"),
    ] {
        check_login(&format!(
            "> login PLAIN \\0u\\0p
             C: AUTH PLAIN AHUAcA==
             S: {said}
             = failed at ehlo: Login 4.7.8 ({told})
             = closed"
        ));
    }
}

#[test]
fn a_remote_that_repeats_what_a_login_says_is_told_of_without_it() {
    for (said, told) in [
        ("unknown: AUTH PLAIN AHVzZXIAaGlkZGVuLXdvcmQ=", "unknown: AUTH PLAIN [not shown]"),
        ("\"AHVzZXIAaGlkZ...\" twice: AHVzZXIAaGlkZGVuLXdvcmQ=!", "\"[not shown]...\" twice: [not shown]!"),
        ("hidden-word is not the password of user", "[not shown] is not the password of user"),
        ("AHVzZXI is too short, and hidden-wor no password", "AHVzZXI is too short, and hidden-wor no password"),
    ] {
        check_login(&format!(
            r"> login PLAIN \0user\0hidden-word
             C: AUTH PLAIN AHVzZXIAaGlkZGVuLXdvcmQ=
             S: 535 5.7.8 {said}
             = failed at ehlo: Login 4.7.8 (the login was refused: 535 5.7.8 {told})
             = closed
             > transcript
             T: 0 < 220 mx
             T: 0 > EHLO client.example
             T: 0 < 250-mx
             T: 0 < 250 AUTH PLAIN LOGIN SCRAM-SHA-256
             T: 0 > AUTH PLAIN [not shown]
             T: 0 < 535 5.7.8 {told}
             T: 0 * the login was refused: 535 5.7.8 {told}
             = closed"
        ));
    }
    check_login(
        r#"
        > login LOGIN
        C: AUTH LOGIN
        S: 334 VXNlcm5hbWU6
        = challenge: Username:
        > answer user
        C: dXNlcg==
        S: 334 UGFzc3dvcmQ6
        = challenge: Password:
        > answer hidden-word
        C: aGlkZGVuLXdvcmQ=
        S: 500 5.5.1 user: "aGlkZGVuLXdvcmQ=", hidden-word
        = failed at ehlo: Login 4.7.8 (the login was refused: 500 5.5.1 user: "[not shown]", [not shown])
        = closed
        "#,
    );
}

#[test]
fn logins_that_go_wrong() {
    for (said, told) in [
        ("S: 250 fine", "Protocol 4.5.0 (the remote answered AUTH with neither 235 nor 334)"),
        ("S: 354 go", "Protocol 4.5.0 (the remote answered AUTH with neither 235 nor 334)"),
        ("S: 334 not base64!", "Protocol 4.5.0 (the remote's challenge to AUTH is not base64)"),
        ("S: 421 4.3.2 closing", "421 4.3.2 closing"),
        ("> eof", "Closed 4.4.2 (connection lost while logging in)"),
        ("> wait 300", "Timeout 4.4.2 (timed out while logging in)"),
    ] {
        check_login(&format!(
            "> login PLAIN \\0u\\0p
             C: AUTH PLAIN AHUAcA==
             {said}
             = failed at ehlo: {told}
             = closed"
        ));
    }
    check_login(
        "
        > login LOGIN
        C: AUTH LOGIN
        S: 334
        = challenge:
        > cancel
        C: *
        S: 501 5.7.0 cancelled
        = failed at ehlo: Login 4.7.8 (the login was refused: 501 5.7.0 cancelled)
        = closed
        ",
    );
    check_login(
        "
        > login SCRAM-SHA-256 n,,n=user,r=x
        C: AUTH SCRAM-SHA-256 biwsbj11c2VyLHI9eA==
        S: 235 in without proof
        = ready logins in-as-user
        > reject it proves nothing
        = failed at ehlo: Login 4.7.8 (the login was broken off: it proves nothing)
        = closed
        ",
    );
}

#[test]
fn an_initial_response_that_does_not_fit_the_command_waits_for_an_empty_challenge() {
    // RFC 5321 section 4.5.3.1.4 has 512 octets, and `AUTH PLAIN` with its end takes 13.
    for (octets, fits) in [(372, true), (375, false)] {
        let mut session = ready_for_login();
        let initial = vec![b'x'; octets];
        session.log_in("PLAIN".parse().unwrap(), Some(&initial), session_time());
        let encoded = format!("{}\r\n", "eHh4".repeat(octets / 3));
        let whole = format!("AUTH PLAIN {encoded}");
        assert_eq!(whole.len() <= 512, fits);
        if !fits {
            assert_eq!(session.output(), b"AUTH PLAIN\r\n");
            session.sent(12, session_time());
            session.handle_input(b"334 \r\n", session_time());
        }
        let expected = if fits { whole } else { encoded };
        assert_eq!(session.output(), expected.as_bytes());
        let written = session.output().len();
        session.sent(written, session_time());
        session.handle_input(b"235 in\r\n", session_time());
        assert!(session.poll() == ClientAction::Ready && session.is_logged_in());
    }
}

#[test]
fn a_remote_that_never_stops_challenging_is_left() {
    let mut session = ready_for_login();
    session.log_in("LOGIN".parse().unwrap(), None, session_time());
    let mut challenges = 0;
    let failure = loop {
        session.handle_input(b"334 eA==\r\n", session_time());
        match session.poll() {
            ClientAction::Challenge(_) => challenges += 1,
            ClientAction::Failed(failure) => break failure,
            other => panic!("{other:?}"),
        }
        session.answer(Some(b"x"), session_time());
    };
    assert_eq!(challenges, 8);
    assert!(describe(&failure.cause).contains("does not come to an end"), "{failure:?}");
}

#[test]
fn a_password_stands_in_no_debug_output() {
    let mut session = ready_for_login();
    session.log_in("PLAIN".parse().unwrap(), Some(b"\0user\0secret"), session_time());
    assert!(session.output().ends_with(b"AHVzZXIAc2VjcmV0\r\n"));
    let shown = format!("{session:?}");
    assert!(!shown.contains("secret") && !shown.contains("AHVz") && !shown.contains("65, 72"), "{shown}");
}

fn ready_for_login() -> ClientSession {
    let mut session = ClientSession::new(Arc::new(ClientConfig::new("client.example")), session_time());
    session.handle_input(b"220 mx\r\n", session_time());
    let octets = session.output().len();
    session.sent(octets, session_time());
    session.handle_input(b"250-mx\r\n250 AUTH PLAIN LOGIN\r\n", session_time());
    session
}

#[expect(clippy::disallowed_methods, reason = "a test needs some beginning")]
fn session_time() -> Instant {
    Instant::now()
}

#[test]
fn starttls_and_what_is_forgotten_by_it() {
    // RFC 3207 section 4.2.
    check(
        "S: 220 mx
        C: EHLO client.example
        S: 250-mx
        S: 250-PIPELINING
        S: 250 STARTTLS
        = ready pipelining starttls
        > starttls
        C: STARTTLS
        S: 220 2.0.0 go
        = upgrade
        > handshake
        C: EHLO client.example
        S: 250-mx
        S: 250 SIZE
        = ready size in-tls
        > begin a@example.com b@example.org = x
        C: MAIL FROM:<a@example.com> SIZE=1",
    );
    check(
        "S: 220 mx
        C: EHLO client.example
        S: 250-mx
        S: 250 STARTTLS
        = ready starttls
        > starttls
        C: STARTTLS
        S: 454 4.7.0 no TLS today
        = failed at starttls: 454 4.7.0 no TLS today
        = closed",
    );
    check(
        "S: 220 mx
        C: EHLO client.example
        S: 250-mx
        S: 250 STARTTLS
        = ready starttls
        > starttls
        C: STARTTLS
        S: 250 yes
        = failed at starttls: Protocol 4.5.0 (the remote answered STARTTLS with another 2xx)
        = closed",
    );
    check(
        "S: 220 mx
        C: EHLO client.example
        S: 250-mx
        S: 250 STARTTLS
        = ready starttls
        > starttls
        C: STARTTLS
        S: 220 go
        = upgrade
        > wait 300
        = failed at starttls: Timeout 4.4.2 (timed out during STARTTLS)
        = closed",
    );
}

#[test]
fn every_wait_has_its_end() {
    // RFC 5321 section 4.5.3.2.
    check(
        "> wait 299
        > wait 1
        = failed at banner: Timeout 4.4.2 (timed out while waiting for the greeting)
        = closed",
    );
    check(
        "S: 220 mx
        C: EHLO client.example
        > wait 299
        > wait 1
        = failed at ehlo: Timeout 4.4.2 (timed out while waiting for the reply to EHLO)
        = closed",
    );
    check(&format!(
        "{PLAIN}
        > wait 100000
        = ready
        > begin a@example.com b@example.org c@example.org = x
        C: MAIL FROM:<a@example.com>
        > wait 299
        S: 250 ok
        C: RCPT TO:<b@example.org>
        > wait 299
        S: 250 ok
        C: RCPT TO:<c@example.org>
        > wait 299
        S: 250 ok
        C: DATA
        > wait 119
        S: 354 go
        C: x
        C: .
        > wait 599
        > wait 1
        = finished, spent
        = final: Unanswered 4.4.2 (timed out while waiting for the reply to the end of data)
        = final: Unanswered 4.4.2 (timed out while waiting for the reply to the end of data)
        = closed"
    ));
    check(&format!(
        "{PLAIN}
        > begin a@example.com b@example.org = x
        C: MAIL FROM:<a@example.com>
        S: 250 ok
        C: RCPT TO:<b@example.org>
        S: 250 ok
        C: DATA
        > wait 119
        > wait 1
        = finished, spent
        = data: Timeout 4.4.2 (timed out while sending the envelope)
        = closed"
    ));
    check(&format!(
        "{PLAIN}
        > begin a@example.com b@example.org = x
        C: MAIL FROM:<a@example.com>
        > wait_and_drip 300
        = finished, spent
        = mail: Timeout 4.4.2 (timed out while sending the envelope)
        = closed"
    ));
    check(&format!(
        "{PLAIN}
        > quit
        C: QUIT
        > wait 5
        = closed"
    ));
    check(&format!(
        "{PLAIN}
        > quit
        C: QUIT
        > eof
        = closed"
    ));
}

#[test]
fn plaintext_between_the_reply_to_starttls_and_the_handshake_is_an_injection() {
    // RFC 3207 section 4.2: whatever is cut where, nothing said in clear is taken for something said in TLS.
    let dialogue = "S: 220 mx\nS: 250-mx\\r\\n250 STARTTLS\n> starttls\nS: 220 go\\r\\n250 injected";
    let whole = Play::new(Cuts::new(&[usize::MAX])).run(dialogue);
    assert!(
        whole.ends_with(
            "= failed at starttls: Protocol 4.5.0 (the remote sent plaintext after its reply to STARTTLS)\n= closed\n"
        ),
        "{whole}"
    );
    assert!(!whole.contains("= upgrade"), "{whole}");
    let cut = Play::new(Cuts::new(&[1])).run(&format!("{dialogue}\n> handshake"));
    assert!(!cut.contains("in-tls") && cut.ends_with("= closed\n"), "{cut}");
}

#[test]
fn a_group_is_bounded_and_data_belongs_to_the_last() {
    let recipients: Vec<_> = (0..250).map(|number| format!("r{number}@example.org")).collect();
    let mut dialogue = format!("{PIPELINED}> begin a@example.com {} = x\n", recipients.join(" "));
    let mut commands = vec!["MAIL FROM:<a@example.com> SIZE=1".to_owned()];
    commands.extend(recipients.iter().map(|recipient| format!("RCPT TO:<{recipient}>")));
    commands.push("DATA".to_owned());
    for group in commands.chunks(100) {
        for command in group {
            writeln!(dialogue, "C: {command}").unwrap();
        }
        for command in group {
            dialogue.push_str(if command == "DATA" { "S: 354 go\n" } else { "S: 250 ok\n" });
        }
    }
    dialogue.push_str("C: x\nC: .\nS: 250 ok\n= finished, reusable\n");
    dialogue.push_str(&"= final: 250 ok\n".repeat(250));
    dialogue.push_str("= ready pipelining 8bit size");
    check(&dialogue);
}

#[test]
fn a_refused_sender_ends_a_transaction_of_several_groups_after_the_first() {
    let recipients: Vec<_> = (0..150).map(|number| format!("r{number}@example.org")).collect();
    let mut dialogue = format!("{PIPELINED}> begin a@example.com {} = x\n", recipients.join(" "));
    dialogue.push_str("C: MAIL FROM:<a@example.com> SIZE=1\n");
    for recipient in recipients.iter().take(99) {
        writeln!(dialogue, "C: RCPT TO:<{recipient}>").unwrap();
    }
    dialogue.push_str("S: 550 5.1.8 no\n");
    dialogue.push_str(&"S: 503 no\n".repeat(99));
    dialogue.push_str("= finished, reusable\n");
    dialogue.push_str(&"= mail: 550 5.1.8 no\n".repeat(150));
    dialogue.push_str("= ready pipelining 8bit size");
    check(&dialogue);
}

#[test]
fn replies_before_the_end_of_data() {
    for (reply, expected) in [
        ("250 2.0.0 already", "Protocol 4.5.0 (the remote replied before the end of data)"),
        ("552 5.3.4 too big", "552 5.3.4 too big"),
        ("421 4.3.2 bye", "421 4.3.2 bye"),
    ] {
        let mut play = Play::new(Cuts::new(&[usize::MAX]));
        play.log = String::new();
        let dialogue = "S: 220 mx\nS: 250-mx\\r\\n250 PIPELINING\n> begin a@example.com b@example.org = x";
        let mut lines = dialogue.lines();
        play.settle();
        play.hear(&unescape(lines.next().unwrap().strip_prefix("S: ").unwrap()));
        play.hear(&unescape(lines.next().unwrap().strip_prefix("S: ").unwrap()));
        play.command(lines.next().unwrap().strip_prefix("> ").unwrap());
        // The reply to the end of data comes in the same segment as the 354.
        play.hear(format!("250 ok\r\n250 ok\r\n354 go\r\n{reply}\r\n").as_bytes());
        assert!(play.log.ends_with(&format!("= finished, spent\n= final: {expected}\n= closed\n")), "{}", play.log);
    }
}

#[test]
fn more_than_was_asked_for_spends_the_session() {
    let dialogue =
        format!("{PIPELINED}> begin a@example.com b@example.org = x\nS: 250 ok\nS: 550 no\nS: 554 no\nS: 250 extra\n");
    let log = Play::new(Cuts::new(&[usize::MAX])).run(&dialogue);
    assert!(log.ends_with("= finished, spent\n= rcpt: 550 no\n= closed\n"), "{log}");
}

#[test]
fn progress_is_what_counts_while_content_is_sent() {
    let mut play = Play::new(Cuts::new(&[usize::MAX]));
    play.hear(b"220 mx\r\n");
    play.hear(b"250 mx\r\n");
    play.session.begin(
        Transaction {
            sender: ReversePath::Null,
            recipients: vec![Mailbox::parse("b@example.org").unwrap()],
            eight_bit: false,
            smtputf8: false,
            proper_lines: false,
            size_bytes: 0,
            wishes: Wishes::default(),
        },
        play.now,
    );
    for reply in ["250 ok\r\n", "250 ok\r\n", "354 go\r\n"] {
        let length = play.session.output().len();
        play.session.sent(length, play.now);
        play.session.handle_input(reply.as_bytes(), play.now);
    }
    play.session.body(&[b'x'; 4096]);
    play.session.end_of_body(play.now);
    for _ in 0..19 {
        play.now += Duration::from_secs(179);
        play.session.handle_timeout(play.now);
        play.session.sent(1, play.now);
    }
    assert_eq!(play.session.poll(), ClientAction::Send, "an octet every three minutes is progress");
    play.now += Duration::from_secs(179);
    play.session.handle_timeout(play.now);
    play.session.sent(1, play.now);
    play.now += Duration::from_secs(21);
    play.session.handle_timeout(play.now);
    assert!(matches!(play.session.poll(), ClientAction::Finished(_)), "but not for ever");
}

#[test]
fn an_over_long_reply_text_is_kept_in_part() {
    let text = "é".repeat(2000);
    let dialogue = format!("{PLAIN}> begin a@example.com b@example.org = x\nS: 550 5.1.1 {text}\n");
    let log = Play::new(Cuts::new(&[usize::MAX])).run(&dialogue);
    assert!(log.contains(&format!("= mail: 550 5.1.1 {}\n", "é".repeat(1024))), "{log}");
}

#[test]
fn a_name_cannot_break_out_of_its_line() {
    let config = ClientConfig::new("x\r\nQUIT y");
    let play = Play::new(Cuts::new(&[usize::MAX]));
    let mut session = ClientSession::new(Arc::new(config), play.now);
    session.handle_input(b"220 mx\r\n", play.now);
    assert_eq!(session.output(), b"EHLO xQUITy\r\n");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever a remote sends, a session neither panics nor hangs, says only whole lines, and decides about everybody.
    #[test]
    fn garbage(
        replies in proptest::collection::vec(prop_oneof![
            4 => Just("250 ok\r\n".to_owned()),
            2 => Just("220 mx\r\n".to_owned()),
            2 => Just("354 go\r\n".to_owned()),
            1 => Just("250-mx\r\n250 PIPELINING\r\n".to_owned()),
            1 => Just("250-mx\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n".to_owned()),
            1 => Just("421 bye\r\n".to_owned()),
            1 => "[2-5][0-9][0-9][ -]\\PC{0,9}\r\n",
            1 => "\\PC{0,20}",
        ], 0..16),
        sizes in proptest::collection::vec(1_usize..40, 1..6),
        content in "[a.\r\né]{0,40}",
    ) {
        let mut play = Play::new(Cuts::new(&sizes));
        play.was_ready = true;
        let mut said = Vec::new();
        let mut reports = 0;
        let mut begun = 0;
        for reply in &replies {
            let mut rest = reply.as_bytes();
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(play.cuts.next(rest.len()));
                play.session.handle_input(piece, play.now);
                rest = after;
                for _ in 0..64 {
                    match play.session.poll() {
                        ClientAction::Send => {
                            said.extend_from_slice(play.session.output());
                            play.session.sent(usize::MAX, play.now);
                        }
                        ClientAction::Ready => {
                            begun += 1;
                            let recipients = vec![Mailbox::parse("b@example.org").unwrap(), Mailbox::parse("ü@example.org").unwrap()];
                            play.session.begin(Transaction { sender: ReversePath::Null, recipients, eight_bit: begun % 2 == 0, smtputf8: false, proper_lines: begun % 3 == 0, size_bytes: 1, wishes: Wishes::default() }, play.now);
                        }
                        ClientAction::NeedBody => {
                            play.session.body(content.as_bytes());
                            play.session.end_of_body(play.now);
                        }
                        ClientAction::Finished(report) => {
                            prop_assert_eq!(report.recipients.len(), 2);
                            reports += 1;
                        }
                        ClientAction::Failed(_) | ClientAction::UpgradeTls => {}
                        ClientAction::NeedInput | ClientAction::Challenge(_) | ClientAction::Closed => break,
                    }
                    // A remote without 8BITMIME has every second transaction fail at once: that is no hang.
                    if begun > 60 { break }
                }
            }
        }
        play.session.handle_eof(play.now);
        if let ClientAction::Finished(_) = play.session.poll() {
            reports += 1;
        }
        prop_assert_eq!(play.session.poll(), ClientAction::Closed);
        prop_assert_eq!(reports, begun);
        for line in said.split_inclusive(|octet| *octet == b'\n') {
            prop_assert!(line.ends_with(b"\r\n") && !line[..line.len() - 2].contains(&b'\r'));
        }
    }
}

const CAPABLE: &str = "
    S: 220 mx.example.org ESMTP
    C: EHLO client.example
    S: 250-mx.example.org
    S: 250-PIPELINING
    S: 250-DSN
    S: 250-CHUNKING
    S: 250-BINARYMIME
    S: 250-REQUIRETLS
    S: 250-DELIVERBY
    S: 250 MT-PRIORITY MIXER
    = ready pipelining
";

#[test]
fn what_a_sender_asks_for_is_passed_on_where_it_is_offered() {
    // RFC 3461, RFC 2852, RFC 6710, RFC 8689.
    check(&format!(
        "{CAPABLE}
        > wish headers envid=Q+1 by=100R priority=-3 requiretls for=b@example.org;NEVER;rfc822;x=y@example.com for=c@example.org;SUCCESS,DELAY;utf-8;ü@example.com
        > begin a@example.com b@example.org c@example.org d@example.org = x
        C: MAIL FROM:<a@example.com> REQUIRETLS RET=HDRS ENVID=Q+2B1 BY=100;RT MT-PRIORITY=-3
        C: RCPT TO:<b@example.org> NOTIFY=NEVER ORCPT=rfc822;x+3Dy@example.com
        C: RCPT TO:<c@example.org> NOTIFY=SUCCESS,DELAY ORCPT=utf-8;\\x{{FC}}@example.com
        C: RCPT TO:<d@example.org>
        C: DATA
        S: 250 ok
        S: 550 no
        S: 550 no
        S: 550 no
        S: 554 nobody
        = finished, reusable
        = rcpt: 550 no
        = rcpt: 550 no
        = rcpt: 550 no
        = ready pipelining
        "
    ));
    // Elsewhere it is left out, where that does not matter.
    check(&format!(
        "{PLAIN}
        > wish headers envid=Q+1 by=100N priority=3 for=b@example.org;NEVER;rfc822;x@example.com
        > begin a@example.com b@example.org = x
        C: MAIL FROM:<a@example.com>
        S: 550 no
        = finished, reusable
        = mail: 550 no
        = ready
        "
    ));
}

#[test]
fn what_must_not_be_left_out_is_not_sent_elsewhere() {
    for (wish, said) in [
        ("requiretls", "RequireTls 5.7.30 (REQUIRETLS is asked for and the remote does not offer it)"),
        ("by=100R", "NotCapable 5.3.3 (a time limit is set and the remote does not offer DELIVERBY)"),
        ("binary", "Conversion 5.6.3 (the content is binary and the remote does not offer BINARYMIME)"),
    ] {
        check(&format!(
            "{PLAIN}
            > wish {wish}
            > begin a@example.com b@example.org = x
            = finished, reusable
            = mail: {said}
            = ready
            "
        ));
    }
}

#[test]
fn binary_content_is_counted_and_goes_as_it_is() {
    // RFC 3030: the content waits for the replies to RCPT, since nothing stops it once its length is said.
    check(&format!(
        "{CAPABLE}
        > wish binary
        > begin a@example.com b@example.org c@example.org = .\\r\\nx\\r\\n
        C: MAIL FROM:<a@example.com> BODY=BINARYMIME
        C: RCPT TO:<b@example.org>
        C: RCPT TO:<c@example.org>
        S: 250 ok
        S: 250 ok
        S: 550 no
        C: BDAT 6 LAST
        C: .
        C: x
        S: 250 taken
        = finished, reusable
        = final: 250 taken
        = rcpt: 550 no
        = ready pipelining
        > wish binary
        > begin a@example.com b@example.org = x
        C: MAIL FROM:<a@example.com> BODY=BINARYMIME
        C: RCPT TO:<b@example.org>
        S: 250 ok
        S: 550 no
        = finished, reusable
        = rcpt: 550 no
        = ready pipelining
        "
    ));
}

#[test]
fn a_probe_asks_and_sends_nothing() {
    check(&format!(
        "{CAPABLE}
        > wish probe
        > begin <> b@example.org c@example.org = x
        C: MAIL FROM:<>
        C: RCPT TO:<b@example.org>
        C: RCPT TO:<c@example.org>
        C: RSET
        S: 250 ok
        S: 250 there
        S: 550 not there
        S: 250 ok
        = finished, reusable
        = rcpt: 250 there
        = rcpt: 550 not there
        = ready pipelining
        "
    ));
}

#[test]
fn lmtp_answers_for_each_recipient() {
    // RFC 2033 section 4.2.
    check(
        "
        > lmtp
        S: 220 store.example LMTP
        C: LHLO client.example
        S: 250-store.example
        S: 250 PIPELINING
        = ready pipelining
        > begin a@example.com b@example.org c@example.org d@example.org = x
        C: MAIL FROM:<a@example.com>
        C: RCPT TO:<b@example.org>
        C: RCPT TO:<c@example.org>
        C: RCPT TO:<d@example.org>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 550 no
        S: 250 ok
        S: 354 go
        C: x
        C: .
        S: 250 stored
        S: 452 full
        = finished, reusable
        = final: 250 stored
        = rcpt: 550 no
        = final: 452 full
        = ready pipelining
        ",
    );
}

const CHUNKING: &str = "
        S: 220 mx.example.org ESMTP
        C: EHLO client.example
        S: 250-mx.example.org
        S: 250-PIPELINING
        S: 250 CHUNKING
        = ready pipelining";

#[test]
fn a_small_message_goes_in_one_go_with_its_envelope() {
    check(&format!(
        "{CHUNKING}
        > begin a@example.com b@example.org c@example.org = .hello\\r\\n
        C: MAIL FROM:<a@example.com>
        C: RCPT TO:<b@example.org>
        C: RCPT TO:<c@example.org>
        C: BDAT 8 LAST
        C: .hello
        S: 250 ok
        S: 250 ok
        S: 550 5.1.1 who
        S: 250 2.0.0 kept
        = finished, reusable
        = final: 250 2.0.0 kept
        = rcpt: 550 5.1.1 who
        = ready pipelining
        > begin a@example.com b@example.org = hello\\r\\n
        C: MAIL FROM:<a@example.com>
        C: RCPT TO:<b@example.org>
        C: BDAT 7 LAST
        C: hello
        S: 250 ok
        S: 250 ok
        S: 554 5.7.1 spam
        = finished, reusable
        = final: 554 5.7.1 spam
        = ready pipelining
        > begin a@example.com b@example.org = x
        C: RSET
        C: MAIL FROM:<a@example.com>
        C: RCPT TO:<b@example.org>
        C: DATA"
    ));
}

#[test]
fn what_is_said_to_content_that_nobody_is_to_have_is_waited_for() {
    for refusals in
        ["S: 451 4.3.0 not now\nS: 503 no sender\nS: 503 nobody", "S: 250 ok\nS: 550 5.1.1 who\nS: 554 nobody"]
    {
        let said = if refusals.contains("451") { "mail: 451 4.3.0 not now" } else { "rcpt: 550 5.1.1 who" };
        check(&format!(
            "{CHUNKING}
            > begin a@example.com b@example.org = hello\\r\\n
            C: MAIL FROM:<a@example.com>
            C: RCPT TO:<b@example.org>
            C: BDAT 7 LAST
            C: hello
            {refusals}
            = finished, reusable
            = {said}
            = ready pipelining
            > begin a@example.com b@example.org = x
            C: RSET
            C: MAIL FROM:<a@example.com>
            C: RCPT TO:<b@example.org>
            C: DATA"
        ));
    }
}

#[test]
fn content_that_went_in_one_go_may_have_been_taken_unless_nothing_was_answered() {
    let begun = format!(
        "{CHUNKING}
        > begin a@example.com b@example.org c@example.org = hello\\r\\n
        C: MAIL FROM:<a@example.com>
        C: RCPT TO:<b@example.org>
        C: RCPT TO:<c@example.org>
        C: BDAT 7 LAST
        C: hello"
    );
    check(&format!(
        "{begun}
        > eof
        = finished, spent
        = mail: Closed 4.4.2 (connection lost while waiting for the replies to the message)
        = mail: Closed 4.4.2 (connection lost while waiting for the replies to the message)
        = closed"
    ));
    check(&format!(
        "{begun}
        S: 250 ok
        S: 550 5.1.1 who
        > eof
        = finished, spent
        = rcpt: 550 5.1.1 who
        = final: Unanswered 4.4.2 (connection lost while waiting for the replies to the message)
        = closed"
    ));
    check(&format!(
        "{begun}
        > wait 300
        = finished, spent
        = final: Unanswered 4.4.2 (timed out while waiting for the replies to the message)
        = final: Unanswered 4.4.2 (timed out while waiting for the replies to the message)
        = closed"
    ));
    check(&format!(
        "{begun}
        S: 250 ok
        S: 250 ok
        S: 250 ok
        > wait 300
        > wait 300
        = finished, spent
        = final: Unanswered 4.4.2 (timed out while waiting for the replies to the message)
        = final: Unanswered 4.4.2 (timed out while waiting for the replies to the message)
        = closed"
    ));
    check(&format!(
        "{begun}
        S: 421 4.3.2 going
        = finished, spent
        = mail: 421 4.3.2 going
        = mail: 421 4.3.2 going
        = closed"
    ));
    check(&format!(
        "{begun}
        S: 250 ok
        S: 250 ok
        S: 354 what?
        = finished, spent
        = final: Unanswered 4.4.2 (the remote answered MAIL or RCPT with 3xx)
        = final: Unanswered 4.4.2 (the remote answered MAIL or RCPT with 3xx)
        = closed"
    ));
}

#[test]
fn content_waits_for_its_envelope_where_it_is_large_or_improper_or_the_remote_offers_too_little() {
    let after = |offers: &str, content: &str, config: fn(&mut ClientConfig)| {
        let mut play = Play::new(Cuts::new(&[usize::MAX]));
        let mut own = ClientConfig::new("client.example");
        config(&mut own);
        play.session = ClientSession::new(Arc::new(own), play.now);
        play.settle();
        play.hear(b"220 mx\r\n");
        play.hear(format!("250-mx\r\n{offers}\r\n").as_bytes());
        play.command(&format!("begin a@example.com b@example.org = {content}"));
        play.settle();
        play.log.contains("BDAT")
    };
    let (both, large) = ("250-PIPELINING\r\n250 CHUNKING", format!("{}\\r\\n", "x".repeat(65_536)));
    assert!(after(both, "hello\\r\\n", |_| {}));
    assert!(after(&format!("250-SIZE 7\r\n{both}"), "hello\\r\\n", |_| {}));
    assert!(!after(&format!("250-SIZE 6\r\n{both}"), "hello\\r\\n", |_| {}));
    assert!(!after("250 CHUNKING", "hello\\r\\n", |_| {}));
    assert!(!after("250 PIPELINING", "hello\\r\\n", |_| {}));
    assert!(!after(both, "hello", |_| {}), "the last line has no end");
    assert!(!after(both, &large, |_| {}));
    assert!(!after(both, "hello\\r\\n", |config| config.chunking = false));
    assert!(!after(both, "hello\\r\\n", |config| config.lmtp = true));
}

#[test]
fn a_transcript_tells_what_was_said_and_when_without_content_and_passwords() {
    check(
        r"
        S: 220-mx.example.net ESMTP
        S: 220 no spam
        C: EHLO client.example
        S: 250-mx.example.net
        S: 250-PIPELINING
        S: 250 AUTH PLAIN SCRAM-SHA-256
        = ready pipelining logins
        > wait 1
        = ready pipelining logins
        > login SCRAM-SHA-256 tellnobody
        C: AUTH SCRAM-SHA-256 dGVsbG5vYm9keQ==
        S: 334 c2VjcmV0
        = challenge: secret
        > answer hidden
        C: aGlkZGVu
        S: 235 2.7.0 in
        = ready pipelining logins in-as-user
        > wait 1
        = ready pipelining logins in-as-user
        > begin a@example.org b@example.net c@example.net = private
        C: MAIL FROM:<a@example.org>
        C: RCPT TO:<b@example.net>
        C: RCPT TO:<c@example.net>
        C: DATA
        > wait 3
        S: 250 2.1.0 go on
        S: 250 2.1.5 him I know
        S: 550-5.1.1 not
        S: 550 5.1.1 her
        S: 354 tell me
        C: private
        C: .
        S: 250 2.0.0 kept
        = finished, reusable
        = final: 250 2.0.0 kept
        = rcpt: 550 5.1.1 not her
        = ready pipelining logins in-as-user
        > transcript
        T: 0 < 220-mx.example.net ESMTP
        T: 0 < 220 no spam
        T: 0 > EHLO client.example
        T: 0 < 250-mx.example.net
        T: 0 < 250-PIPELINING
        T: 0 < 250 AUTH PLAIN SCRAM-SHA-256
        T: 1 > AUTH SCRAM-SHA-256 [not shown]
        T: 1 < 334 [not shown]
        T: 1 > [not shown]
        T: 1 < 235 2.7.0 in
        T: 2 > MAIL FROM:<a@example.org>
        T: 2 > RCPT TO:<b@example.net>
        T: 2 > RCPT TO:<c@example.net>
        T: 2 > DATA
        T: 5 < 250 2.1.0 go on
        T: 5 < 250 2.1.5 him I know
        T: 5 < 550-5.1.1 not
        T: 5 < 550 5.1.1 her
        T: 5 < 354 tell me
        T: 5 * content of 7 octets
        T: 5 < 250 2.0.0 kept
        = ready pipelining logins in-as-user
        > reused
        = ready pipelining logins in-as-user
        > begin a@example.org b@example.net = x
        C: MAIL FROM:<a@example.org>
        C: RCPT TO:<b@example.net>
        C: DATA
        > wait 7
        > eof
        = finished, spent
        = mail: Closed 4.4.2 (connection lost while sending the envelope)
        = closed
        > transcript
        T: 0 > MAIL FROM:<a@example.org>
        T: 0 > RCPT TO:<b@example.net>
        T: 0 > DATA
        T: 7 * connection lost while sending the envelope
        = closed",
    );
}

#[test]
fn where_mail_came_from_is_said_to_who_asks_and_a_refusal_of_that_changes_nothing() {
    check(
        r"
        S: 220 mx.example.org ESMTP
        C: EHLO client.example
        S: 250-mx.example.org
        S: 250-PIPELINING
        S: 250 XFORWARD ADDR HELO SOURCE
        = ready pipelining
        > wish origin
        > begin a@example.com b@example.org = x
        C: XFORWARD ADDR=192.0.2.1
        C: XFORWARD HELO=client+20one
        C: MAIL FROM:<a@example.com>
        C: RCPT TO:<b@example.org>
        C: DATA
        S: 501 5.5.4 what?
        S: 250 ok
        S: 250 ok
        S: 250 ok
        S: 354 go
        C: x
        C: .
        S: 250 ok
        = finished, reusable
        = final: 250 ok
        = ready pipelining
        > begin a@example.com b@example.org = x
        C: MAIL FROM:<a@example.com>
        C: RCPT TO:<b@example.org>
        C: DATA",
    );
}
