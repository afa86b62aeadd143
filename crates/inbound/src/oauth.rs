//! Tokens (RFC 7519) of OAUTHBEARER and XOAUTH2, judged by the issuer's published keys (RFC 7517). Not responsible for
//! what a login says, nor for whether the user exists.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use mailtier_config::OauthConfig;
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
    #[error("cannot read {0}")]
    File(String, #[source] std::io::Error),
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
    pub(crate) fn new(config: OauthConfig) -> Arc<Self> {
        Arc::new(Self {
            config,
            keys: ArcSwap::from_pointee(JwkSet { keys: Vec::new() }),
            fetched_at: Mutex::new(None),
        })
    }

    /// Keeps the keys fresh until the end.
    pub(crate) async fn run(self: Arc<Self>, end: CancellationToken) {
        let every = if self.config.jwks_file.is_some() { FILE_EVERY } else { URL_EVERY };
        while !end.is_cancelled() {
            self.refresh().await;
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
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
                tracing::warn!(error = %format!("{error}{cause}"), "the keys for tokens stay as they were");
            }
        }
    }

    async fn read(&self) -> Result<JwkSet, KeysError> {
        let octets = match (&self.config.jwks_file, &self.config.jwks_url) {
            (Some(path), _) => read_file(path).await?,
            (None, Some(url)) => fetch(url).await?,
            (None, None) => Vec::new(),
        };
        Ok(serde_json::from_slice(&octets)?)
    }
}

async fn read_file(path: &Path) -> Result<Vec<u8>, KeysError> {
    tokio::fs::read(path).await.map_err(|error| KeysError::File(path.display().to_string(), error))
}

async fn fetch(url: &str) -> Result<Vec<u8>, KeysError> {
    let client = reqwest::Client::builder().timeout(FETCH_TIMEOUT).https_only(true).build()?;
    let mut response = client.get(url).send().await?.error_for_status()?;
    let mut octets = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if octets.len() + chunk.len() > MAX_KEYS_OCTETS {
            return Err(KeysError::TooLarge);
        }
        octets.extend_from_slice(&chunk);
    }
    Ok(octets)
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
        });
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
}
