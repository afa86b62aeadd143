//! AUTH, from the client (RFC 4954): the command, and the exchange of challenges and answers. Not responsible for what a
//! mechanism says in them, nor for which one is used: the driver has an exchange of its own for that.

use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mailtier_types::{Cause, Reply, SaslMechanism, Stage, TroubleKind};

use super::dialogue::bounded;
use super::exchange::trouble;
use super::recorder::SECRET;
use super::session::{ClientAction, ClientSession, Phase};

/// RFC 5321 §4.5.3.1.4: a command line with its end, in octets. RFC 4954 §4: an initial response that does not fit waits
/// for an empty challenge.
const MAX_COMMAND_OCTETS: usize = 512;
/// RFC 4954 §4: the longest line of an exchange without its end, in octets.
const MAX_ANSWER_OCTETS: usize = 12_288;
/// A mechanism needs a few; a remote that goes on asking gets nowhere.
const MAX_CHALLENGES: usize = 8;
/// By so much of its beginning base64 is found again, in octets: whoever repeats it may cut it off.
const TELLING_OCTETS: usize = 8;
/// A password that is shorter is not looked for, in octets: it would be found in any text.
const MIN_PASSWORD_OCTETS: usize = 4;

/// A login under way.
pub(super) struct Login {
    mechanism: SaslMechanism,
    /// What is said once the remote has asked for it; it did not fit into the command.
    waiting: Option<Vec<u8>>,
    challenges: usize,
    /// What was said, in base64, and the passwords in it. Some remotes repeat what they do not like.
    said: Vec<String>,
    passwords: Vec<String>,
}

impl Login {
    /// PLAIN has the password behind the last NUL (RFC 4616 §2); LOGIN says it second, and nothing else then.
    fn note(&mut self, answer: &[u8]) {
        let password = match self.mechanism {
            SaslMechanism::Plain => answer.rsplit(|octet| *octet == 0).next(),
            SaslMechanism::Login => Some(answer).filter(|_| self.challenges > 1),
            _ => None,
        };
        let password = password.and_then(|password| std::str::from_utf8(password).ok());
        self.passwords.extend(password.filter(|text| text.len() >= MIN_PASSWORD_OCTETS).map(str::to_owned));
        self.said.extend(Some(STANDARD.encode(answer)).filter(|text| !text.is_empty()));
    }

    /// The reply without what was said.
    pub(super) fn without_secrets(&self, mut reply: Reply) -> Reply {
        let said = self.said.iter().map(|said| without(said, said.get(..TELLING_OCTETS).unwrap_or(said)));
        for clean in said.chain(self.passwords.iter().map(|password| without(password, password))) {
            reply.text = clean(&reply.text).into();
        }
        reply
    }
}

/// Takes a secret out of texts, wherever this beginning of it stands, as far as it goes on there.
fn without<'a>(secret: &'a str, beginning: &'a str) -> impl Fn(&str) -> String + 'a {
    move |text| {
        let mut parts = text.split(beginning);
        let mut clean = parts.next().unwrap_or_default().to_owned();
        let further = secret.get(beginning.len()..).unwrap_or_default();
        for part in parts {
            let same = part.chars().zip(further.chars()).take_while(|(one, other)| one == other);
            let octets: usize = same.map(|(one, _)| one.len_utf8()).sum();
            clean.push_str(SECRET);
            clean.push_str(part.get(octets..).unwrap_or_default());
        }
        clean
    }
}

impl ClientSession {
    /// AUTH with a mechanism that [`super::Capabilities::offers_login`], where the session is ready. `initial` is what
    /// the mechanism says before it is asked.
    ///
    /// The session then asks for answers with [`ClientAction::Challenge`], is ready again when the remote has let us in,
    /// and fails with [`TroubleKind::Login`] where it has not: the credentials are ours to mend.
    pub fn log_in(&mut self, mechanism: SaslMechanism, initial: Option<&[u8]>, now: Instant) {
        if self.phase != Phase::Ready {
            return;
        }
        // RFC 4954 §4: an empty one is written as "=".
        let encoded = initial.map(|octets| if octets.is_empty() { "=".to_owned() } else { STANDARD.encode(octets) });
        let command = format!("AUTH {mechanism}");
        let fits = |text: &String| command.len() + 1 + text.len() + 2 <= MAX_COMMAND_OCTETS;
        let waiting = initial.filter(|_| !encoded.as_ref().is_some_and(fits)).map(<[u8]>::to_vec);
        let mut login = Login { mechanism, waiting, challenges: 0, said: Vec::new(), passwords: Vec::new() };
        login.note(initial.unwrap_or_default());
        self.login = Some(login);
        self.send_command(&command, encoded.filter(fits).as_deref(), Phase::Login, now);
    }

    /// The answer to the challenge that was asked for; nothing breaks the login off (RFC 4954 §4).
    pub fn answer(&mut self, answer: Option<&[u8]>, now: Instant) {
        if self.phase != Phase::Challenged {
            return;
        }
        if let Some(login) = self.login.as_mut() {
            login.note(answer.unwrap_or_default());
        }
        let line = answer.map(|octets| STANDARD.encode(octets)).filter(|line| line.len() <= MAX_ANSWER_OCTETS);
        self.send_answer(line.as_deref().unwrap_or("*"), now);
    }

    /// The driver found that the remote is not whom it should be: nothing is said to it any more.
    pub fn reject_login(&mut self, reason: &str) {
        self.login = None;
        // The remote may have said that we are in.
        self.logged_in = false;
        self.fail_at(Stage::Ehlo, trouble(TroubleKind::Login, format!("the login was broken off: {reason}")));
    }

    /// Whether the remote has let us in.
    #[must_use]
    pub const fn is_logged_in(&self) -> bool {
        self.logged_in
    }

    pub(super) fn handle_login_reply(&mut self, reply: Reply, now: Instant) {
        match reply.code {
            // RFC 4954 §6. Without a security layer nothing learnt before is forgotten (§4).
            235 => {
                (self.login, self.logged_in) = (None, true);
                self.become_ready();
            }
            334 => self.handle_challenge(&reply, now),
            421 => self.fail_by(reply),
            _ if reply.is_positive() || reply.is_intermediate() => {
                self.fail_protocol("the remote answered AUTH with neither 235 nor 334");
            }
            // 535, 534, 454 and whatever else keeps us out: it says nothing of the message, nor of its recipients.
            _ => self.fail(refused(&bounded(reply))),
        }
    }

    fn handle_challenge(&mut self, reply: &Reply, now: Instant) {
        let Some(login) = self.login.as_mut() else {
            return self.fail_protocol("the remote challenges a login that is over");
        };
        login.challenges += 1;
        if login.challenges > MAX_CHALLENGES {
            return self.fail_protocol("the remote does not come to an end with AUTH");
        }
        if let Some(initial) = login.waiting.take() {
            self.phase = Phase::Challenged;
            return self.answer(Some(&initial), now);
        }
        match STANDARD.decode(reply.text.trim()) {
            Ok(challenge) => {
                self.phase = Phase::Challenged;
                self.event = Some(ClientAction::Challenge(challenge));
            }
            Err(_) => self.fail_protocol("the remote's challenge to AUTH is not base64"),
        }
    }
}

/// Our login was refused. The reply is told, without what we said.
fn refused(reply: &Reply) -> Cause {
    trouble(TroubleKind::Login, format!("the login was refused: {reply}"))
}
