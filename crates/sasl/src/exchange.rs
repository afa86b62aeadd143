//! One login, whatever its mechanism: octets of the client in, the next step out. Not responsible for carrying steps
//! out.

use std::fmt;

use mailtier_types::SaslMechanism;

use crate::keys::Digest;
use crate::scram::{First, Salted};
use crate::{scram, simple, token};

/// A password as the client said it. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// What TLS offers to bind a login to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bindings {
    /// `tls-exporter` (RFC 9266).
    pub exporter: Option<Vec<u8>>,
    /// `tls-server-end-point` (RFC 5929 §4).
    pub end_point: Option<Vec<u8>>,
    /// The client was offered a mechanism with binding.
    pub offered: bool,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this to the client and hand its response to [`Exchange::respond`].
    Challenge(Vec<u8>),
    /// Find out, then say so.
    Check(Check),
    /// The login has succeeded.
    Done,
    /// The login has failed.
    Failed,
}

/// What is to be found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// Whether this is the user's password; say [`Exchange::settled`].
    Password {
        /// Who.
        name: String,
        /// The password.
        password: Password,
    },
    /// Salt and iterations of the user's keys; say [`Exchange::salted`].
    ScramSalt {
        /// Who.
        name: String,
    },
    /// Whether the proof is good; say [`Exchange::proved`].
    ScramProof {
        /// Who.
        name: String,
        /// What was signed.
        auth_message: Vec<u8>,
        /// The proof.
        proof: Digest,
    },
    /// Whether the token is good; say [`Exchange::settled`].
    Token {
        /// Who the client says it is for.
        name: Option<String>,
        /// The token.
        token: Password,
    },
    /// Whether the client's certificate is the user's, or whose it is; say [`Exchange::settled`].
    Certificate {
        /// Whom the client wants to be.
        name: Option<String>,
    },
}

/// What is wrong with a message of the client. All but [`ExchangeError::Malformed`] are failed logins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// It is not what the mechanism says.
    #[error("the response is malformed")]
    Malformed,
    /// Nobody acts for others here.
    #[error("the authorization identity is somebody else's")]
    ForAnother,
    /// The client needs an extension of the mechanism to be understood (RFC 5802 §5.1, `m`).
    #[error("an extension of the mechanism is needed that is not known")]
    UnknownExtension,
    /// A channel binding that this connection does not have.
    #[error("the channel binding is not supported")]
    UnknownBinding,
    /// The login is bound to another connection: somebody stands in the middle.
    #[error("the login is bound to another connection")]
    BoundElsewhere,
    /// The client was not told of the mechanism with channel binding: somebody stands in the middle.
    #[error("the offer of channel binding was removed")]
    Downgraded,
}

/// Where an exchange stands.
#[derive(Debug)]
enum State {
    /// The first message is awaited.
    Begun,
    /// LOGIN: the password is awaited.
    Named(String),
    /// SCRAM: salt and iterations are awaited.
    Unsalted(First),
    /// SCRAM: the proof is awaited.
    Salted(Salted),
    /// SCRAM: the verdict on the proof is awaited.
    Proving,
    /// SCRAM: the client is told that we are who we are, and says nothing to it.
    Confirming,
    /// A verdict is awaited.
    Asking,
    /// A token was refused and the client has heard why.
    Refusing,
    Over,
}

/// See the module.
#[derive(Debug)]
pub struct Exchange {
    mechanism: SaslMechanism,
    bindings: Bindings,
    nonce: String,
    state: State,
}

impl Exchange {
    /// A login by this mechanism. `nonce` is ours for SCRAM: random, printable, without a comma.
    #[must_use]
    pub const fn new(mechanism: SaslMechanism, bindings: Bindings, nonce: String) -> Self {
        Self { mechanism, bindings, nonce, state: State::Begun }
    }

    /// The login begins, with the client's first message where it came along.
    ///
    /// # Errors
    /// The message is not what the mechanism says.
    pub fn begin(&mut self, initial: Option<&[u8]>) -> Result<Step, ExchangeError> {
        match initial {
            Some(message) => self.respond(message),
            // What LOGIN asks for has never been written down but in the clients that expect it.
            None if self.mechanism == SaslMechanism::Login => Ok(Step::Challenge(b"Username:".to_vec())),
            None => Ok(Step::Challenge(Vec::new())),
        }
    }

    /// The client's next message.
    ///
    /// # Errors
    /// The message is not what the mechanism says.
    pub fn respond(&mut self, message: &[u8]) -> Result<Step, ExchangeError> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Begun => self.first(message),
            State::Named(name) => {
                self.state = State::Asking;
                Ok(Step::Check(Check::Password { name, password: simple::password(message)? }))
            }
            State::Salted(salted) => {
                let (auth_message, proof) = salted.last(message)?;
                self.state = State::Proving;
                Ok(Step::Check(Check::ScramProof { name: salted.name, auth_message, proof }))
            }
            // RFC 5802 §5: there is nothing left to say.
            State::Confirming if message.is_empty() => Ok(Step::Done),
            State::Refusing => Ok(Step::Failed),
            _ => Err(ExchangeError::Malformed),
        }
    }

    fn first(&mut self, message: &[u8]) -> Result<Step, ExchangeError> {
        self.state = State::Asking;
        Ok(match self.mechanism {
            SaslMechanism::Plain => {
                let (name, password) = simple::plain(message)?;
                Step::Check(Check::Password { name, password })
            }
            SaslMechanism::Login => {
                self.state = State::Named(simple::name(message)?);
                Step::Challenge(b"Password:".to_vec())
            }
            SaslMechanism::ScramSha256 | SaslMechanism::ScramSha256Plus => {
                let plus = self.mechanism == SaslMechanism::ScramSha256Plus;
                let first = scram::first(message, plus, &self.bindings)?;
                let name = first.name.clone();
                self.state = State::Unsalted(first);
                Step::Check(Check::ScramSalt { name })
            }
            SaslMechanism::OAuthBearer | SaslMechanism::XOAuth2 => {
                let (name, token) = token::parse(self.mechanism, message)?;
                Step::Check(Check::Token { name, token: Password(token) })
            }
            SaslMechanism::External => Step::Check(Check::Certificate { name: simple::external(message)? }),
        })
    }

    /// The salt and iterations asked for by [`Check::ScramSalt`].
    pub fn salted(&mut self, salt: &[u8], iterations: u32) -> Step {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Unsalted(first) => {
                let (message, salted) = first.answer(&self.nonce, salt, iterations);
                self.state = State::Salted(salted);
                Step::Challenge(message.into_bytes())
            }
            _ => Step::Failed,
        }
    }

    /// Whether the proof of [`Check::ScramProof`] is good: then with the signature that proves us.
    pub fn proved(&mut self, signature: Option<Digest>) -> Step {
        match (std::mem::replace(&mut self.state, State::Over), signature) {
            (State::Proving, Some(signature)) => {
                self.state = State::Confirming;
                Step::Challenge(scram::server_final(&signature))
            }
            _ => Step::Failed,
        }
    }

    /// The verdict on any other question.
    pub fn settled(&mut self, good: bool) -> Step {
        let asked = matches!(std::mem::replace(&mut self.state, State::Over), State::Asking);
        let is_token = matches!(self.mechanism, SaslMechanism::OAuthBearer | SaslMechanism::XOAuth2);
        match (asked, good) {
            (true, true) => Step::Done,
            // RFC 7628 §3.2.3: the client hears why, and answers, before the login has failed.
            (true, false) if is_token => {
                self.state = State::Refusing;
                Step::Challenge(token::REFUSAL.to_vec())
            }
            _ => Step::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::keys::{ScramKeys, check_proof};

    fn begun(mechanism: SaslMechanism) -> Exchange {
        Exchange::new(mechanism, Bindings::default(), "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".into())
    }

    #[test]
    fn scram_as_in_rfc_7677() {
        // RFC 7677 section 3.
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let keys = ScramKeys::derive("pencil", salt, NonZeroU32::new(4096).unwrap());
        let mut exchange = begun(SaslMechanism::ScramSha256);
        assert_eq!(exchange.begin(None), Ok(Step::Challenge(Vec::new())));
        let step = exchange.respond(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap();
        assert_eq!(step, Step::Check(Check::ScramSalt { name: "user".into() }));
        let Step::Challenge(first) = exchange.salted(&keys.salt, keys.iterations) else { panic!("no challenge") };
        let expected = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        assert_eq!(String::from_utf8(first).unwrap(), expected);
        let last = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let Step::Check(Check::ScramProof { auth_message, proof, .. }) = exchange.respond(last.as_bytes()).unwrap()
        else {
            panic!("no proof")
        };
        let signature = check_proof(&keys.stored_key, &keys.server_key, &auth_message, &proof).unwrap();
        let step = exchange.proved(Some(signature));
        assert_eq!(step, Step::Challenge(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=".to_vec()));
        assert_eq!(exchange.respond(b""), Ok(Step::Done));

        let wrong = ScramKeys::derive("Pencil", keys.salt.clone(), NonZeroU32::new(4096).unwrap());
        assert_eq!(check_proof(&wrong.stored_key, &wrong.server_key, &auth_message, &proof), None);
        assert!(!format!("{keys:?}").contains("stored"), "keys are not shown");
    }

    #[test]
    fn scram_is_bound_to_its_connection() {
        let bindings = Bindings { exporter: Some(vec![7; 32]), end_point: None, offered: true };
        let new = |mechanism| Exchange::new(mechanism, bindings.clone(), "N".into());
        let final_message = |binding: &[u8]| {
            let bound = STANDARD.encode([&b"p=tls-exporter,,"[..], binding].concat());
            format!("c={bound},r=cN,p={}", STANDARD.encode([0; 32])).into_bytes()
        };
        for (binding, good) in [([7; 32], true), ([8; 32], false)] {
            let mut exchange = new(SaslMechanism::ScramSha256Plus);
            exchange.begin(Some(b"p=tls-exporter,,n=u,r=c")).unwrap();
            exchange.salted(b"salt", 4096);
            let step = exchange.respond(&final_message(&binding));
            assert_eq!(step.is_ok(), good, "{step:?}");
        }
        for (mechanism, first, error) in [
            (SaslMechanism::ScramSha256Plus, "p=tls-unique,,n=u,r=c", ExchangeError::UnknownBinding),
            (SaslMechanism::ScramSha256Plus, "p=tls-server-end-point,,n=u,r=c", ExchangeError::UnknownBinding),
            (SaslMechanism::ScramSha256Plus, "n,,n=u,r=c", ExchangeError::Malformed),
            (SaslMechanism::ScramSha256, "p=tls-exporter,,n=u,r=c", ExchangeError::Malformed),
            (SaslMechanism::ScramSha256, "y,,n=u,r=c", ExchangeError::Downgraded),
            (SaslMechanism::ScramSha256, "n,a=other,n=u,r=c", ExchangeError::ForAnother),
            (SaslMechanism::ScramSha256, "n,,m=x,n=u,r=c", ExchangeError::UnknownExtension),
            (SaslMechanism::ScramSha256, "n,,n=u,r=c,m=x", ExchangeError::UnknownExtension),
            (SaslMechanism::ScramSha256, "n,,n=u,r=c,x", ExchangeError::Malformed),
            (SaslMechanism::ScramSha256, "n,,n=u,r=c,1=x", ExchangeError::Malformed),
            (SaslMechanism::ScramSha256, "n,,n=u,r=c,x=", ExchangeError::Malformed),
            (SaslMechanism::ScramSha256, "n,,n=u=,r=c", ExchangeError::Malformed),
            (SaslMechanism::ScramSha256, "n,,n=u,r=", ExchangeError::Malformed),
            (SaslMechanism::ScramSha256, "n,,n=,r=c", ExchangeError::Malformed),
        ] {
            assert_eq!(new(mechanism).begin(Some(first.as_bytes())), Err(error), "{first}");
        }
    }

    #[test]
    fn scram_that_needs_an_extension_fails() {
        // RFC 5802 section 5.1: m= fails; what else is not known is optional, and ignored.
        let last = |between: &str| {
            let mut exchange = begun(SaslMechanism::ScramSha256);
            exchange.begin(Some(b"n,,n=u,r=c,x=1")).unwrap();
            exchange.salted(b"salt", 4096);
            let proof = STANDARD.encode([0; 32]);
            let message = format!("c=biws,r=c%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0{between},p={proof}");
            exchange.respond(message.as_bytes()).map(|step| matches!(step, Step::Check(Check::ScramProof { .. })))
        };
        assert_eq!(last(""), Ok(true));
        assert_eq!(last(",x=1,y=a=b"), Ok(true));
        for extension in [",m=1", ",m=", ",x=1,m=1"] {
            assert_eq!(last(extension), Err(ExchangeError::UnknownExtension), "{extension}");
        }
        for garbage in [",", ",x", ",x=", ",=1", ",xx=1", ",é=1"] {
            assert_eq!(last(garbage), Err(ExchangeError::Malformed), "{garbage}");
        }
    }

    #[test]
    fn passwords_in_one_step_or_two() {
        let asked = Step::Check(Check::Password { name: "user".into(), password: Password("secret".into()) });
        assert_eq!(begun(SaslMechanism::Plain).begin(Some(b"\0user\0secret")), Ok(asked.clone()));
        let mut login = begun(SaslMechanism::Login);
        assert_eq!(login.begin(None), Ok(Step::Challenge(b"Username:".to_vec())));
        assert_eq!(login.respond(b"user"), Ok(Step::Challenge(b"Password:".to_vec())));
        assert_eq!(login.respond(b"secret"), Ok(asked.clone()));
        assert_eq!(login.settled(true), Step::Done);
        assert_eq!(login.settled(true), Step::Failed, "once");
        assert!(!format!("{asked:?}").contains("secret"), "a password is not shown");
    }

    #[test]
    fn a_certificate_is_for_whom_it_says_or_for_whom_is_wanted() {
        // RFC 4422 appendix A.
        let mut exchange = begun(SaslMechanism::External);
        assert_eq!(exchange.begin(None), Ok(Step::Challenge(Vec::new())));
        assert_eq!(exchange.respond(b""), Ok(Step::Check(Check::Certificate { name: None })));
        let wanted = Ok(Step::Check(Check::Certificate { name: Some("user".into()) }));
        assert_eq!(begun(SaslMechanism::External).begin(Some(b"user")), wanted);
        assert_eq!(begun(SaslMechanism::External).begin(Some(b"us\0er")), Err(ExchangeError::Malformed));
    }

    #[test]
    fn a_refused_token_is_explained_before_the_login_has_failed() {
        let mut exchange = begun(SaslMechanism::OAuthBearer);
        exchange.begin(Some(b"n,,\x01auth=Bearer t\x01\x01")).unwrap();
        assert_eq!(exchange.settled(false), Step::Challenge(br#"{"status":"invalid_token"}"#.to_vec()));
        assert_eq!(exchange.respond(b"\x01"), Ok(Step::Failed));
    }

    proptest::proptest! {
        #[test]
        fn no_message_is_too_strange(messages in proptest::collection::vec(proptest::collection::vec(
            proptest::prop_oneof![3 => 32_u8..127, 1 => proptest::num::u8::ANY], 0..60), 1..4)) {
            for mechanism in SaslMechanism::ALL {
                let mut exchange = begun(mechanism);
                for message in &messages {
                    match exchange.respond(message) {
                        Ok(Step::Check(Check::ScramSalt { .. })) => { exchange.salted(b"salt", 1); }
                        Ok(Step::Check(Check::ScramProof { .. })) => { exchange.proved(None); }
                        Ok(Step::Check(_)) => { exchange.settled(false); }
                        _ => {}
                    }
                }
            }
        }
    }
}
