//! Groups of mail that keep to limits together, wherever it goes and whoever sends it.

use crate::id::TenantId;

/// What many queues keep to together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// All mail of a tenant.
    Tenant(TenantId),
    /// All destinations of a provider, by its name.
    Provider(String),
    /// All mail through an egress pool, by its name.
    Pool(String),
}
