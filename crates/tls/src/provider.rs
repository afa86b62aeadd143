//! The cryptographic provider. Not responsible for anything else: every configuration takes it from here.

use std::sync::{Arc, LazyLock};

use rustls::crypto::hash::HashAlgorithm;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{NamedGroup, SupportedCipherSuite};

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(preferred()));

static CLASSICAL: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let mut provider = preferred();
    provider.kx_groups.retain(|group| group.name() != NamedGroup::X25519MLKEM768);
    Arc::new(provider)
});

/// aws-lc-rs, one instance for all connections.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}

/// The same without post-quantum key exchange.
pub(crate) fn classical_provider() -> Arc<CryptoProvider> {
    Arc::clone(&CLASSICAL)
}

/// Every suite there is, best first: of each version of TLS the suites with SHA-256 come before those with SHA-384. All are
/// far beyond what can be broken, and the hash is most of what a handshake costs beside its key exchange: processors have
/// instructions for SHA-256.
fn preferred() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|suite| (suite.tls13().is_none(), hash(suite) != HashAlgorithm::SHA256));
    provider
}

fn hash(suite: &SupportedCipherSuite) -> HashAlgorithm {
    match suite {
        SupportedCipherSuite::Tls12(suite) => suite.common.hash_provider.algorithm(),
        SupportedCipherSuite::Tls13(suite) => suite.common.hash_provider.algorithm(),
    }
}

#[cfg(test)]
mod tests {
    use rustls::CipherSuite;

    use super::*;

    #[test]
    fn suites_with_the_cheaper_hash_come_first_and_none_is_missing() {
        let all = aws_lc_rs::default_provider().cipher_suites.len();
        for provider in [provider(), classical_provider()] {
            let suites: Vec<CipherSuite> = provider.cipher_suites.iter().map(SupportedCipherSuite::suite).collect();
            assert_eq!(suites.len(), all);
            assert_eq!(
                suites[..3],
                [
                    CipherSuite::TLS13_AES_128_GCM_SHA256,
                    CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
                    CipherSuite::TLS13_AES_256_GCM_SHA384
                ]
            );
            assert_eq!(suites.last(), Some(&CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384));
        }
    }
}
