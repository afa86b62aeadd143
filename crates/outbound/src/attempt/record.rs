//! What an attempt meant for each recipient, gathered and grouped. Pure; not responsible for making it happen.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use mailtier_config::Transcripts;
use mailtier_route::Target;
use mailtier_types::{Cause, Egress, Mailbox, Outcome, RemoteHost, Speaker, Stage, Timestamp, Transcript};

/// Postfix's delays b, c and d of one try.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Delays {
    /// In our hands before a connection was asked for.
    pub(crate) waiting: Duration,
    /// Finding and opening the connection.
    pub(crate) connecting: Duration,
    /// The transaction.
    pub(crate) sending: Duration,
}

/// Where something happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The host.
    pub(crate) remote: Option<RemoteHost>,
    /// Version and cipher.
    pub(crate) tls: Option<String>,
    /// The host was told whom to notify of what.
    pub(crate) notifies: bool,
    /// How it left.
    pub(crate) egress: Option<Egress>,
}

impl Place {
    /// A host, before or without TLS.
    pub(crate) fn of(target: &Target) -> Self {
        let remote = RemoteHost { name: target.host.clone(), address: Some(target.address) };
        Self { remote: Some(remote), tls: None, notifies: false, egress: None }
    }
}

impl Place {
    /// A socket of this machine.
    pub(crate) fn of_socket(path: &Path) -> Self {
        let remote = RemoteHost { name: path.display().to_string(), address: None };
        Self { remote: Some(remote), ..Self::default() }
    }
}

/// Makes an outcome.
pub(crate) fn outcome(stage: Stage, cause: Cause, place: &Place, delays: Delays, at: Timestamp) -> Outcome {
    Outcome {
        stage,
        cause,
        remote: place.remote.clone(),
        tls: place.tls.clone(),
        waiting: delays.waiting,
        connecting: delays.connecting,
        sending: delays.sending,
        at,
        notifies: place.notifies,
        egress: place.egress.clone(),
        retry_after: None,
        transcript: None,
    }
}

/// The outcomes of an attempt so far, one for each distinct one.
#[derive(Debug)]
pub(crate) struct Record {
    groups: Vec<(Vec<Mailbox>, Outcome)>,
    transcripts: Transcripts,
    transcript: Transcript,
}

impl Record {
    /// Nothing has happened yet. What is said is kept of such attempts.
    pub(crate) const fn new(transcripts: Transcripts) -> Self {
        Self { groups: Vec::new(), transcripts, transcript: Transcript::new() }
    }

    /// Whether what was said is of interest where it came to this.
    pub(crate) fn wants_transcript(&self, has_delivered_to_all: bool) -> bool {
        match self.transcripts {
            Transcripts::None => false,
            Transcripts::Failures => !has_delivered_to_all,
            Transcripts::All => true,
        }
    }

    /// What was said at a place, or why nothing was.
    pub(crate) fn say(&mut self, place: &Place, said: &Transcript, otherwise: &Cause) {
        let mut note = |text: fmt::Arguments<'_>| self.transcript.add(Duration::ZERO, Speaker::Note, text);
        match (&place.remote, place.egress.as_ref().and_then(|egress| egress.source)) {
            (Some(remote), Some(source)) => note(format_args!("{remote} from {source}")),
            (Some(remote), None) => note(format_args!("{remote}")),
            (None, _) => {}
        }
        if said.is_empty() {
            note(format_args!("{otherwise}"));
        }
        self.transcript.append(said);
    }

    /// A place is passed over until nothing else is left.
    pub(crate) fn pass_over(&mut self, place: &Place) {
        if let Some(remote) = &place.remote {
            let text = format_args!("{remote} did not answer a while ago, and comes after all others");
            self.transcript.add(Duration::ZERO, Speaker::Note, text);
        }
    }

    /// Adds what happened to one recipient.
    pub(crate) fn add(&mut self, recipient: Mailbox, outcome: Outcome) {
        match self.groups.iter_mut().find(|(_, known)| is_same(known, &outcome)) {
            Some((recipients, _)) => recipients.push(recipient),
            None => self.groups.push((vec![recipient], outcome)),
        }
    }

    /// Whether nothing has happened to anybody.
    pub(crate) const fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The groups. The transcript is with one of them, best one that tells of trouble.
    pub(crate) fn into_groups(mut self) -> Vec<(Vec<Mailbox>, Outcome)> {
        let is_trouble = |(_, outcome): &(Vec<Mailbox>, Outcome)| !outcome.is_delivered();
        let place = self.groups.iter().position(is_trouble);
        if tells_more(&self.transcript)
            && self.wants_transcript(place.is_none())
            && let Some((_, outcome)) = self.groups.get_mut(place.unwrap_or(0))
        {
            outcome.transcript = Some(self.transcript);
        }
        self.groups
    }
}

/// Whether a transcript tells more than the outcome that it comes with: something was said, or several places were tried.
fn tells_more(transcript: &Transcript) -> bool {
    transcript.lines().any(|line| line.by != Speaker::Note) || transcript.lines().nth(2).is_some()
}

/// Whether two outcomes say the same; when they were decided does not matter.
fn is_same(one: &Outcome, other: &Outcome) -> bool {
    one.stage == other.stage
        && one.cause == other.cause
        && one.remote == other.remote
        && one.tls == other.tls
        && one.egress == other.egress
        && one.retry_after == other.retry_after
}

/// Which of the failures of an attempt speaks for it: the last that may pass, since then trying again makes sense;
/// else the last.
pub(crate) fn spokesman(failures: Vec<Outcome>) -> Option<Outcome> {
    let place =
        failures.iter().rposition(|failure| may_pass(&failure.cause)).unwrap_or(failures.len().saturating_sub(1));
    failures.into_iter().nth(place)
}

fn may_pass(cause: &Cause) -> bool {
    match cause {
        Cause::Reply(reply) => reply.is_transient(),
        Cause::Trouble(trouble) => trouble.kind.is_temporary(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mailtier_types::{Reply, Trouble, TroubleKind};

    fn said(code: u16, text: &str) -> Outcome {
        let cause = Cause::Reply(Reply::received(code, None, text.to_owned()));
        outcome(Stage::Rcpt, cause, &Place::default(), Delays::default(), Timestamp::EPOCH)
    }

    fn trouble(kind: TroubleKind, text: &str) -> Outcome {
        let cause = Cause::Trouble(Trouble { kind, text: text.to_owned() });
        outcome(Stage::Connect, cause, &Place::default(), Delays::default(), Timestamp::EPOCH)
    }

    #[test]
    fn recipients_with_the_same_outcome_share_one() {
        let mailbox = |name: &str| Mailbox::parse(&format!("{name}@example.com")).unwrap();
        let mut record = Record::new(Transcripts::Failures);
        for (name, code) in [("a", 250), ("b", 550), ("c", 250), ("d", 450), ("e", 550)] {
            let at = Timestamp::from_secs(i64::from(code));
            record.add(mailbox(name), Outcome { at, ..said(code, "said") });
        }
        let groups: Vec<_> = record
            .into_groups()
            .into_iter()
            .map(|(recipients, outcome)| {
                format!("{} {outcome}", recipients.iter().map(Mailbox::local_part).collect::<String>())
            })
            .collect();
        assert_eq!(
            groups,
            ["ac 250 said (in reply to rcpt)", "be 550 said (in reply to rcpt)", "d 450 said (in reply to rcpt)"]
        );
    }

    #[test]
    fn hope_outlives_refusal_and_the_last_word_counts() {
        let refused = said(554, "no service");
        let busy = said(421, "busy");
        let closed = trouble(TroubleKind::Connect, "refused");
        let gone = trouble(TroubleKind::NoSuchDomain, "gone");
        for (failures, expected) in [
            (vec![], None),
            (vec![refused.clone()], Some(refused.clone())),
            (vec![busy.clone(), refused.clone()], Some(busy.clone())),
            (vec![busy.clone(), closed.clone(), refused.clone()], Some(closed.clone())),
            (vec![refused.clone(), gone.clone()], Some(gone.clone())),
        ] {
            assert_eq!(spokesman(failures), expected);
        }
    }
}
