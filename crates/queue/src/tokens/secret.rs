//! Secrets of tokens: how they are made and printed, and what is kept of them. Pure but for the randomness.

use aws_lc_rs::digest::SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mailtier_api::ApiError;
use mailtier_config::Secret;

/// What every token begins with: programs that look for leaked secrets find them by it.
const BEGINNING: &str = "mt_";
/// How much of the name stands in the token.
const NAME_CHARS: usize = 16;
/// 256 bits.
const RANDOM_OCTETS: usize = 32;
/// The same in base64url (RFC 4648 §5) without padding.
const RANDOM_CHARS: usize = 43;

/// What is kept of a secret.
pub(super) type Digest = [u8; 32];

/// SHA-256. A slow hash protects what people think up; nobody thinks up 256 random bits.
pub(super) fn digest(secret: &str) -> Digest {
    let mut digest = [0; 32];
    let hashed = aws_lc_rs::digest::digest(&SHA256, secret.as_bytes());
    digest.copy_from_slice(hashed.as_ref());
    digest
}

/// `mt_<name>_<random>`: the name, as far as it is letters and digits, tells people which one they have in their hands.
///
/// # Errors
/// The system has no random numbers.
pub(super) fn make(name: &str) -> Result<Secret, ApiError> {
    let mut random = [0; RANDOM_OCTETS];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| ApiError::Internal("no random numbers".to_owned()))?;
    let plain = name.chars().filter(char::is_ascii_alphanumeric).take(NAME_CHARS).collect::<String>();
    Ok(Secret::new(format!("{BEGINNING}{}_{}", plain.to_ascii_lowercase(), URL_SAFE_NO_PAD.encode(random))))
}

/// Whether it looks like one of ours: what does not is refused without a look at the table.
pub(super) fn is_token(text: &str) -> bool {
    let parts = text.strip_prefix(BEGINNING).and_then(|rest| rest.split_once('_'));
    parts.is_some_and(|(name, random)| {
        let is_plain = name.len() <= NAME_CHARS && name.bytes().all(|octet| octet.is_ascii_alphanumeric());
        let is_random = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_';
        is_plain && random.len() == RANDOM_CHARS && random.bytes().all(is_random)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_shows_its_name_and_no_two_are_alike() {
        let made = make("CI-Bot.of.the.whole_company").unwrap();
        let text = made.expose();
        assert!(text.starts_with("mt_cibotofthewholec_"), "{text}");
        assert!(is_token(text) && is_token(make("_").unwrap().expose()));
        assert_ne!(text, make("CI-Bot").unwrap().expose());
        assert_ne!(digest(text), digest(&text.to_uppercase()));
    }

    #[test]
    fn what_is_no_token_is_told_apart_without_a_table() {
        let good = make("bot").unwrap();
        for text in ["", "mt_", "mt_bot_", "operators only", &good.expose()[1..], &format!("{}x", good.expose())] {
            assert!(!is_token(text), "{text}");
        }
        assert!(!is_token(&good.expose().replace('b', "é")));
    }

    /// RFC 6234 §8.5, "abc".
    #[test]
    fn digests_are_sha256() {
        assert_eq!(digest("abc")[..4], [0xba, 0x78, 0x16, 0xbf]);
    }
}
