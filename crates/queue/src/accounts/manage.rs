//! What operators change: users and known recipients. Not responsible for who is an operator.

use mailtier_api::accounts::Address;
use mailtier_api::users::{UserChange, UserView};
use mailtier_api::{ApiError, tenant_id};
use mailtier_sasl::prepare;
use mailtier_store::{AccountRow, AddressRow, StoredAccount};
use mailtier_types::{Domain, Mailbox, TenantId};

use super::desk::Desk;
use super::passwords::Passwords;
use crate::clock;

/// The longest name of a user, in octets.
const MAX_NAME_OCTETS: usize = 255;

/// Serves the operators' side.
#[derive(Debug, Clone)]
pub(crate) struct Managed {
    desk: Desk,
    passwords: Passwords,
}

impl Managed {
    pub(crate) fn new(desk: Desk) -> Self {
        Self { desk, passwords: Passwords::new() }
    }

    pub(crate) async fn put_user(&self, change: UserChange) -> Result<(), ApiError> {
        let name = user_name(&change.name)?;
        let senders = change.senders.map(sender_patterns).transpose()?;
        let tenant = change.tenant.map(|tenant| tenant_id(tenant.0)).transpose()?;
        let existing = self.account(&name).await?;
        match (&existing, change.exists) {
            (Some(_), false) => return Err(ApiError::Invalid(format!("user `{name}` exists already"))),
            (None, true) => return Err(ApiError::NotFound(format!("no user `{name}`"))),
            _ => {}
        }
        let kept = match (change.password, &existing) {
            (Some(password), _) => Some(self.passwords.keep(password).await?),
            (None, Some(_)) => None,
            (None, None) => return Err(ApiError::Invalid("a new user needs a password".to_owned())),
        };
        let mut account = existing.unwrap_or_else(|| StoredAccount {
            name,
            tenant: TenantId::default(),
            password_hash: String::new(),
            scram_salt: Vec::new(),
            scram_iterations: 0,
            scram_stored_key: Vec::new(),
            scram_server_key: Vec::new(),
            senders: Vec::new(),
            enabled: true,
            changed_at: clock::now(),
        });
        if let Some(kept) = kept {
            account.password_hash = kept.hash;
            account.scram_salt = kept.scram.salt;
            account.scram_iterations = kept.scram.iterations;
            account.scram_stored_key = kept.scram.stored_key.to_vec();
            account.scram_server_key = kept.scram.server_key.to_vec();
        }
        account.tenant = tenant.unwrap_or(account.tenant);
        account.enabled = change.enabled.unwrap_or(account.enabled);
        account.senders = senders.unwrap_or(account.senders);
        account.changed_at = clock::now();
        tracing::info!(operator = change.operator, user = account.name, "user changed");
        self.desk
            .ask(move |session| {
                let account = account.clone();
                Box::pin(async move { session.put_account(&account).await })
            })
            .await
    }

    async fn account(&self, name: &str) -> Result<Option<StoredAccount>, ApiError> {
        let name = name.to_owned();
        let facts = self.desk.ask(move |session| {
            let name = name.clone();
            Box::pin(async move { session.login_facts(&name, "", clock::now(), std::time::Duration::ZERO).await })
        });
        Ok(facts.await?.account)
    }

    pub(crate) async fn list_users(&self, after: String, limit: u32) -> Result<Vec<UserView>, ApiError> {
        let rows = self.desk.ask(move |session| {
            let after = after.clone();
            Box::pin(async move { session.accounts(&after, limit).await })
        });
        let view = |row: AccountRow| {
            let AccountRow { name, tenant, senders, enabled, changed_at } = row;
            UserView { name, tenant, senders, enabled, changed_at }
        };
        Ok(rows.await?.into_iter().map(view).collect())
    }

    pub(crate) async fn delete_user(&self, name: String, operator: &str) -> Result<bool, ApiError> {
        let name = name.to_lowercase();
        tracing::info!(operator, user = name, "user removed");
        self.desk
            .ask(move |session| {
                let name = name.clone();
                Box::pin(async move { session.delete_account(&name).await })
            })
            .await
    }

    pub(crate) async fn put_address(&self, address: Address, operator: &str) -> Result<(), ApiError> {
        let pattern = address_pattern(&address.pattern)?;
        let mut targets = Vec::with_capacity(address.targets.len());
        for target in &address.targets {
            let target = Mailbox::parse(target).map_err(|error| ApiError::Invalid(format!("`{target}`: {error}")))?;
            targets.push(target.as_str().to_owned());
        }
        tracing::info!(operator, pattern, "recipient changed");
        let row = AddressRow { pattern, targets };
        self.desk
            .ask(move |session| {
                let row = row.clone();
                Box::pin(async move { session.put_address(&row, clock::now()).await })
            })
            .await
    }

    pub(crate) async fn list_addresses(&self, after: String, limit: u32) -> Result<Vec<Address>, ApiError> {
        let rows = self.desk.ask(move |session| {
            let after = after.clone();
            Box::pin(async move { session.addresses(&after, limit).await })
        });
        let address = |row: AddressRow| Address { pattern: row.pattern, targets: row.targets };
        Ok(rows.await?.into_iter().map(address).collect())
    }

    pub(crate) async fn delete_address(&self, pattern: String, operator: &str) -> Result<bool, ApiError> {
        let pattern = address_pattern(&pattern)?;
        tracing::info!(operator, pattern, "recipient removed");
        self.desk
            .ask(move |session| {
                let pattern = pattern.clone();
                Box::pin(async move { session.delete_address(&pattern).await })
            })
            .await
    }
}

/// Names are the same in any case.
fn user_name(name: &str) -> Result<String, ApiError> {
    let prepared = prepare(name).map_err(|error| ApiError::Invalid(format!("the name has {error}")))?;
    if prepared.len() > MAX_NAME_OCTETS || prepared.contains(char::is_whitespace) {
        return Err(ApiError::Invalid(format!("the name must have at most {MAX_NAME_OCTETS} octets and no spaces")));
    }
    Ok(prepared.to_lowercase())
}

/// `user@example.com`, `@example.com` or `*`.
fn sender_patterns(patterns: Vec<String>) -> Result<Vec<String>, ApiError> {
    patterns.into_iter().map(|pattern| if pattern == "*" { Ok(pattern) } else { address_pattern(&pattern) }).collect()
}

/// `user@example.com` or `@example.com`, in lower case: recipients are the same in any.
fn address_pattern(pattern: &str) -> Result<String, ApiError> {
    let invalid = |error| ApiError::Invalid(format!("`{pattern}` is neither an address nor @domain: {error}"));
    match pattern.strip_prefix('@') {
        Some(domain) => Domain::parse(domain).map(|domain| format!("@{domain}")).map_err(invalid),
        None => Mailbox::parse(pattern).map(|mailbox| mailbox.as_str().to_lowercase()).map_err(invalid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_patterns_have_one_form() {
        assert_eq!(user_name("User@Example.COM").unwrap(), "user@example.com");
        assert!(user_name("two words").is_err() && user_name("").is_err() && user_name(&"x".repeat(256)).is_err());
        assert_eq!(address_pattern("User@Bücher.example").unwrap(), "user@xn--bcher-kva.example");
        assert_eq!(address_pattern("@EXAMPLE.com").unwrap(), "@example.com");
        assert!(address_pattern("nonsense").is_err() && address_pattern("@").is_err());
        assert_eq!(sender_patterns(vec!["*".into(), "@a.example".into()]).unwrap(), ["*", "@a.example"]);
    }
}
