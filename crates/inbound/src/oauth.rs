//! Tokens (RFC 7519) of OAUTHBEARER and XOAUTH2, judged by the issuer's published keys (RFC 7517). Not responsible for
//! what a login says, nor for whether the user exists.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use mailtier_config::{ConfigError, OauthConfig};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// How often the keys are read from their file, and from the network.
const FILE_EVERY: Duration = Duration::from_secs(60);
const URL_EVERY: Duration = Duration::from_secs(600);
/// How often a token with an unknown key may have the keys fetched again.
const UNKNOWN_KEY_PAUSE: Duration = Duration::from_secs(30);
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest set of keys, in octets.
const MAX_KEYS_OCTETS: usize = 1 << 20;
/// What issuers sign with. Keys that both sides know are not among it: the published ones are no secret.
const ALGORITHMS: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// Why the keys could not be had.
#[derive(Debug, thiserror::Error)]
enum KeysError {
    #[error("the file cannot be read")]
    File(#[source] std::io::Error),
    #[error("cannot fetch the keys")]
    Fetch(#[from] reqwest::Error),
    #[error("the set of keys is larger than {MAX_KEYS_OCTETS} octets")]
    TooLarge,
    #[error("no set of keys (RFC 7517)")]
    Malformed(#[from] serde_json::Error),
}

/// Judges tokens.
#[derive(Debug)]
pub(crate) struct TokenJudge {
    config: OauthConfig,
    keys: ArcSwap<JwkSet>,
    fetched_at: Mutex<Option<Instant>>,
}

impl TokenJudge {
    /// With the keys of the file, where they come from one. Those of a URL are fetched later: its server may be away for
    /// a while, a file is there or it is not.
    ///
    /// # Errors
    /// The file cannot be read, or is no set of keys.
    pub(crate) fn new(config: OauthConfig) -> Result<Arc<Self>, ConfigError> {
        let keys = match &config.jwks_file {
            Some(path) => read_file(path).map_err(|error| {
                ConfigError::bad("inbound.oauth.jwks_file", format!("names {}: {}", path.display(), with_cause(&error)))
            })?,
            None => JwkSet { keys: Vec::new() },
        };
        Ok(Arc::new(Self { config, keys: ArcSwap::from_pointee(keys), fetched_at: Mutex::new(None) }))
    }

    /// Whether it judges by these settings.
    pub(crate) fn is_for(&self, config: &OauthConfig) -> bool {
        self.config == *config
    }

    /// Keeps the keys fresh until the end, or until nobody uses them any more.
    pub(crate) async fn keep_fresh(this: Weak<Self>, end: CancellationToken) {
        while let Some(judge) = this.upgrade().filter(|_| !end.is_cancelled()) {
            let every = if judge.config.jwks_file.is_some() { FILE_EVERY } else { URL_EVERY };
            judge.refresh().await;
            drop(judge);
            let _ = tokio::time::timeout(every, end.cancelled()).await;
        }
    }

    /// Whose token this is, where it is good: signed by the issuer, for us, and in its time. `claimed` is who the client
    /// says it is for.
    pub(crate) async fn user_of(&self, token: &str, claimed: Option<&str>) -> Option<String> {
        if !self.knows_key_of(token) && self.may_fetch_again() {
            self.refresh().await;
        }
        let user = self.judge(token)?;
        claimed.is_none_or(|claimed| claimed.eq_ignore_ascii_case(&user)).then_some(user)
    }

    fn knows_key_of(&self, token: &str) -> bool {
        let kid = decode_header(token).ok().and_then(|header| header.kid);
        kid.is_none_or(|kid| self.keys.load().find(&kid).is_some())
    }

    fn may_fetch_again(&self) -> bool {
        self.fetched_at.lock().is_none_or(|at| at.elapsed() > UNKNOWN_KEY_PAUSE)
    }

    fn judge(&self, token: &str) -> Option<String> {
        let header = decode_header(token).ok().filter(|header| ALGORITHMS.contains(&header.alg))?;
        let keys = self.keys.load();
        let candidates = keys.keys.iter().filter(|key| header.kid.is_none() || key.common.key_id == header.kid);
        let mut validation = Validation::new(header.alg);
        validation.set_issuer(&[&self.config.issuer]);
        validation.set_audience(&[&self.config.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.validate_nbf = true;
        candidates.filter_map(|key| DecodingKey::from_jwk(key).ok()).find_map(|key| {
            let claims = decode::<serde_json::Value>(token, &key, &validation).ok()?.claims;
            claims.get(&self.config.user_claim)?.as_str().map(str::to_owned)
        })
    }

    async fn refresh(&self) {
        *self.fetched_at.lock() = Some(Instant::now());
        match self.read().await {
            Ok(keys) => self.keys.store(Arc::new(keys)),
            Err(error) => {
                tracing::warn!(error = with_cause(&error), "the keys for tokens stay as they were");
            }
        }
    }

    async fn read(&self) -> Result<JwkSet, KeysError> {
        match (&self.config.jwks_file, &self.config.jwks_url) {
            (Some(path), _) => read_file(path),
            (None, Some(url)) => fetch(url).await,
            (None, None) => Ok(JwkSet { keys: Vec::new() }),
        }
    }
}

fn with_cause(error: &KeysError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}

/// It is small and on this machine: nobody waits for it.
fn read_file(path: &Path) -> Result<JwkSet, KeysError> {
    Ok(serde_json::from_slice(&std::fs::read(path).map_err(KeysError::File)?)?)
}

async fn fetch(url: &str) -> Result<JwkSet, KeysError> {
    let client = reqwest::Client::builder().timeout(FETCH_TIMEOUT).https_only(true).build()?;
    let mut response = client.get(url).send().await?.error_for_status()?;
    let mut octets = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if octets.len() + chunk.len() > MAX_KEYS_OCTETS {
            return Err(KeysError::TooLarge);
        }
        octets.extend_from_slice(&chunk);
    }
    Ok(serde_json::from_slice(&octets)?)
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::jwk::{
        AlgorithmParameters, CommonParameters, EllipticCurve, EllipticCurveKeyParameters, EllipticCurveKeyType, Jwk,
    };
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::{Value, json};

    use super::*;

    /// An issuer's key and the set it publishes.
    fn issuer(kid: &str) -> (EncodingKey, JwkSet) {
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
        use base64::Engine as _;
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let pkcs8 = pair.to_pkcs8v1().unwrap();
        let point = pair.public_key().as_ref();
        let coordinate = |octets: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(octets);
        let algorithm = AlgorithmParameters::EllipticCurve(EllipticCurveKeyParameters {
            key_type: EllipticCurveKeyType::EC,
            curve: EllipticCurve::P256,
            x: coordinate(&point[1..33]),
            y: coordinate(&point[33..]),
        });
        let common = CommonParameters { key_id: Some(kid.to_owned()), ..CommonParameters::default() };
        (EncodingKey::from_ec_der(pkcs8.as_ref()), JwkSet { keys: vec![Jwk { common, algorithm }] })
    }

    fn token(key: &EncodingKey, kid: &str, claims: &Value) -> String {
        encode(&Header { kid: Some(kid.into()), ..Header::new(Algorithm::ES256) }, claims, key).unwrap()
    }

    #[tokio::test]
    async fn only_tokens_of_the_issuer_for_us_and_in_their_time_are_good() {
        let ((key, published), (stranger, _)) = (issuer("k1"), issuer("k1"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jwks.json");
        std::fs::write(&path, serde_json::to_vec(&published).unwrap()).unwrap();
        let judge = TokenJudge::new(OauthConfig {
            jwks_file: Some(path),
            issuer: "https://id.example".into(),
            audience: "mail".into(),
            ..OauthConfig::default()
        })
        .unwrap();
        let now = jsonwebtoken::get_current_timestamp();
        let good = json!({"iss": "https://id.example", "aud": "mail", "exp": now + 600, "email": "user@example.org"});
        let with = |name: &str, value: Value| {
            let mut claims = good.clone();
            claims[name] = value;
            claims
        };
        let user = async |token: String, claimed| judge.user_of(&token, claimed).await;
        let expected = Some("user@example.org".to_owned());
        assert_eq!(user(token(&key, "k1", &good), None).await, expected);
        assert_eq!(user(token(&key, "k1", &good), Some("USER@example.org")).await, expected);
        assert_eq!(user(token(&key, "k1", &good), Some("other@example.org")).await, None);
        assert_eq!(user(token(&stranger, "k1", &good), None).await, None);
        for bad in [
            with("iss", json!("https://evil.example")),
            with("aud", json!("other")),
            with("exp", json!(now - 600)),
            with("nbf", json!(now + 600)),
            with("email", json!(7)),
            with("exp", Value::Null),
        ] {
            assert_eq!(user(token(&key, "k1", &bad), None).await, None, "{bad}");
        }
        // A published key is no secret: nothing signed with it as one is good.
        let header = Header { kid: Some("k1".into()), ..Header::new(Algorithm::HS256) };
        let forged = encode(&header, &good, &EncodingKey::from_secret(b"whatever")).unwrap();
        assert_eq!(user(forged, None).await, None);
        assert_eq!(user("nonsense".into(), None).await, None);
    }

    #[test]
    fn a_file_without_keys_is_refused_at_the_start_and_a_url_is_not_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jwks.json");
        let judge = |config: OauthConfig| TokenJudge::new(config).map(|_| ()).map_err(|error| error.to_string());
        let of_file = || judge(OauthConfig { jwks_file: Some(path.clone()), ..OauthConfig::default() });
        let missing = of_file().unwrap_err();
        assert!(
            missing.starts_with("`inbound.oauth.jwks_file` names /") && missing.contains("No such file"),
            "{missing}"
        );
        std::fs::write(&path, "{}").unwrap();
        let malformed = of_file().unwrap_err();
        assert!(malformed.contains("no set of keys (RFC 7517)"), "{malformed}");
        std::fs::write(&path, "{\"keys\": []}").unwrap();
        assert_eq!(of_file(), Ok(()));
        let url = Some("https://nowhere.invalid/keys".to_owned());
        assert_eq!(judge(OauthConfig { jwks_url: url, ..OauthConfig::default() }), Ok(()));
    }
}
