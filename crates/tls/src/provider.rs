//! The cryptographic provider. Not responsible for anything else: every configuration takes it from here.

use std::sync::{Arc, LazyLock};

use rustls::NamedGroup;
use rustls::crypto::{CryptoProvider, aws_lc_rs};

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

static CLASSICAL: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let mut provider = aws_lc_rs::default_provider();
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
