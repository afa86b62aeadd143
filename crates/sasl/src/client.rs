//! One login at another server: its challenges in, our answers out. Not responsible for which mechanism is chosen, nor for
//! whether it may be used on this connection.

use std::fmt;
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mailtier_types::SaslMechanism;

use crate::exchange::Password;
use crate::keys::{Digest, are_equal, prove};
use crate::prepare::prepare;

/// The most iterations a server may ask for: half a second of one core. A peer does not choose our work.
const MAX_ITERATIONS: u32 = 1_000_000;
/// RFC 7677 §4: "the hash iteration-count should be such that a modern machine will take 0.1 seconds", and 4096 at least.
const MIN_ITERATIONS: u32 = 4096;

/// Who logs in, and with what. EXTERNAL needs no password, and takes an empty name for whom the certificate is for.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The name.
    pub name: String,
    /// The password.
    pub password: Password,
}

/// Neither is shown.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// What a server said that no login can go on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerFault {
    /// It asks where nothing is left to say.
    #[error("the server asks for more than the mechanism has")]
    OneTooMany,
    /// Not what the mechanism has.
    #[error("the server's challenge is malformed")]
    Malformed,
    /// It answers another nonce than ours.
    #[error("the server's challenge answers another login")]
    AnotherLogin,
    /// RFC 5802 §5.1.
    #[error("the server wants an extension that is unknown here")]
    UnknownExtension,
    /// See [`MIN_ITERATIONS`] and [`MAX_ITERATIONS`].
    #[error("the server wants {0} iterations; {MIN_ITERATIONS} to {MAX_ITERATIONS} are done")]
    Iterations(u32),
    /// It knows nothing of the password, though it says that the login has succeeded.
    #[error("the server did not prove that it knows the password")]
    Impostor,
    /// Name or password cannot be sent (RFC 4013).
    #[error("the user's name or password has characters that no login can have")]
    Unusable,
    /// A client speaks no such mechanism here.
    #[error("this mechanism is not spoken here")]
    NotSpoken,
}

/// How far a login has come.
#[derive(Clone, PartialEq, Eq)]
enum State {
    /// PLAIN: the message.
    Plain,
    /// EXTERNAL: as whom; the certificate says who it is.
    External,
    /// LOGIN: name, then password.
    LoginName,
    LoginPassword,
    /// SCRAM: our first message without its header, and our nonce.
    ScramFirst {
        bare: String,
        nonce: String,
    },
    /// SCRAM: what the server must prove itself with.
    ScramFinal {
        signature: Digest,
    },
    /// Nothing is left to say.
    Done,
}

/// See the module.
pub struct ClientExchange {
    mechanism: SaslMechanism,
    credentials: Credentials,
    state: State,
}

/// Nothing of it is shown but its mechanism.
impl fmt::Debug for ClientExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientExchange").field(&self.mechanism).finish()
    }
}

/// RFC 5802 §6: we bind to no channel.
const GS2_HEADER: &str = "n,,";

impl ClientExchange {
    /// Begins a login. `nonce` is random, of printable ASCII without a comma; SCRAM alone uses it.
    ///
    /// # Errors
    /// The mechanism is none of ours, or name or password cannot be sent with it.
    pub fn new(mechanism: SaslMechanism, credentials: &Credentials, nonce: &str) -> Result<Self, ServerFault> {
        let prepared = |text: &str| prepare(text).map(std::borrow::Cow::into_owned).map_err(|_| ServerFault::Unusable);
        let raw = || credentials.clone();
        let (state, credentials) = match mechanism {
            // Servers compare what they were given: only SCRAM asks of clients that they prepare (RFC 5802 §5.1).
            SaslMechanism::Plain => (State::Plain, raw()),
            SaslMechanism::Login => (State::LoginName, raw()),
            SaslMechanism::External => (State::External, raw()),
            SaslMechanism::ScramSha256 => {
                let name = prepared(&credentials.name)?;
                let password = Password(prepared(&credentials.password.0)?);
                let bare = format!("n={},r={nonce}", name.replace('=', "=3D").replace(',', "=2C"));
                (State::ScramFirst { bare, nonce: nonce.to_owned() }, Credentials { name, password })
            }
            _ => return Err(ServerFault::NotSpoken),
        };
        Ok(Self { mechanism, credentials, state })
    }

    /// Which mechanism it is.
    #[must_use]
    pub const fn mechanism(&self) -> SaslMechanism {
        self.mechanism
    }

    /// What is said before the server says anything (RFC 4954 §4 `initial-response`); nothing where the server begins.
    #[must_use]
    pub fn initial(&self) -> Option<Vec<u8>> {
        match &self.state {
            State::Plain => Some(self.plain()),
            // RFC 4422 appendix A.1: empty where the server is to tell by the certificate.
            State::External => Some(self.credentials.name.clone().into_bytes()),
            State::ScramFirst { bare, .. } => Some(format!("{GS2_HEADER}{bare}").into_bytes()),
            _ => None,
        }
    }

    /// The initial response was sent, with the command or after an empty challenge.
    pub fn initial_sent(&mut self) {
        if matches!(self.state, State::Plain | State::External) {
            self.state = State::Done;
        }
    }

    /// The answer to a challenge.
    ///
    /// # Errors
    /// [`ServerFault`]; the login is to be broken off.
    pub fn answer(&mut self, challenge: &[u8]) -> Result<Vec<u8>, ServerFault> {
        match std::mem::replace(&mut self.state, State::Done) {
            // What the server asks for is not looked at: servers word it as they like.
            State::LoginName => {
                self.state = State::LoginPassword;
                Ok(self.credentials.name.clone().into_bytes())
            }
            State::LoginPassword => Ok(self.credentials.password.0.clone().into_bytes()),
            State::ScramFirst { bare, nonce } => self.scram_proof(&bare, &nonce, challenge),
            State::ScramFinal { signature } => {
                let text = std::str::from_utf8(challenge).map_err(|_| ServerFault::Malformed)?;
                let said = text.split(',').next().and_then(|first| first.strip_prefix("v="));
                let said = said.and_then(|said| STANDARD.decode(said).ok()).ok_or(ServerFault::Malformed)?;
                if are_equal(&said, &signature) { Ok(Vec::new()) } else { Err(ServerFault::Impostor) }
            }
            State::Plain | State::External | State::Done => Err(ServerFault::OneTooMany),
        }
    }

    /// The server says that the login has succeeded.
    ///
    /// # Errors
    /// It has not said what it must have before (RFC 5802 §5: the client checks the server's signature).
    pub fn succeeded(&self) -> Result<(), ServerFault> {
        match (self.mechanism, &self.state) {
            (SaslMechanism::ScramSha256, State::Done) => Ok(()),
            (SaslMechanism::ScramSha256, _) => Err(ServerFault::Impostor),
            _ => Ok(()),
        }
    }

    /// RFC 4616 §2.
    fn plain(&self) -> Vec<u8> {
        ["\0", &self.credentials.name, "\0", &self.credentials.password.0].concat().into_bytes()
    }

    /// `client-final-message` in answer to `server-first-message` (RFC 5802 §5, §7).
    fn scram_proof(&mut self, bare: &str, nonce: &str, challenge: &[u8]) -> Result<Vec<u8>, ServerFault> {
        let server_first = std::str::from_utf8(challenge).map_err(|_| ServerFault::Malformed)?;
        let mut attributes = server_first.split(',');
        let mut attribute = |name: &str| {
            let value = attributes
                .next()
                .and_then(|attribute| attribute.strip_prefix(name))
                .and_then(|rest| rest.strip_prefix('='));
            value.ok_or(ServerFault::Malformed)
        };
        if server_first.starts_with("m=") {
            return Err(ServerFault::UnknownExtension);
        }
        let (both, salt, iterations) = (attribute("r")?, attribute("s")?, attribute("i")?);
        let is_ours = both.len() > nonce.len() && both.starts_with(nonce);
        if !is_ours || !both.bytes().all(|octet| octet.is_ascii_graphic()) {
            return Err(ServerFault::AnotherLogin);
        }
        let salt = STANDARD.decode(salt).ok().filter(|salt| !salt.is_empty()).ok_or(ServerFault::Malformed)?;
        let iterations: u32 = iterations.parse().map_err(|_| ServerFault::Malformed)?;
        if !(MIN_ITERATIONS..=MAX_ITERATIONS).contains(&iterations) {
            return Err(ServerFault::Iterations(iterations));
        }
        let iterations = NonZeroU32::new(iterations).ok_or(ServerFault::Malformed)?;
        let without_proof = format!("c={},r={both}", STANDARD.encode(GS2_HEADER));
        let auth_message = format!("{bare},{server_first},{without_proof}");
        let proof = prove(&self.credentials.password.0, &salt, iterations, auth_message.as_bytes());
        self.state = State::ScramFinal { signature: proof.signature };
        Ok(format!("{without_proof},p={}", STANDARD.encode(proof.proof)).into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(name: &str, password: &str) -> Credentials {
        Credentials { name: name.to_owned(), password: Password(password.to_owned()) }
    }

    /// RFC 7677 §3.
    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const SERVER_FIRST: &[u8] =
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const SERVER_FINAL: &[u8] = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn scram() -> ClientExchange {
        ClientExchange::new(SaslMechanism::ScramSha256, &credentials("user", "pencil"), NONCE).unwrap()
    }

    #[test]
    fn scram_says_what_the_example_of_rfc_7677_says() {
        let mut login = scram();
        assert_eq!(login.initial().unwrap(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        login.initial_sent();
        let last = login.answer(SERVER_FIRST).unwrap();
        assert_eq!(
            String::from_utf8(last).unwrap(),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(login.succeeded(), Err(ServerFault::Impostor), "the server has proved nothing yet");
        assert_eq!(login.answer(SERVER_FINAL).unwrap(), b"");
        assert_eq!(login.succeeded(), Ok(()));
        assert_eq!(login.answer(b""), Err(ServerFault::OneTooMany));
    }

    #[test]
    fn a_server_that_does_not_know_the_password_is_found_out() {
        let mut login = scram();
        login.answer(SERVER_FIRST).unwrap();
        assert_eq!(login.answer(b"v=AAAATRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Err(ServerFault::Impostor));
        assert_eq!(scram().succeeded(), Err(ServerFault::Impostor));
    }

    #[test]
    fn challenges_that_no_login_goes_on_with() {
        for (challenge, fault) in [
            (&b""[..], ServerFault::Malformed),
            (b"r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", ServerFault::AnotherLogin),
            (b"r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", ServerFault::AnotherLogin),
            (b"m=x,r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=4096", ServerFault::UnknownExtension),
            (b"r=rOprNGfwEbeRWgbNEkqOx,s=,i=4096", ServerFault::Malformed),
            (b"r=rOprNGfwEbeRWgbNEkqOx,s=!,i=4096", ServerFault::Malformed),
            (b"r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=1", ServerFault::Iterations(1)),
            (b"r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=4000000000", ServerFault::Iterations(4_000_000_000)),
            (b"r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=99999999999", ServerFault::Malformed),
            (b"\xff", ServerFault::Malformed),
        ] {
            assert_eq!(scram().answer(challenge), Err(fault), "{:?}", String::from_utf8_lossy(challenge));
        }
    }

    #[test]
    fn passwords_in_one_message_and_in_two() {
        let who = credentials("user", "se\u{a0}cret");
        let mut plain = ClientExchange::new(SaslMechanism::Plain, &who, "").unwrap();
        assert_eq!(plain.initial().unwrap(), "\0user\0se\u{a0}cret".as_bytes());
        plain.initial_sent();
        assert_eq!((plain.succeeded(), plain.answer(b"more?")), (Ok(()), Err(ServerFault::OneTooMany)));
        let mut login = ClientExchange::new(SaslMechanism::Login, &who, "").unwrap();
        assert_eq!(login.initial(), None);
        assert_eq!(login.answer(b"Username:").unwrap(), b"user");
        assert_eq!(login.answer(b"Password:").unwrap(), "se\u{a0}cret".as_bytes());
        assert_eq!(login.answer(b"Sure?"), Err(ServerFault::OneTooMany));
    }

    #[test]
    fn names_are_escaped_and_prepared_for_scram() {
        let login = ClientExchange::new(SaslMechanism::ScramSha256, &credentials("a=b,c", "p"), "N").unwrap();
        assert_eq!(login.initial().unwrap(), b"n,,n=a=3Db=2Cc,r=N");
        let wrong = ClientExchange::new(SaslMechanism::ScramSha256, &credentials("a", "\u{7}"), "N");
        assert_eq!(wrong.unwrap_err(), ServerFault::Unusable);
        let other = ClientExchange::new(SaslMechanism::XOAuth2, &credentials("a", "b"), "N");
        assert_eq!(other.unwrap_err(), ServerFault::NotSpoken);
    }

    #[test]
    fn a_certificate_needs_no_words_but_as_whom() {
        for name in ["", "billing"] {
            let mut login = ClientExchange::new(SaslMechanism::External, &credentials(name, "secret"), "").unwrap();
            assert_eq!(login.initial().unwrap(), name.as_bytes());
            login.initial_sent();
            assert_eq!(login.answer(b"more?"), Err(ServerFault::OneTooMany));
            assert_eq!(login.succeeded(), Ok(()));
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let login = ClientExchange::new(SaslMechanism::Plain, &credentials("hidden", "secret"), "").unwrap();
        let shown = format!("{login:?}{:?}", credentials("hidden", "secret"));
        assert!(!shown.contains("hidden") && !shown.contains("secret"), "{shown}");
    }
}
