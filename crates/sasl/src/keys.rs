//! What SCRAM-SHA-256 derives from a password (RFC 5802 §3, RFC 7677), and how a client's proof is checked without
//! knowing the password. Not responsible for the messages.

use std::fmt;
use std::num::NonZeroU32;

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};

/// Octets of SHA-256.
pub const DIGEST_OCTETS: usize = 32;

/// What SHA-256 and HMAC over it give.
pub type Digest = [u8; DIGEST_OCTETS];

/// What is kept of a password for SCRAM: it lets proofs be checked, and nobody log in elsewhere.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    /// Of this user alone.
    pub salt: Vec<u8>,
    /// How often the password is hashed.
    pub iterations: u32,
    /// `H(ClientKey)`.
    pub stored_key: Digest,
    /// What the server proves itself with.
    pub server_key: Digest,
}

/// Keys are not shown.
impl fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramKeys").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

impl ScramKeys {
    /// From a prepared password (RFC 5802 §3).
    #[must_use]
    pub fn derive(password: &str, salt: Vec<u8>, iterations: NonZeroU32) -> Self {
        let mut salted = [0; DIGEST_OCTETS];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, password.as_bytes(), &mut salted);
        let client_key = mac(&salted, b"Client Key");
        Self {
            salt,
            iterations: iterations.get(),
            stored_key: hash(&client_key),
            server_key: mac(&salted, b"Server Key"),
        }
    }
}

/// What a client proves its password with.
pub(crate) struct ClientProof {
    /// For the server, which knows the password or its keys.
    pub(crate) proof: Digest,
    /// What a server that knows them answers with.
    pub(crate) signature: Digest,
}

/// From a prepared password (RFC 5802 §3), for the messages that were said.
pub(crate) fn prove(password: &str, salt: &[u8], iterations: NonZeroU32, auth_message: &[u8]) -> ClientProof {
    let mut salted = [0; DIGEST_OCTETS];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, password.as_bytes(), &mut salted);
    let client_key = mac(&salted, b"Client Key");
    let signed = mac(&hash(&client_key), auth_message);
    let mut proof = client_key;
    for (octet, signed) in proof.iter_mut().zip(signed) {
        *octet ^= signed;
    }
    ClientProof { proof, signature: mac(&mac(&salted, b"Server Key"), auth_message) }
}

/// Whether two are the same, in a time that does not tell where they differ.
pub(crate) fn are_equal(one: &[u8], other: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(one, other).is_ok()
}

/// Whether the proof shows that the client knows the password, and the signature that shows the client that we know the
/// keys.
#[must_use]
pub fn check_proof(stored_key: &Digest, server_key: &Digest, auth_message: &[u8], proof: &Digest) -> Option<Digest> {
    let signature = mac(stored_key, auth_message);
    let mut client_key = [0; DIGEST_OCTETS];
    for (octet, (signed, proved)) in client_key.iter_mut().zip(signature.iter().zip(proof)) {
        *octet = signed ^ proved;
    }
    constant_time::verify_slices_are_equal(&hash(&client_key), stored_key).ok()?;
    Some(mac(server_key, auth_message))
}

/// The salt of somebody who does not exist: always the same for a name, and not to be told from a real one without the
/// secret (RFC 5802 §9).
#[must_use]
pub fn fake_salt(secret: &[u8], name: &str, octets: usize) -> Vec<u8> {
    mac(secret, name.as_bytes()).into_iter().take(octets).collect()
}

fn mac(key: &[u8], message: &[u8]) -> Digest {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    sized(tag.as_ref())
}

fn hash(message: &[u8]) -> Digest {
    sized(digest::digest(&digest::SHA256, message).as_ref())
}

fn sized(octets: &[u8]) -> Digest {
    octets.try_into().unwrap_or([0; DIGEST_OCTETS])
}
