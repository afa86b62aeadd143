//! Passwords: argon2id (RFC 9106) and SCRAM keys. Hashing is meant to be slow, so no more are hashed at a time than there
//! are cores, away from the tasks that must not wait. Not responsible for whose password it is.

use std::num::NonZeroU32;
use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use mailtier_api::ApiError;
use mailtier_config::Secret;
use mailtier_sasl::{ScramKeys, prepare};
use tokio::sync::Semaphore;

/// RFC 7677 §4 asks for at least 4096.
const SCRAM_ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).unwrap();
const SCRAM_SALT_OCTETS: usize = 16;
/// The shortest password that is taken for a user (NIST SP 800-63B §3.1.1).
const LEAST_CHARACTERS: usize = 8;
/// The longest, so that nobody has us hash megabytes.
const MOST_OCTETS: usize = 1024;

/// What is kept of a password.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) hash: String,
    pub(super) scram: ScramKeys,
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Passwords {
    cores: Arc<Semaphore>,
    /// What a password is compared with where there is no user: it costs the same.
    nobody: Arc<str>,
}

impl Passwords {
    pub(super) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let nobody = hash(&uuid::Uuid::new_v4().to_string()).unwrap_or_default();
        Self { cores: Arc::new(Semaphore::new(cores)), nobody: nobody.into() }
    }

    /// Whether the password is the one of this hash; of no hash it never is, and takes as long to find out.
    pub(super) async fn is_right(&self, password: Secret, hash: Option<String>) -> Result<bool, ApiError> {
        let (hash, known) = hash.map_or_else(|| (self.nobody.to_string(), false), |hash| (hash, true));
        self.on_a_core(move || Ok(verify(password.expose(), &hash) && known)).await
    }

    /// What is kept of a new password.
    pub(super) async fn keep(&self, password: Secret) -> Result<Kept, ApiError> {
        self.on_a_core(move || keep(password.expose())).await
    }

    async fn on_a_core<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let stopping = |_| ApiError::Unavailable("the queue is stopping".to_owned());
        let _permit = self.cores.acquire().await.map_err(stopping)?;
        tokio::task::spawn_blocking(work).await.map_err(|error| ApiError::Internal(error.to_string()))?
    }
}

fn keep(password: &str) -> Result<Kept, ApiError> {
    if password.chars().count() < LEAST_CHARACTERS || password.len() > MOST_OCTETS {
        return Err(ApiError::Invalid(format!(
            "the password must have at least {LEAST_CHARACTERS} characters and at most {MOST_OCTETS} octets"
        )));
    }
    let prepared = prepare(password).map_err(|error| ApiError::Invalid(format!("the password has {error}")))?;
    let mut salt = vec![0; SCRAM_SALT_OCTETS];
    rand::fill(salt.as_mut_slice());
    let scram = ScramKeys::derive(&prepared, salt, SCRAM_ITERATIONS);
    Ok(Kept { hash: hash(&prepared)?, scram })
}

fn hash(password: &str) -> Result<String, ApiError> {
    let hashed = Argon2::default().hash_password(password.as_bytes());
    hashed.map(|hash| hash.to_string()).map_err(|error| ApiError::Internal(format!("argon2: {error}")))
}

fn verify(password: &str, hash: &str) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else { return false };
    password.len() <= MOST_OCTETS && Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_is_right() {
        let passwords = Passwords::new();
        let kept = passwords.keep(Secret::new("correct horse".into())).await.unwrap();
        assert!(kept.hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", kept.hash);
        let is_right = async |password: &str, hash: Option<String>| {
            passwords.is_right(Secret::new(password.into()), hash).await.unwrap()
        };
        assert!(is_right("correct horse", Some(kept.hash.clone())).await);
        assert!(!is_right("correct hors", Some(kept.hash.clone())).await);
        assert!(!is_right("correct horse", None).await);
        assert!(!is_right("correct horse", Some("nonsense".into())).await);
        let again = passwords.keep(Secret::new("correct horse".into())).await.unwrap();
        assert_ne!(kept.hash, again.hash, "salted");
        assert_ne!(kept.scram.salt, again.scram.salt);
        for bad in ["short", "", "with\u{7}bell char"] {
            assert!(passwords.keep(Secret::new(bad.into())).await.is_err(), "{bad:?}");
        }
    }
}
