//! A login on a connection that is open. Not responsible for what is said in it: the mechanism is `mailtier-sasl`'s, the
//! protocol the engine's.

use mailtier_sasl::{ClientExchange, Credentials, ServerFault};
use mailtier_smtp::ClientAction;
use mailtier_types::{SaslMechanism, Stage, TroubleKind};

use super::{ConnectFailure, Connection};
use crate::link::now;

/// Who logs in at a remote, and how.
#[derive(Clone, Debug)]
pub struct Login {
    /// Who, and with what.
    pub credentials: Credentials,
    /// Which may be used, the one to prefer first.
    pub mechanisms: Vec<SaslMechanism>,
    /// Also where the connection has no TLS.
    pub in_clear: bool,
}

impl Connection {
    /// Logs in (RFC 4954), on a connection that carries no transaction.
    ///
    /// # Errors
    /// The remote does not let us in, or does not offer to where it may: then nothing was said to it. The connection is
    /// of no more use.
    pub async fn log_in(&mut self, login: &Login) -> Result<(), ConnectFailure> {
        let result = self.try_login(login).await;
        result.map_err(|failure| ConnectFailure { transcript: self.take_transcript(), ..failure })
    }

    async fn try_login(&mut self, login: &Login) -> Result<(), ConnectFailure> {
        let failed = |kind, text: &str| Err(ConnectFailure::trouble(Stage::Ehlo, kind, text));
        if self.tls().is_none() && !login.in_clear {
            return failed(TroubleKind::Tls, "the password is for TLS only, and this connection has none");
        }
        let offered = self.capabilities();
        if !offered.offers_logins() {
            return failed(TroubleKind::Login, "the remote does not offer logins");
        }
        // A certificate is shown in a handshake alone.
        let may = |one: &SaslMechanism| *one != SaslMechanism::External || self.tls().is_some();
        let Some(mechanism) = login.mechanisms.iter().find(|one| offered.offers_login(**one) && may(one)) else {
            let names: Vec<_> = login.mechanisms.iter().map(|one| one.name()).collect();
            return failed(TroubleKind::Login, &format!("the remote offers no login with {}", names.join(" or ")));
        };
        let nonce = format!("{:032x}", rand::random::<u128>());
        match ClientExchange::new(*mechanism, &login.credentials, &nonce) {
            Ok(exchange) => self.carry_out(exchange).await,
            Err(fault) => failed(TroubleKind::Login, &fault.to_string()),
        }
    }

    async fn carry_out(&mut self, mut exchange: ClientExchange) -> Result<(), ConnectFailure> {
        self.session.log_in(exchange.mechanism(), exchange.initial().as_deref(), now());
        exchange.initial_sent();
        loop {
            match self.session.poll() {
                ClientAction::Send | ClientAction::NeedInput => self.advance().await,
                ClientAction::Challenge(challenge) => {
                    let (back, answer) = answered(exchange, challenge).await?;
                    exchange = back;
                    match answer {
                        Ok(answer) => self.session.answer(Some(&answer), now()),
                        Err(fault) => self.session.reject_login(&fault.to_string()),
                    }
                }
                ClientAction::Ready => match exchange.succeeded() {
                    Ok(()) => return Ok(()),
                    Err(fault) => self.session.reject_login(&fault.to_string()),
                },
                ClientAction::Failed(failure) => return Err(failure.into()),
                ClientAction::Finished(_)
                | ClientAction::NeedBody
                | ClientAction::UpgradeTls
                | ClientAction::Closed => {
                    return Err(ConnectFailure::trouble(Stage::Ehlo, TroubleKind::Local, "the session ended"));
                }
            }
        }
    }
}

/// A server may ask for a million rounds of hashing: that is done off the threads that move everyone's octets.
async fn answered(
    mut exchange: ClientExchange,
    challenge: Vec<u8>,
) -> Result<(ClientExchange, Result<Vec<u8>, ServerFault>), ConnectFailure> {
    let answering = tokio::task::spawn_blocking(move || {
        let answer = exchange.answer(&challenge);
        (exchange, answer)
    });
    let lost =
        |error: tokio::task::JoinError| ConnectFailure::trouble(Stage::Ehlo, TroubleKind::Local, error.to_string());
    answering.await.map_err(lost)
}
