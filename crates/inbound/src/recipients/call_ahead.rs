//! Servers that know which recipients there are: asked with MAIL and RCPT, and nothing is sent. Not responsible for
//! which domains those are.

use std::sync::Arc;
use std::time::Duration;

use mailtier_config::{CallAheadConfig, ConfigError, domain_pattern};
use mailtier_smtp::{ClientConfig, RecipientReport, Transaction, Wishes};
use mailtier_transport::client::{ConnectOptions, Connection, TlsMode};
use mailtier_types::{Cause, Mailbox, Reply, ReversePath, Stage};
use moka::Expiry;
use moka::future::Cache;
use tokio::sync::Semaphore;

use super::Answer;

/// Answers that are remembered.
const REMEMBERED: u64 = 100_000;
/// Connections to one server at a time: whoever tries out recipients neither floods it nor uses up our descriptors.
const CONNECTIONS: usize = 20;

/// One server.
#[derive(Debug)]
pub(super) struct CallAhead {
    /// Exactly these, and below those with a dot in front.
    domains: Vec<String>,
    server: String,
    timeout: Duration,
    smtp: Arc<ClientConfig>,
    turns: Semaphore,
    answers: Cache<String, Answer>,
}

/// How long each kind of answer is remembered.
#[derive(Clone, Copy, Debug)]
struct Memory {
    known: Duration,
    unknown: Duration,
}

impl Expiry<String, Answer> for Memory {
    fn expire_after_create(&self, _key: &String, answer: &Answer, _at: std::time::Instant) -> Option<Duration> {
        Some(match answer {
            Answer::Known => self.known,
            Answer::Unknown { .. } => self.unknown,
            // Never kept: they are asked for again.
            Answer::Unsure | Answer::Alias(_) => Duration::ZERO,
        })
    }
}

impl CallAhead {
    /// # Errors
    /// A domain that is none.
    pub(super) fn new(config: &CallAheadConfig, hostname: &str) -> Result<Self, ConfigError> {
        let mut domains = Vec::with_capacity(config.domains.len());
        for name in &config.domains {
            let domain = domain_pattern(name)
                .map_err(|error| ConfigError::bad("inbound.call_ahead.domains", format!("holds `{name}`: {error}")))?;
            domains.push(domain);
        }
        let mut smtp = ClientConfig::new(hostname.to_owned());
        smtp.lmtp = config.lmtp;
        let memory = Memory { known: config.remember_known, unknown: config.remember_unknown };
        Ok(Self {
            domains,
            server: config.server.clone(),
            timeout: config.timeout,
            smtp: Arc::new(smtp),
            turns: Semaphore::new(CONNECTIONS),
            answers: Cache::builder().max_capacity(REMEMBERED).expire_after(memory).build(),
        })
    }

    /// Whether the server knows the recipients of this domain.
    pub(super) fn is_for(&self, recipient: &Mailbox) -> bool {
        let domain = recipient.domain_str();
        self.domains.iter().any(|known| match known.strip_prefix('.') {
            Some(_) => domain.ends_with(known.as_str()),
            None => domain == known,
        })
    }

    /// Several sessions that ask for the same recipient ask once.
    pub(super) async fn look_up(&self, recipient: &Mailbox) -> Answer {
        self.answers.get_with_by_ref(recipient.as_str(), self.ask(recipient)).await
    }

    async fn ask(&self, recipient: &Mailbox) -> Answer {
        // Boxed: a session that asks nobody should not have room for a client's.
        let asked = tokio::time::timeout(self.timeout, Box::pin(self.converse(recipient))).await;
        match asked {
            Ok(Some(report)) => judge(&report),
            _ => {
                tracing::warn!(server = self.server, %recipient, "cannot ask whether a recipient exists");
                Answer::Unsure
            }
        }
    }

    async fn converse(&self, recipient: &Mailbox) -> Option<RecipientReport> {
        let _turn = self.turns.acquire().await.ok()?;
        let address = tokio::net::lookup_host(&self.server).await.ok()?.next()?;
        let options = ConnectOptions {
            smtp: Arc::clone(&self.smtp),
            connect_timeout: self.timeout,
            source: None,
            proxy: None,
            tls: TlsMode::Off,
            server_name: self.server.clone(),
        };
        let mut connection = Connection::open(address, &options).await.ok()?;
        let transaction = Transaction {
            sender: ReversePath::Null,
            recipients: vec![recipient.clone()],
            eight_bit: false,
            smtputf8: false,
            proper_lines: false,
            size_bytes: 0,
            wishes: Wishes { probe: true, ..Wishes::default() },
        };
        let report = connection.deliver(transaction, &[]).await.recipients.pop();
        connection.quit().await;
        report
    }
}

/// Only a reply to RCPT says something about the recipient.
fn judge(report: &RecipientReport) -> Answer {
    match &report.cause {
        Cause::Reply(reply) if report.stage == Stage::Rcpt && reply.is_positive() => Answer::Known,
        Cause::Reply(reply) if report.stage == Stage::Rcpt && is_about_address(reply) => {
            Answer::Unknown { decides: true }
        }
        _ => Answer::Unsure,
    }
}

/// Whether a refusal says that there is no such recipient: by its enhanced code (RFC 3463 §3.2), or where it has none by
/// its code (RFC 5321 §4.2.3). One that is full, or a client that is blocked, says nothing of that.
fn is_about_address(reply: &Reply) -> bool {
    /// "Addressing status".
    const ADDRESS: u16 = 1;
    let by_code = || matches!(reply.code, 550 | 551 | 553);
    reply.is_permanent() && reply.enhanced.map_or_else(by_code, |enhanced| enhanced.subject() == ADDRESS)
}

#[cfg(test)]
mod tests {
    use mailtier_types::EnhancedCode;

    use super::*;

    #[test]
    fn only_a_verdict_on_the_recipient_is_one() {
        let said =
            |stage, code| RecipientReport { stage, cause: Cause::Reply(Reply::received(code, None, "x".into())) };
        assert_eq!(judge(&said(Stage::Rcpt, 250)), Answer::Known);
        assert_eq!(judge(&said(Stage::Rcpt, 550)), Answer::Unknown { decides: true });
        assert_eq!(judge(&said(Stage::Rcpt, 450)), Answer::Unsure);
        assert_eq!(judge(&said(Stage::Mail, 550)), Answer::Unsure);
        assert_eq!(judge(&said(Stage::Rcpt, 552)), Answer::Unsure, "it is full");
        let enhanced = |subject, detail| RecipientReport {
            stage: Stage::Rcpt,
            cause: Cause::Reply(Reply::received(550, Some(EnhancedCode::new(5, subject, detail)), "x".into())),
        };
        assert_eq!(judge(&enhanced(1, 1)), Answer::Unknown { decides: true });
        assert_eq!(judge(&enhanced(7, 1)), Answer::Unsure, "we are blocked");
    }

    #[test]
    fn a_server_is_asked_for_its_domains() {
        let config = CallAheadConfig {
            domains: vec!["Example.org".into(), ".example.net".into()],
            server: "127.0.0.1:25".into(),
            ..CallAheadConfig::default()
        };
        let server = CallAhead::new(&config, "mx.example.org").unwrap();
        for (recipient, is_for) in
            [("a@example.org", true), ("a@x.example.org", false), ("a@x.example.net", true), ("a@example.net", false)]
        {
            assert_eq!(server.is_for(&Mailbox::parse(recipient).unwrap()), is_for, "{recipient}");
        }
    }
}
