//! Operators' tokens against a real database: every role at every call, on every replica, and whoever is refused.

use std::time::Duration;

use mailtier_api::accounts::Address;
use mailtier_api::admin::{AdminClient, ListRequest, Shown, TraceBy, TraceRequest};
use mailtier_api::audit::AuditRequest;
use mailtier_api::change::{ChangeOrder, DeliveryChange};
use mailtier_api::counts::CountRequest;
use mailtier_api::filter::Filter;
use mailtier_api::suppressions::{NewSuppression, SuppressOrder, SuppressionFilter};
use mailtier_api::suspensions::{ResumeOrder, Scope, SuspendOrder};
use mailtier_api::tokens::{NewToken, TokenOrder};
use mailtier_api::users::UserChange;
use mailtier_api::{ApiError, Call, Role};
use mailtier_config::Secret;
use mailtier_types::{EventKind, MessageId, TenantId, Timestamp};

use crate::changes;
use crate::submitter::{CONTENT, Submitter};
use crate::system::{LIMIT, Replica, config, usual};

pub(crate) fn order(name: &str, role: Role) -> TokenOrder {
    TokenOrder { name: name.into(), role, content: false, lasting: None, operator: "tests".into() }
}

async fn make(replica: &Replica, order: TokenOrder) -> NewToken {
    replica.admin().await.create_token(order).await.unwrap()
}

async fn connect(replica: &Replica, token: &Secret) -> AdminClient {
    AdminClient::connect(&replica.url(), Some(token)).await.unwrap()
}

fn id() -> MessageId {
    MessageId::from_i64(1 << 40).unwrap()
}

/// What is made a second time is refused, but not for who asks.
fn again(made: Result<(), ApiError>) -> Result<(), ApiError> {
    match made {
        Err(ApiError::Invalid(text)) if text.contains("there is a") || text.contains("exists already") => Ok(()),
        made => made,
    }
}

/// One call of each kind, with a request that would be taken.
async fn call(client: &AdminClient, call: Call) -> Result<(), ApiError> {
    let (limit, operator) = (10, String::new());
    let scope = || Scope::destination("b.example").unwrap();
    match call {
        Call::ListDeliveries => client.list(ListRequest { limit, ..ListRequest::default() }).await.map(|_| ()),
        Call::CountDeliveries => client.count(CountRequest::default()).await.map(|_| ()),
        Call::ShowShards => client.shard_map().await.map(|_| ()),
        Call::ShowStatus => client.status().await.map(|_| ()),
        Call::ShowMessage => client.show(id(), Shown::Headers).await.map(|_| ()),
        Call::Trace => {
            let by = TraceBy::Message(id());
            client.trace(TraceRequest { by, limit, since: None, until: None }).await.map(|_| ())
        }
        Call::Audit => {
            let (from, until) = (Timestamp::EPOCH, Timestamp::from_secs(1));
            client.audit(AuditRequest { from, until, after: None }).await.map(|_| ())
        }
        Call::ListSuppressions => client.list_suppressions(&SuppressionFilter::default(), None).await.map(|_| ()),
        Call::PutSuppressions => {
            let suppressions = vec![NewSuppression::new("a@b.example", String::new(), None).unwrap()];
            client.suppress(SuppressOrder { tenant: TenantId(7), suppressions, operator }).await.map(|_| ())
        }
        Call::DeleteSuppression => {
            client.unsuppress(TenantId(7), "nobody@b.example".into(), operator).await.map(|_| ())
        }
        Call::ListSuspensions => client.list_suspensions().await.map(|_| ()),
        Call::ChangeDeliveries => {
            client.change(changes::order(Filter::of(vec![id()]), DeliveryChange::Delete)).await.map(|_| ())
        }
        Call::Suspend => {
            client.suspend(SuspendOrder { scope: scope(), reason: String::new(), lasting: None, operator }).await
        }
        Call::Resume => client.resume(ResumeOrder { scope: scope(), operator }).await.map(|_| ()),
        Call::PutUser => {
            let password = Some(Secret::new("correct horse".into()));
            let change = UserChange { name: "u@example.org".into(), password, ..UserChange::default() };
            again(client.put_user(change).await)
        }
        Call::ListUsers => client.list_users("", limit).await.map(|_| ()),
        Call::DeleteUser => client.delete_user("nobody", "").await.map(|_| ()),
        Call::PutAddress => client.put_address(Address { pattern: "@b.example".into(), targets: Vec::new() }, "").await,
        Call::ListAddresses => client.list_addresses("", limit).await.map(|_| ()),
        Call::DeleteAddress => client.delete_address("@b.example", "").await.map(|_| ()),
        Call::CreateToken => again(client.create_token(order("again", Role::Viewer)).await.map(|_| ())),
        Call::ListTokens => client.list_tokens("", limit).await.map(|_| ()),
        Call::RevokeToken => client.revoke_token("nobody", "").await.map(|_| ()),
    }
}

#[tokio::test]
async fn each_role_may_call_what_it_may_and_is_told_what_it_may_not() {
    let (_database, replica) = usual(|_| {}).await;
    for role in Role::ALL {
        let token = make(&replica, order(role.word(), role)).await;
        let client = connect(&replica, &token.secret).await;
        for of in Call::ALL {
            match call(&client, *of).await {
                Ok(()) => assert!(role >= of.needs(), "{role:?} {of:?}"),
                Err(ApiError::NotFound(_)) => assert_eq!((*of, role >= of.needs()), (Call::ShowMessage, true)),
                Err(ApiError::Forbidden(text)) => {
                    assert!(role < of.needs(), "{role:?} {of:?}: {text}");
                    let told = format!("{} needs the role {}", of.name(), of.needs().word());
                    assert!(text.contains(&told), "{text}");
                }
                Err(error) => panic!("{role:?} {of:?}: {error}"),
            }
        }
    }
    for token in [None, Some("guessed"), Some("mt_bot_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")] {
        let token = token.map(|text| Secret::new(text.to_owned()));
        let client = AdminClient::connect(&replica.url(), token.as_ref()).await.unwrap();
        for of in Call::ALL {
            let refused = call(&client, *of).await;
            assert!(matches!(refused, Err(ApiError::Unauthenticated(_))), "{token:?} {of:?}: {refused:?}");
        }
    }
}

#[tokio::test]
async fn a_change_bears_the_name_of_the_token_whoever_is_said_to_make_it() {
    let (_database, replica) = usual(|_| {}).await;
    let token = make(&replica, TokenOrder { content: true, ..order("ci-bot", Role::Operator) }).await;
    let client = connect(&replica, &token.secret).await;
    let message = Submitter::connect(&replica).await.accepted("s@a.example", &["x@b.example"]).await;
    assert_eq!(
        client.show(message, Shown::Content).await.unwrap().content.as_ref(),
        CONTENT,
        "it was made for contents"
    );
    let deletion = changes::order(Filter::of(vec![message]), DeliveryChange::Delete);
    client.change(ChangeOrder { operator: "root".to_owned(), ..deletion }).await.unwrap();
    let shown = client.show(message, Shown::Nothing).await.unwrap();
    let removed = shown.events.iter().find(|event| event.kind == EventKind::RecipientRemoved).unwrap();
    assert_eq!(removed.detail.operator.as_deref(), Some("ci-bot (root)"));
    let made = replica.admin().await.list_tokens("", 10).await.unwrap().remove(0);
    assert_eq!((made.name.as_str(), made.operator.as_str()), ("ci-bot", "root (tests)"));
}

/// Until a call is refused, on this replica.
async fn until_refused(client: &AdminClient) -> ApiError {
    let mut looks = tokio::time::interval(Duration::from_millis(100));
    let refused = async {
        loop {
            looks.tick().await;
            if let Err(error) = client.list_suspensions().await {
                return error;
            }
        }
    };
    tokio::time::timeout(LIMIT, refused).await.expect("it is refused some day")
}

#[tokio::test]
async fn a_revoked_token_is_refused_by_every_replica_and_so_is_one_whose_time_is_over() {
    let (database, first) = usual(|_| {}).await;
    let second = Replica::start(config(&database)).await;
    let token = make(&first, order("bot", Role::Viewer)).await;
    let clients = [connect(&first, &token.secret).await, connect(&second, &token.secret).await];
    for client in &clients {
        client.list_suspensions().await.expect("it is good everywhere at once");
    }
    assert!(first.admin().await.revoke_token("bot", "").await.unwrap());
    assert!(
        matches!(clients[0].list_suspensions().await, Err(ApiError::Unauthenticated(_))),
        "at once where it was done"
    );
    let refused = until_refused(&clients[1]).await;
    assert!(matches!(&refused, ApiError::Unauthenticated(text) if text.contains("revoked")), "{refused}");

    let token =
        make(&first, TokenOrder { lasting: Some(Duration::from_secs(3600)), ..order("bot", Role::Viewer) }).await;
    let client = connect(&second, &token.secret).await;
    client.list_suspensions().await.unwrap();
    database.sql("UPDATE token SET expires_at = now() - interval '1 second'").await.unwrap();
    let refused = until_refused(&client).await;
    assert!(matches!(&refused, ApiError::Unauthenticated(text) if text.contains("`bot` has expired")), "{refused}");
}

#[tokio::test]
async fn whose_a_token_is_cannot_be_said_without_the_database_but_for_that_of_the_configuration() {
    let (database, replica) = usual(|_| {}).await;
    let token = make(&replica, order("bot", Role::Admin)).await;
    let (client, root) = (connect(&replica, &token.secret).await, replica.admin().await);
    client.list_suspensions().await.unwrap();
    database.sql("ALTER TABLE token RENAME TO unreadable").await.unwrap();
    let refused = until_refused(&client).await;
    assert!(matches!(&refused, ApiError::Unavailable(text) if text.contains("looked up")), "{refused}");
    root.list_suspensions().await.unwrap();
    database.sql("ALTER TABLE unreadable RENAME TO token").await.unwrap();
    client.list_suspensions().await.expect("it is good again");
}

#[tokio::test]
async fn a_token_is_kept_as_a_digest_and_its_use_is_noted() {
    let (database, replica) = usual(|_| {}).await;
    let token = make(&replica, order("bot", Role::Viewer)).await;
    let random = token.secret.expose().rsplit_once("mt_bot_").unwrap().1.to_owned();
    assert!(!database.sql("SELECT * FROM token").await.unwrap().contains(&random));
    let again = replica.admin().await.create_token(order("bot", Role::Admin)).await.unwrap_err();
    assert!(matches!(&again, ApiError::Invalid(text) if text.contains("`bot`")), "{again}");
    assert_eq!(token.view.last_used_at, None);
    connect(&replica, &token.secret).await.list_suspensions().await.unwrap();
    let mut looks = tokio::time::interval(Duration::from_millis(50));
    let noted = async {
        while database.sql("SELECT count(*) FROM token WHERE last_used_at > created_at").await.unwrap() != "1" {
            looks.tick().await;
        }
    };
    tokio::time::timeout(LIMIT, noted).await.expect("it is noted");
}
