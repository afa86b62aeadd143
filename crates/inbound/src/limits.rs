//! How much one client, one user or one tenant may do at a time and in a time. Counted by this process for itself. Not
//! responsible for what is said when it is too much.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;

use governor::clock::DefaultClock;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use mailtier_config::InboundConfig;
use mailtier_types::TenantId;
use parking_lot::Mutex;

/// What holds for one client; 0: no limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientLimits {
    pub(crate) sessions: u32,
    pub(crate) messages_per_minute: u32,
}

/// Who is counted as one: an IPv4 address, or the /64 that one IPv6 site has (RFC 6177).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClientKey(IpAddr);

impl ClientKey {
    pub(crate) fn of(client: IpAddr) -> Self {
        Self(match client.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// As failed logins are counted by.
impl std::fmt::Display for ClientKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(address) => write!(f, "{address}/64"),
        }
    }
}

/// How many of something each key has now.
#[derive(Debug)]
struct Holdings<K>(Mutex<HashMap<K, u32>>);

impl<K> Default for Holdings<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// One of what a key has, given back when dropped.
#[derive(Debug)]
pub(crate) struct Held<K: Hash + Eq> {
    /// Nothing: there is no limit, and nobody counts.
    holdings: Option<Arc<Holdings<K>>>,
    key: K,
}

impl<K: Hash + Eq> Held<K> {
    /// Whose it is.
    pub(crate) const fn holder(&self) -> &K {
        &self.key
    }
}

impl<K: Hash + Eq + Clone> Holdings<K> {
    /// One more, unless that were more than `limit`; 0: no limit.
    fn take(self: &Arc<Self>, key: K, limit: u32) -> Option<Held<K>> {
        if limit == 0 {
            return Some(Held { holdings: None, key });
        }
        let mut all = self.0.lock();
        let count = all.entry(key.clone()).or_insert(0);
        if *count >= limit {
            return None;
        }
        *count += 1;
        drop(all);
        Some(Held { holdings: Some(Arc::clone(self)), key })
    }
}

impl<K: Hash + Eq> Drop for Held<K> {
    fn drop(&mut self) {
        let Some(holdings) = &self.holdings else { return };
        let mut all = holdings.0.lock();
        if let Some(count) = all.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.key);
            }
        }
    }
}

/// How often each key may do something.
struct Rates<K: Hash + Eq + Clone> {
    count: u32,
    limiter: RateLimiter<K, DashMapStateStore<K>, DefaultClock>,
}

impl<K: Hash + Eq + Clone> Rates<K> {
    /// Nothing where there is no limit.
    fn new(count: u32, quota: impl Fn(NonZeroU32) -> Quota) -> Option<Arc<Self>> {
        let limiter = RateLimiter::dashmap(quota(NonZeroU32::new(count)?));
        Some(Arc::new(Self { count, limiter }))
    }

    /// Where the limit is the same, what was used up stays so.
    fn kept(new: Option<Arc<Self>>, old: Option<&Arc<Self>>) -> Option<Arc<Self>> {
        new.map(|new| old.filter(|old| old.count == new.count).map_or(new, Arc::clone))
    }

    fn allows(&self, key: &K) -> bool {
        self.limiter.check_key(key).is_ok()
    }

    /// Forgets keys that have all they may have again.
    fn tidy(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}

/// All limits of the process.
pub(crate) struct Limits {
    client_sessions: Arc<Holdings<ClientKey>>,
    /// Of connections that are no sessions yet.
    client_handshakes: Arc<Holdings<ClientKey>>,
    user_sessions: Arc<Holdings<Arc<str>>>,
    user_sessions_limit: u32,
    tenant_sessions: Arc<Holdings<TenantId>>,
    /// Tenants that have a limit.
    tenant_sessions_limits: HashMap<TenantId, u32>,
    new_sessions: Option<Arc<Rates<ClientKey>>>,
    client_recipients: Option<Arc<Rates<ClientKey>>>,
    /// By limit: networks may have their own.
    client_messages: HashMap<u32, Arc<Rates<ClientKey>>>,
    user_messages: Option<Arc<Rates<Arc<str>>>>,
    user_recipients: Option<Arc<Rates<Arc<str>>>>,
    tenant_messages: HashMap<TenantId, Arc<Rates<TenantId>>>,
    tenant_recipients: HashMap<TenantId, Arc<Rates<TenantId>>>,
}

impl std::fmt::Debug for Limits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limits").finish_non_exhaustive()
    }
}

/// Whose transaction it is.
#[derive(Debug)]
pub(crate) struct Account<'a> {
    /// The client, unless it is exempt.
    pub(crate) client: Option<(ClientKey, ClientLimits)>,
    pub(crate) user: Option<&'a Arc<str>>,
    pub(crate) tenant: TenantId,
}

impl Limits {
    pub(crate) fn new(config: &InboundConfig) -> Self {
        let of_networks = config.networks.iter().filter_map(|network| network.client_messages_per_minute);
        let counts = of_networks.chain([config.client_messages_per_minute]);
        let tenants = |count: fn(&mailtier_config::TenantConfig) -> u32| {
            let rates = |tenant| Some((TenantId(tenant_id(tenant)), Rates::new(count(tenant), Quota::per_hour)?));
            config.tenants.iter().filter_map(rates).collect()
        };
        Self {
            client_sessions: Arc::default(),
            client_handshakes: Arc::default(),
            user_sessions: Arc::default(),
            user_sessions_limit: config.user_sessions,
            tenant_sessions: Arc::default(),
            tenant_sessions_limits: config.tenants.iter().map(|one| (TenantId(one.id), one.sessions)).collect(),
            new_sessions: Rates::new(config.client_sessions_per_minute, Quota::per_minute),
            client_recipients: Rates::new(config.client_recipients_per_minute, Quota::per_minute),
            client_messages: counts.filter_map(|n| Some((n, Rates::new(n, Quota::per_minute)?))).collect(),
            user_messages: Rates::new(config.user_messages_per_hour, Quota::per_hour),
            user_recipients: Rates::new(config.user_recipients_per_hour, Quota::per_hour),
            tenant_messages: tenants(|tenant| tenant.messages_per_hour),
            tenant_recipients: tenants(|tenant| tenant.recipients_per_hour),
        }
    }

    /// The same with the limits of another configuration: who is here is counted on, and so is what was used up of a limit
    /// that stays as it was.
    pub(crate) fn renewed(&self, config: &InboundConfig) -> Self {
        let new = Self::new(config);
        Self {
            client_sessions: Arc::clone(&self.client_sessions),
            client_handshakes: Arc::clone(&self.client_handshakes),
            user_sessions: Arc::clone(&self.user_sessions),
            tenant_sessions: Arc::clone(&self.tenant_sessions),
            new_sessions: Rates::kept(new.new_sessions, self.new_sessions.as_ref()),
            client_recipients: Rates::kept(new.client_recipients, self.client_recipients.as_ref()),
            client_messages: all_kept(new.client_messages, &self.client_messages),
            user_messages: Rates::kept(new.user_messages, self.user_messages.as_ref()),
            user_recipients: Rates::kept(new.user_recipients, self.user_recipients.as_ref()),
            tenant_messages: all_kept(new.tenant_messages, &self.tenant_messages),
            tenant_recipients: all_kept(new.tenant_recipients, &self.tenant_recipients),
            ..new
        }
    }

    /// A session of a client, unless it has too many, or began too many of late.
    pub(crate) fn session(&self, client: ClientKey, limits: ClientLimits) -> Option<Held<ClientKey>> {
        let held = self.client_sessions.take(client, limits.sessions)?;
        self.new_sessions.as_ref().is_none_or(|rates| rates.allows(&client)).then_some(held)
    }

    /// A handshake before a session of a client, unless it has as many under way as it may have sessions.
    pub(crate) fn handshake(&self, client: ClientKey, limits: ClientLimits) -> Option<Held<ClientKey>> {
        self.client_handshakes.take(client, limits.sessions)
    }

    /// A session of a user, unless there are too many.
    pub(crate) fn user_session(&self, user: &Arc<str>) -> Option<Held<Arc<str>>> {
        self.user_sessions.take(Arc::clone(user), self.user_sessions_limit)
    }

    /// A session of a tenant, unless there are too many.
    pub(crate) fn tenant_session(&self, tenant: TenantId) -> Option<Held<TenantId>> {
        let limit = self.tenant_sessions_limits.get(&tenant).copied().unwrap_or(0);
        self.tenant_sessions.take(tenant, limit)
    }

    /// Whether one more message may begin.
    pub(crate) fn allow_message(&self, account: &Account<'_>) -> bool {
        let of_client = account
            .client
            .and_then(|(key, limits)| Some((&**self.client_messages.get(&limits.messages_per_minute)?, key)));
        all_allow(
            of_client,
            both(self.user_messages.as_deref(), account.user),
            self.tenant_messages.get(&account.tenant).map(Arc::as_ref),
            account.tenant,
        )
    }

    /// Whether one more recipient may be taken.
    pub(crate) fn allow_recipient(&self, account: &Account<'_>) -> bool {
        let of_client = both(self.client_recipients.as_deref(), account.client.map(|(key, _)| key));
        all_allow(
            of_client,
            both(self.user_recipients.as_deref(), account.user),
            self.tenant_recipients.get(&account.tenant).map(Arc::as_ref),
            account.tenant,
        )
    }

    /// Gives back the memory of clients and users that have not been here for long.
    pub(crate) fn tidy(&self) {
        [&self.new_sessions, &self.client_recipients].into_iter().flatten().for_each(|rates| rates.tidy());
        [&self.user_messages, &self.user_recipients].into_iter().flatten().for_each(|rates| rates.tidy());
        self.client_messages.values().for_each(|rates| rates.tidy());
    }
}

fn all_kept<L, K>(new: HashMap<L, Arc<Rates<K>>>, old: &HashMap<L, Arc<Rates<K>>>) -> HashMap<L, Arc<Rates<K>>>
where
    L: Hash + Eq,
    K: Hash + Eq + Clone,
{
    let kept = |(whose, rates)| {
        let rates = Rates::kept(Some(rates), old.get(&whose))?;
        Some((whose, rates))
    };
    new.into_iter().filter_map(kept).collect()
}

/// The narrowest is asked first: who is beyond his own limit uses up nothing of what he shares with others.
fn all_allow(
    client: Option<(&Rates<ClientKey>, ClientKey)>,
    user: Option<(&Rates<Arc<str>>, &Arc<str>)>,
    of_tenant: Option<&Rates<TenantId>>,
    tenant: TenantId,
) -> bool {
    client.is_none_or(|(rates, key)| rates.allows(&key))
        && user.is_none_or(|(rates, user)| rates.allows(user))
        && of_tenant.is_none_or(|rates| rates.allows(&tenant))
}

const fn tenant_id(tenant: &mailtier_config::TenantConfig) -> i32 {
    tenant.id
}

fn both<A, B>(a: Option<A>, b: Option<B>) -> Option<(A, B)> {
    a.zip(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> ClientKey {
        ClientKey::of(text.parse().unwrap())
    }

    #[test]
    fn a_site_is_one_client() {
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.2"), key("192.0.2.1"));
    }

    #[test]
    fn sessions_are_counted_and_given_back() {
        let limits = Limits::new(&InboundConfig::default());
        let two = ClientLimits { sessions: 2, messages_per_minute: 0 };
        let first = limits.session(key("192.0.2.1"), two).unwrap();
        let _second = limits.session(key("192.0.2.1"), two).unwrap();
        assert!(limits.session(key("192.0.2.1"), two).is_none());
        assert!(limits.session(key("192.0.2.2"), two).is_some());
        drop(first);
        assert!(limits.session(key("192.0.2.1"), two).is_some());
        assert_eq!(limits.client_sessions.0.lock().len(), 1, "who is gone costs nothing");
    }

    #[test]
    fn who_comes_too_often_holds_nothing() {
        let config = InboundConfig { client_sessions_per_minute: 1, ..InboundConfig::default() };
        let limits = Limits::new(&config);
        let (client, two) = (key("192.0.2.1"), ClientLimits { sessions: 2, messages_per_minute: 0 });
        let held = || limits.client_sessions.0.lock().get(&client).copied();
        let first = limits.session(client, two).unwrap();
        for _ in 0..3 {
            assert!(limits.session(client, two).is_none(), "the rate is used up");
            assert_eq!(held(), Some(1), "the place was given back");
        }
        drop(first);
        assert!(limits.session(client, two).is_none(), "the rate is still used up");
        assert_eq!(held(), None);
    }

    #[test]
    fn sessions_of_tenants_are_counted_where_there_is_a_limit() {
        let tenant = |id, sessions| mailtier_config::TenantConfig { id, sessions, ..Default::default() };
        let config = InboundConfig { tenants: vec![tenant(7, 1), tenant(8, 0)], ..InboundConfig::default() };
        let limits = Limits::new(&config);
        let held = limits.tenant_session(TenantId(7)).unwrap();
        assert_eq!(*held.holder(), TenantId(7));
        assert!(limits.tenant_session(TenantId(7)).is_none());
        let unlimited = [0, 0, 8, 8, 9].map(|id| limits.tenant_session(TenantId(id)));
        assert!(unlimited.iter().all(Option::is_some));
        drop(held);
        assert!(limits.tenant_session(TenantId(7)).is_some());
        assert!(limits.tenant_sessions.0.lock().is_empty(), "who has no limit costs nothing");
    }

    #[test]
    fn messages_and_recipients_have_rates_of_client_user_and_tenant() {
        let mut config =
            InboundConfig { client_recipients_per_minute: 3, user_messages_per_hour: 2, ..Default::default() };
        config.tenants = vec![mailtier_config::TenantConfig { id: 7, messages_per_hour: 1, ..Default::default() }];
        config.networks =
            vec![mailtier_config::NetworkConfig { client_messages_per_minute: Some(4), ..Default::default() }];
        let limits = Limits::new(&config);
        let client = Some((key("192.0.2.1"), ClientLimits { sessions: 0, messages_per_minute: 4 }));
        let stranger = Account { client, user: None, tenant: TenantId(0) };
        assert_eq!((0..9).filter(|_| limits.allow_message(&stranger)).count(), 4);
        assert_eq!((0..9).filter(|_| limits.allow_recipient(&stranger)).count(), 3);
        let name: Arc<str> = "user".into();
        let user = Account { client: None, user: Some(&name), tenant: TenantId(0) };
        assert_eq!((0..9).filter(|_| limits.allow_message(&user)).count(), 2);
        assert_eq!((0..9).filter(|_| limits.allow_recipient(&user)).count(), 9);
        let tenant = Account { client: None, user: None, tenant: TenantId(7) };
        assert_eq!((0..9).filter(|_| limits.allow_message(&tenant)).count(), 1);
        limits.tidy();
    }

    #[test]
    fn who_is_beyond_his_own_limit_uses_up_nothing_of_others() {
        let mut config = InboundConfig { client_messages_per_minute: 1, ..Default::default() };
        config.tenants = vec![mailtier_config::TenantConfig { id: 0, messages_per_hour: 2, ..Default::default() }];
        let limits = Limits::new(&config);
        let of = |client: &str| {
            let client = Some((key(client), ClientLimits { sessions: 0, messages_per_minute: 1 }));
            limits.allow_message(&Account { client, user: None, tenant: TenantId(0) })
        };
        assert_eq!((0..9).filter(|_| of("192.0.2.1")).count(), 1);
        assert!(of("192.0.2.2"), "the tenant has one left");
        assert!(!of("192.0.2.3"), "and then none");
    }

    #[test]
    fn who_is_here_and_what_is_used_up_is_counted_on_under_other_limits() {
        let config = InboundConfig { client_recipients_per_minute: 3, user_messages_per_hour: 2, ..Default::default() };
        let old = Limits::new(&config);
        let (client, two) = (key("192.0.2.1"), ClientLimits { sessions: 2, messages_per_minute: 0 });
        let name: Arc<str> = "user".into();
        let account = Account { client: Some((client, two)), user: Some(&name), tenant: TenantId(0) };
        let held = old.session(client, two).unwrap();
        let used = |limits: &Limits| {
            let messages = (0..9).filter(|_| limits.allow_message(&account)).count();
            (messages, (0..9).filter(|_| limits.allow_recipient(&account)).count())
        };
        assert_eq!(used(&old), (2, 3));
        let new = old.renewed(&InboundConfig { client_recipients_per_minute: 4, ..config });
        assert_eq!(used(&new), (0, 4), "the one that has changed begins anew");
        let one = ClientLimits { sessions: 1, ..two };
        assert!(new.session(client, one).is_none());
        drop(held);
        assert!(new.session(client, one).is_some());
    }

    #[test]
    fn handshakes_are_counted_beside_sessions() {
        let limits = Limits::new(&InboundConfig::default());
        let one = ClientLimits { sessions: 1, messages_per_minute: 0 };
        let handshake = limits.handshake(key("192.0.2.1"), one).unwrap();
        assert!(limits.handshake(key("192.0.2.1"), one).is_none());
        assert!(limits.session(key("192.0.2.1"), one).is_some());
        drop(handshake);
        assert!(limits.handshake(key("192.0.2.1"), one).is_some());
    }
}
