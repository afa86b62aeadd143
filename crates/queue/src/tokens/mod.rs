//! Operators' tokens: whose one is, and how they are made and revoked. Not responsible for what a role may do, which is
//! `api`'s.
//!
//! | module | holds |
//! |---|---|
//! | `known` | what was read of the table, and what follows from it for a token that is shown |
//! | `secret` | making secrets, and what is kept of them |
//!
//! A token is looked up in memory. What is there was read from the table at most [`FRESH`] ago, all of it at once, so that
//! a revoked token is refused by every replica after that time, and whoever guesses costs the database one small read
//! every [`AGAIN`] at the most, however much he guesses.

mod known;
mod secret;

use std::sync::Arc;
use std::time::Duration;

use mailtier_api::access::Authenticator;
use mailtier_api::tokens::{NewToken, TokenOrder, TokenView};
use mailtier_api::{ApiError, Caller, Role};
use mailtier_config::Secret;
use mailtier_store::{MAX_TOKENS, StoredToken, TokenMade};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::accounts::Desk;
use crate::clock;
use known::{Known, Verdict};
use secret::{Digest, digest, is_token};

/// How old may be what is known of tokens.
const FRESH: Duration = Duration::from_secs(3);
/// A token that is not known may be a new one: then the table is read again, so often at the most, and the call waits.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a call waits for the table to be read.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Tokens {
    desk: Desk,
    /// The token of the configuration; it is good whether or not the database is there.
    root: Option<Digest>,
    known: Arc<Mutex<Known>>,
    /// One reads the table, the others wait for what it finds.
    reading: Arc<tokio::sync::Mutex<()>>,
}

impl Tokens {
    /// With the token of the configuration.
    pub(crate) fn new(desk: Desk, root: Option<&Secret>) -> Self {
        let root = root.map(|token| digest(token.expose()));
        Self { desk, root, known: Arc::default(), reading: Arc::default() }
    }

    async fn look_up(&self, shown: Digest) -> Result<StoredToken, ApiError> {
        let asked = Instant::now();
        loop {
            let verdict = self.known.lock().judge(&shown, clock::now(), Instant::now(), asked);
            match verdict {
                Verdict::Good(token) => return Ok(*token),
                Verdict::Expired(name) => {
                    return Err(ApiError::Unauthenticated(format!(
                        "the token `{name}` has expired: have another made"
                    )));
                }
                Verdict::Unknown => {
                    return Err(ApiError::Unauthenticated("the token is not known, or was revoked".to_owned()));
                }
                Verdict::ReadFirst => self.read(asked).await?,
            }
        }
    }

    /// Reads the table, unless another did since `asked`.
    async fn read(&self, asked: Instant) -> Result<(), ApiError> {
        let reading = async {
            let _one = self.reading.lock().await;
            if self.known.lock().is_from(asked) {
                return Ok(());
            }
            // Whoever guesses waits, and so does whoever comes with a new token to another replica than made it.
            let before = self.known.lock().read_at();
            if let Some(read_at) = before {
                tokio::time::sleep_until(read_at + AGAIN).await;
            }
            let begun = Instant::now();
            let tokens = self.desk.ask(|session| Box::pin(session.tokens())).await?;
            self.known.lock().replace(tokens, begun);
            Ok(())
        };
        let late = |_| ApiError::Unavailable("no answer of the database".to_owned());
        let read = tokio::time::timeout(READ_WITHIN, reading).await.map_err(late).and_then(|read| read);
        read.map_err(|error| ApiError::Unavailable(format!("the token cannot be looked up at the moment: {error}")))
    }

    /// Beside the call, which does not wait for it.
    fn note_use(&self, name: &str) {
        let (now, desk, name) = (clock::now(), self.desk.clone(), name.to_owned());
        if !self.known.lock().is_use_to_be_noted(&name, now) {
            return;
        }
        tokio::spawn(async move {
            let noting = desk.ask(move |session| {
                let name = name.clone();
                Box::pin(async move { session.token_used(&name, now).await })
            });
            if let Err(error) = noting.await {
                tracing::debug!(%error, "the use of a token is not noted");
            }
        });
    }

    /// Makes a token.
    pub(crate) async fn create(&self, order: TokenOrder) -> Result<NewToken, ApiError> {
        let secret = secret::make(&order.name)?;
        let now = clock::now();
        let token = StoredToken {
            name: order.name,
            role: order.role.word().to_owned(),
            content: order.content,
            digest: digest(secret.expose()),
            created_by: order.operator,
            created_at: now,
            last_used_at: None,
            expires_at: order.lasting.map(|lasting| now.after(lasting)),
        };
        let stored = token.clone();
        let made = self.desk.ask(move |session| {
            let token = stored.clone();
            Box::pin(async move { session.make_token(&token).await })
        });
        match made.await? {
            TokenMade::Made => {}
            TokenMade::Exists => {
                let text = format!("name: there is a token `{}`: revoke it first, or choose another name", token.name);
                return Err(ApiError::Invalid(text));
            }
            TokenMade::TooMany => {
                return Err(ApiError::Invalid(format!("there are {MAX_TOKENS} tokens: revoke others first")));
            }
        }
        tracing::info!(
            operator = token.created_by,
            token = token.name,
            role = token.role,
            content = token.content,
            lasting_s = order.lasting.map(|lasting| lasting.as_secs()),
            "token made"
        );
        self.known.lock().forget();
        Ok(NewToken { secret, view: view(token)? })
    }

    /// A page of tokens.
    pub(crate) async fn list(&self, after: &str, limit: u32) -> Result<Vec<TokenView>, ApiError> {
        let tokens = self.desk.ask(|session| Box::pin(session.tokens())).await?;
        let page = tokens.into_iter().filter(|token| token.name.as_str() > after);
        page.take(usize::try_from(limit).unwrap_or(usize::MAX)).map(view).collect()
    }

    /// Revokes a token; false where there is none.
    pub(crate) async fn revoke(&self, name: String, operator: &str) -> Result<bool, ApiError> {
        let gone = name.clone();
        let revoked = self.desk.ask(move |session| {
            let name = name.clone();
            Box::pin(async move { session.delete_token(&name).await })
        });
        let revoked = revoked.await?;
        self.known.lock().forget();
        tracing::info!(operator, token = gone, was_there = revoked, "token revoked");
        Ok(revoked)
    }
}

impl Authenticator for Tokens {
    async fn authenticate(&self, token: &str) -> Result<Caller, ApiError> {
        let shown = digest(token);
        // Digests are compared, not secrets: how long that takes says nothing about the secret.
        if self.root == Some(shown) {
            return Ok(Caller::root());
        }
        if !is_token(token) {
            return Err(ApiError::Unauthenticated("the token is not the right one".to_owned()));
        }
        let found = self.look_up(shown).await?;
        self.note_use(&found.name);
        Ok(Caller { role: Role::parse(&found.role)?, name: found.name, content: found.content })
    }
}

/// A token as operators see it.
///
/// # Errors
/// A newer program has made it, or somebody by hand.
fn view(token: StoredToken) -> Result<TokenView, ApiError> {
    Ok(TokenView {
        role: Role::parse(&token.role)?,
        name: token.name,
        content: token.content,
        operator: token.created_by,
        created_at: token.created_at,
        last_used_at: token.last_used_at,
        expires_at: token.expires_at,
    })
}
