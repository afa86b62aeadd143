//! An issuer of tokens (RFC 7519), with the keys it publishes (RFC 7517).

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use serde_json::json;

/// Who issues, and for whom.
pub(crate) const ISSUER: &str = "https://id.example";
pub(crate) const AUDIENCE: &str = "mail";
const KEY_ID: &str = "one";

/// See the module.
pub(crate) struct Issuer {
    key: EncodingKey,
    /// The set of keys, as a file has it.
    pub(crate) keys: String,
}

impl Issuer {
    pub(crate) fn new() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let coordinate = |octets: &[u8]| URL_SAFE_NO_PAD.encode(octets);
        let published = json!({"keys": [
            {"kty": "EC", "crv": "P-256", "kid": KEY_ID, "x": coordinate(x), "y": coordinate(y)}
        ]});
        Self { key: EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref()), keys: published.to_string() }
    }

    /// A token for a user that is good for ten minutes.
    pub(crate) fn token(&self, user: &str) -> String {
        let claims = json!({"iss": ISSUER, "aud": AUDIENCE, "exp": get_current_timestamp() + 600, "email": user});
        let header = Header { kid: Some(KEY_ID.into()), ..Header::new(Algorithm::ES256) };
        encode(&header, &claims, &self.key).unwrap()
    }
}
