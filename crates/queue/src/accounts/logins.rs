//! The verdict on a login. A user that does not exist costs as much and looks the same as a wrong password, and failures
//! are counted for the whole installation, by account and by client.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mailtier_api::ApiError;
use mailtier_api::accounts::{Account, Address, FoundSuppression, Login, ScramProof, ScramSalt, ScramVerdict};
use mailtier_api::server::AccountsHandler;
use mailtier_config::Secret;
use mailtier_sasl::{check_proof, fake_salt};
use mailtier_store::{AddressRow, LoginFacts, StoredAccount};
use mailtier_types::{TenantId, Timestamp};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::desk::Desk;
use super::familiar::Familiar;
use super::generations::Generations;
use super::passwords::Passwords;
use crate::admin::AdminService;
use crate::clock;

/// The name of the secret that salts come from for users who do not exist.
const SALT_SECRET: &str = "login_salt";
/// What users who exist have as well.
const SCRAM_ITERATIONS: u32 = 4096;
const SCRAM_SALT_OCTETS: usize = 16;
/// How long a password that was right is known without hashing it again, and how many are of one generation.
const REMEMBERED_FOR: Duration = Duration::from_secs(300);
const REMEMBERED: usize = 5_000;
/// So many times more failures may come from clients from which the user has logged in before.
const FAMILIAR_FACTOR: u32 = 10;
/// The most patterns of one question about recipients.
const MOST_PATTERNS: usize = 64;

/// How many failures there may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoginLimits {
    pub(crate) per_account: u32,
    pub(crate) per_client: u32,
    pub(crate) window: Duration,
}

/// Answers inbound.
#[derive(Debug, Clone)]
pub(crate) struct AccountsService {
    desk: Desk,
    passwords: Passwords,
    limits: LoginLimits,
    admin: AdminService,
    salt_secret: Arc<OnceCell<Vec<u8>>>,
    remembered: Arc<Mutex<Remembered>>,
    familiar: Arc<Familiar>,
}

/// Passwords that were right: a keyed digest of each, which means nothing outside of this process, and what changes when
/// the password does. A client that opens a connection for each message would be hashing passwords most of its time.
#[derive(Debug)]
struct Remembered {
    key: [u8; 32],
    right: Generations<Vec<u8>, Option<(Timestamp, Instant)>>,
}

impl Remembered {
    fn digest(&self, name: &str, password: &Secret) -> Vec<u8> {
        let together = format!("{name}\0{}", password.expose());
        fake_salt(&self.key, &together, mailtier_sasl::DIGEST_OCTETS)
    }

    fn knows(&self, digest: &[u8], changed_at: Timestamp) -> bool {
        let mut known = self.right.get(digest).flatten();
        known.any(|(as_of, since)| *as_of == changed_at && since.elapsed() < REMEMBERED_FOR)
    }

    fn add(&mut self, digest: Vec<u8>, changed_at: Timestamp) {
        let now = (changed_at, Instant::now());
        self.right.change(digest, |known| usize::from(known.replace(now).is_none()));
    }
}

impl AccountsService {
    pub(crate) fn new(desk: Desk, limits: LoginLimits, admin: AdminService) -> Self {
        let mut key = [0; 32];
        rand::fill(&mut key);
        let remembered = Arc::new(Mutex::new(Remembered { key, right: Generations::new(REMEMBERED) }));
        Self {
            desk,
            passwords: Passwords::new(),
            limits,
            admin,
            salt_secret: Arc::default(),
            remembered,
            familiar: Arc::default(),
        }
    }

    async fn facts(&self, name: &str, client: &str) -> Result<LoginFacts, ApiError> {
        let (name, client, window) = (name.to_owned(), client.to_owned(), self.limits.window);
        let facts = self.desk.ask(move |session| {
            let (name, client) = (name.clone(), client.clone());
            Box::pin(async move { session.login_facts(&name, &client, clock::now(), window).await })
        });
        let mut facts = facts.await?;
        // Somebody who may not log in is nobody.
        facts.account = facts.account.filter(|account| account.enabled);
        Ok(facts)
    }

    /// Whether there were too many failures. Strangers' failures do not shut out who has been here before: they are not
    /// even counted once they are too many. A client without a name is one of our own hosts, before which many users sit.
    fn is_limited(&self, facts: &LoginFacts, name: &str, client: &str) -> bool {
        let most = match self.familiar.knows(name, client) {
            true => self.limits.per_account.saturating_mul(FAMILIAR_FACTOR),
            false => self.limits.per_account,
        };
        facts.account_failures >= most || (!client.is_empty() && facts.client_failures >= self.limits.per_client)
    }

    /// Somebody has logged in.
    fn succeeded(&self, account: StoredAccount, client: &str) -> Login {
        self.familiar.remember(&account.name, client);
        Login::User(user(account))
    }

    async fn failed(&self, name: String, client: String) -> Result<Login, ApiError> {
        tracing::info!(user = name, client, "login failed");
        let window = self.limits.window;
        self.desk
            .ask(move |session| {
                let (name, client) = (name.clone(), client.clone());
                Box::pin(async move { session.login_failed(&name, &client, clock::now(), window).await })
            })
            .await?;
        Ok(Login::Invalid)
    }

    /// Whether the password is the user's: hashed, unless it was right a moment ago.
    async fn is_right(&self, name: &str, password: Secret, account: Option<&StoredAccount>) -> Result<bool, ApiError> {
        let digest = self.remembered.lock().digest(name, &password);
        let changed_at = account.map(|account| account.changed_at);
        if changed_at.is_some_and(|changed_at| self.remembered.lock().knows(&digest, changed_at)) {
            return Ok(true);
        }
        let right = self.passwords.is_right(password, account.map(|account| account.password_hash.clone())).await?;
        if let (true, Some(changed_at)) = (right, changed_at) {
            self.remembered.lock().add(digest, changed_at);
        }
        Ok(right)
    }

    async fn salt_secret(&self) -> Result<&Vec<u8>, ApiError> {
        let read = || self.desk.ask(|session| Box::pin(session.secret(SALT_SECRET)));
        self.salt_secret.get_or_try_init(read).await
    }
}

impl AccountsHandler for AccountsService {
    async fn check_password(&self, name: String, password: Secret, client: String) -> Result<Login, ApiError> {
        let name = name.to_lowercase();
        let facts = self.facts(&name, &client).await?;
        if self.is_limited(&facts, &name, &client) {
            return Ok(Login::Limited);
        }
        let right = self.is_right(&name, password, facts.account.as_ref()).await?;
        match facts.account.filter(|_| right) {
            Some(account) => Ok(self.succeeded(account, &client)),
            None => self.failed(name, client).await,
        }
    }

    async fn begin_scram(&self, name: String, client: String) -> Result<ScramSalt, ApiError> {
        let name = name.to_lowercase();
        let facts = self.facts(&name, &client).await?;
        if self.is_limited(&facts, &name, &client) {
            return Ok(ScramSalt::Limited);
        }
        // Made whether it is needed or not: it is part of what a login costs.
        let fake = fake_salt(self.salt_secret().await?, &name, SCRAM_SALT_OCTETS);
        Ok(match facts.account {
            Some(account) => ScramSalt::Salt { salt: account.scram_salt, iterations: account.scram_iterations },
            None => ScramSalt::Salt { salt: fake, iterations: SCRAM_ITERATIONS },
        })
    }

    async fn finish_scram(&self, proof: ScramProof) -> Result<ScramVerdict, ApiError> {
        let name = proof.name.to_lowercase();
        let facts = self.facts(&name, &proof.client).await?;
        let verdict = |login, server_signature| Ok(ScramVerdict { login, server_signature });
        if self.is_limited(&facts, &name, &proof.client) {
            return verdict(Login::Limited, [0; 32]);
        }
        let keys = |account: &StoredAccount| {
            let stored_key = account.scram_stored_key.as_slice().try_into().ok()?;
            Some((stored_key, account.scram_server_key.as_slice().try_into().ok()?))
        };
        let (stored_key, server_key) = facts.account.as_ref().and_then(keys).unwrap_or(([0; 32], [0; 32]));
        match (check_proof(&stored_key, &server_key, &proof.auth_message, &proof.proof), facts.account) {
            (Some(signature), Some(account)) => verdict(self.succeeded(account, &proof.client), signature),
            _ => verdict(self.failed(name, proof.client).await?, [0; 32]),
        }
    }

    async fn find_account(&self, name: String) -> Result<Login, ApiError> {
        let facts = self.facts(&name.to_lowercase(), "").await?;
        Ok(facts.account.map_or(Login::Invalid, |account| Login::User(user(account))))
    }

    async fn find_addresses(&self, patterns: Vec<String>) -> Result<Vec<Address>, ApiError> {
        if patterns.len() > MOST_PATTERNS {
            return Err(ApiError::Invalid(format!("more than {MOST_PATTERNS} patterns")));
        }
        let found = self.desk.ask(move |session| {
            let patterns = patterns.clone();
            Box::pin(async move { session.find_addresses(&patterns).await })
        });
        let address = |row: AddressRow| Address { pattern: row.pattern, targets: row.targets };
        Ok(found.await?.into_iter().map(address).collect())
    }

    async fn start_queue(&self, destination: String) -> Result<u64, ApiError> {
        self.admin.hasten(&destination).await
    }

    async fn find_suppression(&self, tenant: TenantId, recipient: String) -> Result<FoundSuppression, ApiError> {
        self.admin.lists.find(tenant, &recipient).await
    }
}

fn user(account: StoredAccount) -> Account {
    Account { name: account.name, tenant: account.tenant, senders: account.senders }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_passwords_were_right_the_latest_is_known_until_it_is_changed() {
        let mut remembered = Remembered { key: [7; 32], right: Generations::new(REMEMBERED) };
        let changed_at = Timestamp::from_secs(1_800_000_000);
        let digest = |number: usize| number.to_be_bytes().to_vec();
        for number in 0..4 * REMEMBERED {
            remembered.add(digest(number), changed_at);
        }
        let last = digest(4 * REMEMBERED - 1);
        assert!(remembered.knows(&last, changed_at));
        assert!(
            !remembered.knows(&last, changed_at.after(REMEMBERED_FOR)) && !remembered.knows(&digest(0), changed_at)
        );
    }
}
