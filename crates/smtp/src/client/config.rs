//! What a client session is told once: its name and its patience. Not responsible for anything a transaction brings.

use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// Configuration shared by many sessions.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// What EHLO says: a dotted host name or an address literal (RFC 5321 §4.1.1.1).
    pub ehlo_name: String,
    /// LMTP is spoken (RFC 2033): LHLO, and a reply to the end of data for each recipient.
    pub lmtp: bool,
    /// Small messages go in one go with their envelopes, with BDAT, where the remote offers CHUNKING and PIPELINING (RFC 3030).
    pub chunking: bool,
    /// What is said is kept for [`super::ClientSession::take_transcript`].
    pub keeps_transcript: bool,
    /// How long each reply may take.
    pub timeouts: ClientTimeouts,
}

impl ClientConfig {
    /// The timeouts of RFC 5321 and the given name; no transcript is kept.
    #[must_use]
    pub fn new(ehlo_name: impl Into<String>) -> Self {
        Self {
            ehlo_name: ehlo_name.into(),
            lmtp: false,
            chunking: true,
            keeps_transcript: false,
            timeouts: ClientTimeouts::default(),
        }
    }
}

impl ClientConfig {
    /// The command that begins a session.
    pub(super) const fn hello(&self) -> &'static str {
        if self.lmtp { "LHLO" } else { "EHLO" }
    }
}

/// How long a client waits (RFC 5321 §4.5.3.2). The defaults are the minima that section asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTimeouts {
    /// For the greeting (RFC 5321 §4.5.3.2.1).
    pub banner: Duration,
    /// For the reply to EHLO, HELO and STARTTLS, which RFC 5321 does not mention.
    pub ehlo: Duration,
    /// For the reply to MAIL (RFC 5321 §4.5.3.2.2), and to RSET.
    pub mail: Duration,
    /// For the reply to each RCPT (RFC 5321 §4.5.3.2.3).
    pub rcpt: Duration,
    /// For the reply to DATA (RFC 5321 §4.5.3.2.4).
    pub data: Duration,
    /// For any progress while the content is sent (RFC 5321 §4.5.3.2.5).
    pub block: Duration,
    /// For the reply to the end of data (RFC 5321 §4.5.3.2.6).
    pub end_of_data: Duration,
    /// For the reply to QUIT: nothing depends on it any more.
    pub quit: Duration,
    /// For a transaction as a whole, so that a peer that makes a little progress now and then cannot hold it for ever.
    pub transaction: Duration,
}

impl Default for ClientTimeouts {
    fn default() -> Self {
        Self {
            banner: 5 * MINUTE,
            ehlo: 5 * MINUTE,
            mail: 5 * MINUTE,
            rcpt: 5 * MINUTE,
            data: 2 * MINUTE,
            block: 3 * MINUTE,
            end_of_data: 10 * MINUTE,
            quit: Duration::from_secs(5),
            transaction: 60 * MINUTE,
        }
    }
}
