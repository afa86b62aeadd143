//! What operators manage: suspensions, suppression lists, users, recipients, tokens.

use mailtier_config::Secret;

use super::At;
use super::shape::shape;
use crate::{accounts, suppressions, suspensions, tokens, users};

shape! {
    answer
    /// How much was changed.
    Changed {
        /// So many.
        changed: u64,
    }

    answer
    /// Of what nothing new is attempted.
    Suspension {
        /// destination, provider, tenant, pool or everything.
        kind: String,
        /// Its name, or its number.
        name: String,
        /// Whose token it was, and who used it.
        operator: String,
        /// Why; may be empty.
        reason: String,
        /// When that was said.
        since: At,
        /// When it ends by itself; null: when it is resumed.
        until: Option<At>,
    }

    answer
    /// A page of suspensions.
    Suspensions {
        /// In the order of kinds and names.
        suspensions: Vec<Suspension>,
        /// To be given as `after` for the next page; null at the end.
        next: Option<String>,
    }

    request
    /// How something is suspended.
    Suspend {
        /// Why, for whoever looks later: one line, at most 500 octets.
        reason: Option<String>,
        /// For how many seconds; until it is resumed when not given.
        lasting_s: Option<u64>,
    }

    answer
    /// A recipient that a tenant's mail is not sent to any more.
    Suppression {
        /// Whose list it is on.
        tenant: i32,
        /// In lower case.
        address: String,
        /// failure: a delivery failed; bounce: one that was taken came back; complaint; operator.
        source: String,
        /// Why; may be empty.
        reason: String,
        /// Who put it there; `mailtier` where it was a rule.
        operator: String,
        /// When.
        since: At,
        /// When it ends by itself; null: when it is taken off.
        until: Option<At>,
        /// The message it follows from; null where that is none.
        message: Option<String>,
    }

    answer
    /// A page of suppressions.
    Suppressions {
        /// In the order of tenants and addresses.
        suppressions: Vec<Suppression>,
        /// To be given as `after` for the next page; null at the end.
        next: Option<String>,
    }

    request
    /// Recipients to be put on a list.
    Suppress {
        /// 1 to 1000.
        addresses: Vec<String>,
        /// Why, for whoever looks later: one line, at most 500 octets.
        reason: Option<String>,
        /// For how many seconds; until they are taken off when not given.
        lasting_s: Option<u64>,
    }

    answer
    /// A user who may log in.
    User {
        /// What the user logs in with.
        name: String,
        /// Whose user it is.
        tenant: i32,
        /// Addresses the user may send from: `user@example.com`, `@example.com` or `*`.
        senders: Vec<String>,
        /// Whether the user may log in.
        enabled: bool,
        /// When any of this was changed last, in milliseconds since 1970.
        changed_at_ms: i64,
    }

    answer
    /// A page of users.
    Users {
        /// In the order of names.
        users: Vec<User>,
        /// To be given as `after` for the next page; null at the end.
        next: Option<String>,
    }

    request
    /// A user to be made.
    NewUser {
        /// What the user logs in with.
        name: String,
        /// With this.
        password: Secret,
        /// Whose user it is; 0 when not given.
        tenant: Option<i32>,
        /// Addresses the user may send from: `user@example.com`, `@example.com` or `*`; none when not given.
        senders: Option<Vec<String>>,
        /// Whether the user may log in; true when not given.
        enabled: Option<bool>,
    }

    request
    /// What is to change of a user; the rest stays as it is.
    UserChanges {
        /// The new password.
        password: Option<Secret>,
        /// Whose user it is.
        tenant: Option<i32>,
        /// Addresses the user may send from; they replace those before.
        senders: Option<Vec<String>>,
        /// Whether the user may log in.
        enabled: Option<bool>,
    }

    answer
    /// A known recipient, or a domain's.
    Address {
        /// `user@example.com`, or `@example.com` for all of a domain that are not named.
        pattern: String,
        /// Who gets its mail; nobody else when empty.
        targets: Vec<String>,
    }

    answer
    /// A page of recipients.
    Addresses {
        /// In the order of patterns.
        addresses: Vec<Address>,
        /// To be given as `after` for the next page; null at the end.
        next: Option<String>,
    }

    request
    /// Who gets a recipient's mail.
    AddressTargets {
        /// Nobody else when empty or not given.
        targets: Option<Vec<String>>,
    }

    answer
    /// A token, without its secret.
    Token {
        /// What its changes are recorded under.
        name: String,
        /// viewer, operator or admin.
        role: String,
        /// Whether it lets its bearer read contents without being an admin.
        content: bool,
        /// Who made it.
        operator: String,
        /// When.
        created_at: At,
        /// When it was shown last, to within some minutes; null: never.
        last_used_at: Option<At>,
        /// From when it is refused; null: it is good until it is revoked.
        expires_at: Option<At>,
    }

    answer
    /// A page of tokens.
    Tokens {
        /// In the order of names.
        tokens: Vec<Token>,
        /// To be given as `after` for the next page; null at the end.
        next: Option<String>,
    }

    request
    /// A token to be made.
    NewToken {
        /// What its changes are recorded under: 1 to 64 letters, digits, `.`, `_` or `-`.
        name: String,
        /// viewer, operator or admin.
        role: String,
        /// Whether it lets its bearer read contents without being an admin.
        content: Option<bool>,
        /// For how many seconds it is good; until it is revoked when not given.
        lasting_s: Option<u64>,
    }

    answer
    /// A token just made.
    MadeToken {
        /// What its bearer shows. It is told once.
        token: String,
        /// What its changes are recorded under.
        name: String,
        /// viewer, operator or admin.
        role: String,
        /// Whether it lets its bearer read contents without being an admin.
        content: bool,
        /// Who made it.
        operator: String,
        /// When.
        created_at: At,
        /// From when it is refused; null: it is good until it is revoked.
        expires_at: Option<At>,
    }
}

impl From<&suspensions::Suspension> for Suspension {
    fn from(suspension: &suspensions::Suspension) -> Self {
        Self {
            kind: suspension.scope.kind().to_owned(),
            name: suspension.scope.name(),
            operator: suspension.operator.clone(),
            reason: suspension.reason.clone(),
            since: At(suspension.since),
            until: suspension.until.map(At),
        }
    }
}

impl From<&suppressions::Suppression> for Suppression {
    fn from(suppression: &suppressions::Suppression) -> Self {
        Self {
            tenant: suppression.tenant.0,
            address: suppression.address.clone(),
            source: suppression.source.clone(),
            reason: suppression.reason.clone(),
            operator: suppression.operator.clone(),
            since: At(suppression.since),
            until: suppression.until.map(At),
            message: suppression.message.map(|id| id.to_string()),
        }
    }
}

impl From<&users::UserView> for User {
    fn from(user: &users::UserView) -> Self {
        Self {
            name: user.name.clone(),
            tenant: user.tenant.0,
            senders: user.senders.clone(),
            enabled: user.enabled,
            changed_at_ms: user.changed_at.as_millis(),
        }
    }
}

impl From<&accounts::Address> for Address {
    fn from(address: &accounts::Address) -> Self {
        Self { pattern: address.pattern.clone(), targets: address.targets.clone() }
    }
}

impl From<&tokens::TokenView> for Token {
    fn from(view: &tokens::TokenView) -> Self {
        Self {
            name: view.name.clone(),
            role: view.role.word().to_owned(),
            content: view.content,
            operator: view.operator.clone(),
            created_at: At(view.created_at),
            last_used_at: view.last_used_at.map(At),
            expires_at: view.expires_at.map(At),
        }
    }
}

impl From<&tokens::NewToken> for MadeToken {
    fn from(made: &tokens::NewToken) -> Self {
        let Token { name, role, content, operator, created_at, expires_at, .. } = Token::from(&made.view);
        Self { token: made.secret.expose().to_owned(), name, role, content, operator, created_at, expires_at }
    }
}
