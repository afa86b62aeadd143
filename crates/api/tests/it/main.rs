//! Clients and servers over real connections: tokens, refusals, and ends.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what helps a test may fail loudly"
)]

mod secure;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mailtier_api::access::{Access, Authenticator};
use mailtier_api::accounts::{
    Account, AccountsClient, Address, FoundSuppression, Login, ScramProof, ScramSalt, ScramVerdict,
};
use mailtier_api::admin::{AdminClient, ListReply, ListRequest, ShowReply, Shown, TraceReply, TraceRequest};
use mailtier_api::audit::{AuditReply, AuditRequest, Finding};
use mailtier_api::change::{ChangeAnswer, ChangeOrder, DeliveryChange};
use mailtier_api::counts::{CountReply, CountRequest};
use mailtier_api::filter::Filter;
use mailtier_api::overview::{
    BlockView, DeadView, Overview, PoolView, ReplicaView, ShardMap, ShardView, Status, WorkerView,
};
use mailtier_api::peer::{Hint, PeerClient};
use mailtier_api::server::{AccountsHandler, AdminHandler, PeerHandler, Server, SubmitHandler, WorkHandler};
use mailtier_api::submit::{NodeLease, Submission, SubmitClient, SubmitFrame, Verdict, VerdictFrame};
use mailtier_api::suppressions::{ListSuppressions, NewSuppression, SuppressOrder, Suppression, SuppressionFilter};
use mailtier_api::suspensions::{ResumeOrder, Scope, SuspendOrder, Suspension};
use mailtier_api::tls::{CountedSessions, FinishedPost, KeptStsPolicy, TlsHandler, TlsReportPost};
use mailtier_api::tokens::{NewToken, TokenOrder, TokenView};
use mailtier_api::users::{UserChange, UserView};
use mailtier_api::work::{Hello, QueueFrame, WorkClient, WorkerFrame};
use mailtier_api::{ApiError, Caller, Credentials, Incoming, Role};
use mailtier_config::Secret;
use mailtier_types::{
    Domain, Envelope, Epoch, Group, Mailbox, MessageId, NodeNumber, Options, ReplicaId, ReversePath, ShardId, Slice,
    SliceLease, SliceReport, SliceWish, TenantId, Timestamp, WorkerId,
};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(20);

/// Says yes to everything.
#[derive(Clone, Default)]
struct Replica {
    hinted: Arc<Mutex<usize>>,
}

impl SubmitHandler for Replica {
    async fn lease_node(&self, _: ReplicaId) -> Result<NodeLease, ApiError> {
        Ok(NodeLease { node: NodeNumber::new(7).unwrap(), valid_for: Duration::from_secs(60) })
    }

    async fn session(&self, mut incoming: Incoming<SubmitFrame>, outgoing: mpsc::Sender<VerdictFrame>) {
        while let Some(Ok(frame)) = incoming.next().await {
            let verdicts = frame.submissions.iter().map(|one| Verdict { id: one.id, result: Ok(()) }).collect();
            outgoing.send(VerdictFrame { verdicts, ..VerdictFrame::default() }).await.unwrap();
        }
    }
}

impl WorkHandler for Replica {
    async fn session(&self, mut incoming: Incoming<WorkerFrame>, outgoing: mpsc::Sender<QueueFrame>) {
        while let Some(Ok(_)) = incoming.next().await {
            outgoing.send(QueueFrame { draining: true, ..QueueFrame::default() }).await.unwrap();
        }
    }

    async fn fetch_body(&self, _: MessageId, chunks: mpsc::Sender<Result<Bytes, ApiError>>) {
        chunks.send(Ok(Bytes::from_static(b"one"))).await.unwrap();
        chunks.send(Err(ApiError::NotFound("the rest".into()))).await.unwrap();
    }
}

impl PeerHandler for Replica {
    async fn hint(&self, hints: Vec<Hint>) -> Result<(), ApiError> {
        *self.hinted.lock() += hints.len();
        Ok(())
    }

    async fn lease(&self, report: SliceReport) -> Option<SliceLease> {
        let slice = |wish: &SliceWish| Slice { concurrency: wish.wanted, attempts: wish.unused };
        let lease = SliceLease { view: report.view, term: 3, slices: report.wishes.iter().map(slice).collect() };
        (report.sequence > 1).then_some(lease)
    }
}

impl TlsHandler for Replica {
    async fn count_sessions(&self, _: CountedSessions) -> Result<(), ApiError> {
        Ok(())
    }
    async fn take_posts(&self, _: WorkerId, _: u32) -> Result<Vec<TlsReportPost>, ApiError> {
        Ok(Vec::new())
    }
    async fn finish_post(&self, _: FinishedPost) -> Result<(), ApiError> {
        Ok(())
    }
    async fn keep_sts_policy(&self, _: KeptStsPolicy) -> Result<(), ApiError> {
        Ok(())
    }
    async fn find_sts_policy(&self, _: Domain) -> Result<Option<KeptStsPolicy>, ApiError> {
        Ok(None)
    }
}

impl AdminHandler for Replica {
    async fn list(&self, _: ListRequest) -> Result<ListReply, ApiError> {
        Ok(ListReply::default())
    }
    async fn count(&self, request: CountRequest) -> Result<CountReply, ApiError> {
        Ok(CountReply { groups: Vec::new(), next: request.after + 1, looked_at: 1 })
    }
    async fn shard_map(&self) -> Result<ShardMap, ApiError> {
        Ok(shard_map())
    }
    async fn status(&self) -> Result<Status, ApiError> {
        Ok(status())
    }
    async fn show(&self, id: MessageId, _: Shown) -> Result<ShowReply, ApiError> {
        Err(ApiError::NotFound(format!("no message {id}")))
    }
    async fn change(&self, order: ChangeOrder) -> Result<ChangeAnswer, ApiError> {
        signed(&order.operator)?;
        match order.change {
            DeliveryChange::RetryNow => {
                Ok(ChangeAnswer { looked_at: 9, matched: 5, changed: 3, ..ChangeAnswer::default() })
            }
            _ => Err(ApiError::Unavailable("the database is away".into())),
        }
    }
    async fn put_user(&self, change: UserChange) -> Result<(), ApiError> {
        signed(&change.operator)?;
        let said = (change.password.as_ref().map(Secret::expose), change.tenant, change.enabled, change.senders);
        let expected = (Some("sesame"), Some(TenantId(3)), None, Some(vec!["*".to_owned()]));
        if said == expected { Ok(()) } else { Err(ApiError::Invalid("something was lost on the way".into())) }
    }
    async fn list_users(&self, after: String, limit: u32) -> Result<Vec<UserView>, ApiError> {
        if after == "nobody knows" {
            std::future::pending::<()>().await;
        }
        let changed_at = Timestamp::from_secs(limit.into());
        Ok(vec![UserView { name: after, tenant: TenantId(3), senders: vec!["*".into()], enabled: true, changed_at }])
    }
    async fn delete_user(&self, name: String, operator: String) -> Result<bool, ApiError> {
        signed(&operator)?;
        Ok(name == "user")
    }
    async fn put_address(&self, address: Address, operator: String) -> Result<(), ApiError> {
        signed(&operator)?;
        if address.targets.len() == 2 { Ok(()) } else { Err(ApiError::Invalid("a target was lost".into())) }
    }
    async fn list_addresses(&self, after: String, _: u32) -> Result<Vec<Address>, ApiError> {
        Ok(vec![Address { pattern: after, targets: vec!["a@b.example".into()] }])
    }
    async fn delete_address(&self, pattern: String, operator: String) -> Result<bool, ApiError> {
        signed(&operator)?;
        Ok(pattern == "@b.example")
    }
    async fn suspend(&self, order: SuspendOrder) -> Result<(), ApiError> {
        signed(&order.operator)?;
        if (SuspendOrder { operator: "alice".into(), ..order }) == suspend_order() {
            Ok(())
        } else {
            Err(ApiError::Invalid("something was lost on the way".into()))
        }
    }
    async fn resume(&self, order: ResumeOrder) -> Result<bool, ApiError> {
        signed(&order.operator)?;
        Ok(order.scope == Scope::Tenant(TenantId(3)))
    }
    /// More than there are in one answer.
    async fn list_suspensions(&self, after: Option<Scope>, limit: u32) -> Result<Vec<Suspension>, ApiError> {
        let first = if let Some(Scope::Tenant(TenantId(number))) = after { number + 1 } else { 0 };
        let numbers = (first..1500).take(usize::try_from(limit).unwrap());
        Ok(numbers.map(|number| suspension(TenantId(number))).collect())
    }
    async fn suppress(&self, order: SuppressOrder) -> Result<u64, ApiError> {
        assert_eq!((order.tenant, order.operator.as_str()), (TenantId(7), "bot (alice)"));
        Ok(order.suppressions.len() as u64)
    }
    async fn unsuppress(&self, tenant: TenantId, address: String, operator: String) -> Result<bool, ApiError> {
        Ok((tenant.0, address.as_str(), operator.as_str()) == (7, "gone@b.example", "bot (alice)"))
    }
    /// More than there are in one answer.
    async fn list_suppressions(&self, request: ListSuppressions) -> Result<Vec<Suppression>, ApiError> {
        let first = request.after.map_or(0, |(_, address)| address[1..5].parse::<u32>().unwrap() + 1);
        let numbers = (first..1500).take(usize::try_from(request.limit).unwrap());
        let tenant = request.filter.tenant.unwrap_or_default();
        Ok(numbers.map(|number| suppression(tenant, number)).collect())
    }
    async fn audit(&self, request: AuditRequest) -> Result<AuditReply, ApiError> {
        let message = MessageId::from_i64(request.until.as_millis()).unwrap();
        let finding = |is_queued| Finding { message, recipient: "x@b.example".into(), is_queued };
        Ok(AuditReply {
            messages: 1,
            recipients: 2,
            findings: vec![finding(true), finding(false)],
            next: Some(request.after.unwrap_or(message)),
            held_and_over: vec![message.delivery(1)],
        })
    }
    async fn create_token(&self, order: TokenOrder) -> Result<NewToken, ApiError> {
        signed(&order.operator)?;
        if order != (TokenOrder { operator: order.operator.clone(), ..token_order() }) {
            return Err(ApiError::Invalid("something was lost on the way".into()));
        }
        Ok(NewToken { secret: secret("once"), view: token_view() })
    }
    async fn list_tokens(&self, after: String, limit: u32) -> Result<Vec<TokenView>, ApiError> {
        Ok(vec![TokenView { name: format!("{after}{limit}"), ..token_view() }])
    }
    async fn revoke_token(&self, name: String, operator: String) -> Result<bool, ApiError> {
        signed(&operator)?;
        Ok(name == "ci-bot")
    }
    async fn trace(&self, _: TraceRequest) -> Result<TraceReply, ApiError> {
        Ok(TraceReply::default())
    }
}

/// Changes bear the name of the token, and that of whoever used it.
fn signed(operator: &str) -> Result<(), ApiError> {
    if operator == "bot" || operator == "bot (alice)" { Ok(()) } else { Err(ApiError::Invalid(operator.into())) }
}

fn token_order() -> TokenOrder {
    TokenOrder {
        name: "ci-bot".into(),
        role: Role::Operator,
        content: true,
        lasting: Some(Duration::from_secs(60)),
        operator: "alice".into(),
    }
}

fn token_view() -> TokenView {
    TokenView {
        name: "ci-bot".into(),
        role: Role::Viewer,
        content: false,
        operator: "root".into(),
        created_at: Timestamp::from_secs(7),
        last_used_at: None,
        expires_at: Some(Timestamp::from_secs(9)),
    }
}

/// Knows one token of each role, called as its role.
struct Tokens;

impl Authenticator for Tokens {
    async fn authenticate(&self, token: &str) -> Result<Caller, ApiError> {
        let caller = |role, content| Ok(Caller { name: "bot".into(), role, content });
        match token {
            "away" => Err(ApiError::Unavailable("the database is away".into())),
            "reader" => caller(Role::Viewer, true),
            "admin" => caller(Role::Admin, false),
            token => caller(Role::parse(token).map_err(|_| ApiError::Unauthenticated("not known".into()))?, false),
        }
    }
}

impl AccountsHandler for Replica {
    async fn check_password(&self, name: String, password: Secret, _: String) -> Result<Login, ApiError> {
        let user = Account { name, tenant: TenantId(3), senders: vec!["@example.org".into()] };
        Ok(if password.expose() == "secret" { Login::User(user) } else { Login::Invalid })
    }
    async fn begin_scram(&self, name: String, _: String) -> Result<ScramSalt, ApiError> {
        Ok(if name == "user" { ScramSalt::Salt { salt: vec![1, 2], iterations: 9 } } else { ScramSalt::Limited })
    }
    async fn finish_scram(&self, proof: ScramProof) -> Result<ScramVerdict, ApiError> {
        let login = if proof.auth_message == b"m" { Login::Limited } else { Login::Invalid };
        Ok(ScramVerdict { login, server_signature: proof.proof })
    }
    async fn find_account(&self, _: String) -> Result<Login, ApiError> {
        Err(ApiError::Unavailable("the database is away".into()))
    }
    async fn find_addresses(&self, patterns: Vec<String>) -> Result<Vec<Address>, ApiError> {
        Ok(patterns.into_iter().map(|pattern| Address { pattern, targets: Vec::new() }).collect())
    }
    async fn start_queue(&self, destination: String) -> Result<u64, ApiError> {
        Ok(destination.len() as u64)
    }
    async fn find_suppression(&self, tenant: TenantId, recipient: String) -> Result<FoundSuppression, ApiError> {
        Ok(match (tenant.0, recipient.as_str()) {
            (0, _) => FoundSuppression::Nobody,
            (_, "gone@b.example") => FoundSuppression::Listed("it bounced".into()),
            _ => FoundSuppression::NotListed,
        })
    }
}

fn suspend_order() -> SuspendOrder {
    SuspendOrder {
        scope: Scope::destination("B.example").unwrap(),
        reason: "they asked".into(),
        lasting: Some(Duration::from_secs(7200)),
        operator: "alice".into(),
    }
}

fn suppression(tenant: TenantId, number: u32) -> Suppression {
    Suppression {
        tenant,
        address: format!("u{number:04}@b.example"),
        source: "bounce".into(),
        reason: "it bounced".into(),
        operator: "mailtier".into(),
        since: Timestamp::from_secs(7),
        until: Some(Timestamp::from_secs(9)).filter(|_| number > 0),
        message: MessageId::from_i64(4096).ok(),
    }
}

fn suspension(tenant: TenantId) -> Suspension {
    let until = Some(Timestamp::from_secs(9)).filter(|_| tenant.0 > 0);
    let (reason, operator) = (String::new(), "alice".into());
    Suspension { scope: Scope::Tenant(tenant), reason, operator, since: Timestamp::from_secs(7), until }
}

struct Running {
    url: String,
    end: CancellationToken,
    served: tokio::task::JoinHandle<Result<(), ApiError>>,
    _ready: watch::Sender<Option<&'static str>>,
}

fn secret(text: &str) -> Secret {
    Secret::new(text.into())
}

/// Services ask for "service", operators for the name of a role.
async fn serve() -> Running {
    serve_with(Some(&secret("service"))).await
}

async fn serve_with(credentials: impl Into<Credentials>) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (ready, not_ready) = watch::channel(None);
    let (replica, end) = (Replica::default(), CancellationToken::new());
    let server = Server::new(listener, credentials)
        .submit(replica.clone())
        .work(replica.clone())
        .tls(replica.clone())
        .peer(replica.clone())
        .accounts(replica.clone())
        .admin(replica, Access::new(Tokens, 4));
    let served = tokio::spawn(server.serve(not_ready, end.clone()));
    Running { url, end, served, _ready: ready }
}

fn submission(body: Bytes) -> Submission {
    let envelope = Envelope {
        sender: ReversePath::Null,
        recipients: vec![Mailbox::parse("a@b.example").unwrap()],
        tenant: TenantId(0),
        priority: 0,
        options: Options::default(),
    };
    Submission {
        id: MessageId::from_i64(4096).unwrap(),
        resubmission: false,
        envelope,
        body,
        parts: 0,
        screened: true,
        report: true,
    }
}

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, what).await.expect("in time")
}

#[tokio::test]
async fn a_lessor_answers_wish_by_wish_or_not_at_all() {
    let running = serve().await;
    let peer = PeerClient::connect(&running.url, Some(&secret("service"))).await.unwrap();
    let wish = |number: u32| SliceWish {
        group: Group::Pool("two".into()),
        concurrency: Some(9),
        interval_us: None,
        holds: 0,
        in_use: 0,
        wanted: number,
        unused: number + 1,
    };
    let report = |sequence, wishes| SliceReport {
        replica: ReplicaId::random(),
        view: u64::MAX,
        term: 3,
        sequence,
        is_whole: true,
        wishes,
    };
    let lease = peer.lease(report(2, vec![wish(1), wish(5)])).await.unwrap().unwrap();
    let slices = [(1, 2), (5, 6)].map(|(concurrency, attempts)| Slice { concurrency, attempts });
    assert_eq!(lease, SliceLease { view: u64::MAX, term: 3, slices: slices.to_vec() });
    assert_eq!(peer.lease(report(1, vec![wish(1)])).await.unwrap(), None);
    let nothing = SliceWish { interval_us: Some(0), ..wish(1) };
    assert!(matches!(peer.lease(report(2, vec![nothing])).await, Err(ApiError::Invalid(_))));
}

#[tokio::test]
async fn each_service_asks_for_its_own_token() {
    let running = serve().await;
    for (token, is_service, is_operator) in [
        (None, false, false),
        (Some("service"), true, false),
        (Some("operator"), false, true),
        (Some("servicf"), false, false),
    ] {
        let token = token.map(secret);
        let submit = SubmitClient::connect(&running.url, token.as_ref()).await.unwrap();
        let leased = submit.lease_node(ReplicaId::random()).await;
        let peer = PeerClient::connect(&running.url, token.as_ref()).await.unwrap().hint(Vec::new()).await;
        let (_frames, outgoing) = mpsc::channel(1);
        let work = WorkClient::connect(&running.url, token.as_ref()).await.unwrap();
        let hello = Hello { worker: WorkerId::random(), name: String::new(), pools: vec!["default".into()] };
        let worked = work.session(hello, outgoing).await;
        for allowed in [leased.is_ok(), peer.is_ok(), worked.is_ok()] {
            assert_eq!(allowed, is_service, "{token:?}");
        }
        let admin = AdminClient::connect(&running.url, token.as_ref()).await.unwrap();
        let listed = admin.list(ListRequest { limit: 1, ..ListRequest::default() }).await;
        assert_eq!(listed.is_ok(), is_operator);
        if !is_operator {
            assert!(matches!(listed, Err(ApiError::Unauthenticated(_))), "{listed:?}");
        }
    }
}

#[tokio::test]
async fn errors_keep_their_meaning_on_their_way() {
    let running = serve().await;
    let admin = AdminClient::connect(&running.url, Some(&secret("admin"))).await.unwrap();
    let id = MessageId::from_i64(4096).unwrap();
    assert!(
        matches!(admin.show(id, Shown::Nothing).await, Err(ApiError::NotFound(text)) if text.contains(&id.to_string()))
    );
    let order = |change| ChangeOrder {
        filter: Filter::of(vec![id]),
        all: false,
        change,
        operator: "alice".into(),
        reason: String::new(),
        after: 0,
        dry_run: false,
        show: 0,
    };
    let answer = admin.change(order(DeliveryChange::RetryNow)).await.unwrap();
    assert_eq!((answer.looked_at, answer.matched, answer.changed, answer.next), (9, 5, 3, 0));
    let failed = admin.change(order(DeliveryChange::Delete)).await;
    assert!(matches!(failed, Err(ApiError::Unavailable(text)) if text.contains("database")));
    let refused = admin.list(ListRequest { limit: 0, ..ListRequest::default() }).await;
    assert!(matches!(&refused, Err(ApiError::Invalid(text)) if text.contains("limit")), "{refused:?}");

    let work = WorkClient::connect(&running.url, Some(&secret("service"))).await.unwrap();
    let mut chunks = work.fetch_body(id).await.unwrap();
    assert_eq!(chunks.next().await, Some(Ok(Bytes::from_static(b"one"))));
    assert!(matches!(chunks.next().await, Some(Err(ApiError::NotFound(_)))));

    let nowhere = SubmitClient::connect("http://127.0.0.1:1", None).await;
    assert!(matches!(nowhere, Err(ApiError::Unavailable(_))), "{nowhere:?}");
    let nothing = SubmitClient::connect("no url at all", None).await;
    assert!(matches!(nothing, Err(ApiError::Endpoint { .. })), "{nothing:?}");
}

/// The connection lives, and is asked for a sign of life; the call alone stands still.
#[tokio::test]
async fn an_answer_that_does_not_come_is_waited_for_so_long() {
    let running = serve().await;
    let patience = Duration::from_millis(200);
    let admin = AdminClient::connect_within(&running.url, Some(&secret("admin")), patience).await.unwrap();
    let late = admin.list_users("nobody knows", 7).await.unwrap_err();
    assert_eq!(late, ApiError::Late { waited: patience });
    assert_eq!(late.to_string(), "no answer within 200ms");
    assert_eq!(admin.list_users("user", 7).await.unwrap().len(), 1, "the connection is as good as before");
}

/// One stream ends; the server goes on.
#[tokio::test]
async fn a_frame_that_is_too_large_ends_its_stream_alone() {
    let running = serve().await;
    let client = SubmitClient::connect(&running.url, Some(&secret("service"))).await.unwrap();
    for (octets, is_taken) in [(1_usize << 20, true), (65 << 20, false), (1 << 20, true)] {
        let (frames, outgoing) = mpsc::channel(1);
        let mut verdicts = client.session(outgoing).await.unwrap();
        let submissions = vec![submission(Bytes::from(vec![b'x'; octets]))];
        frames.send(SubmitFrame { submissions, ..SubmitFrame::default() }).await.unwrap();
        let verdict = in_time(verdicts.next()).await;
        assert_eq!(matches!(verdict, Some(Ok(_))), is_taken, "{octets} octets: {verdict:?}");
    }
}

#[tokio::test]
async fn the_end_of_a_server_ends_its_streams() {
    let Running { url, end, served, _ready } = serve().await;
    let client = SubmitClient::connect(&url, Some(&secret("service"))).await.unwrap();
    let (frames, outgoing) = mpsc::channel(1);
    let mut verdicts = client.session(outgoing).await.unwrap();
    frames.send(SubmitFrame { submissions: vec![submission(Bytes::new())], ..SubmitFrame::default() }).await.unwrap();
    assert!(in_time(verdicts.next()).await.unwrap().is_ok());
    end.cancel();
    in_time(served).await.unwrap().unwrap();
    drop(frames);
    assert!(!matches!(in_time(verdicts.next()).await, Some(Ok(_))));
}

#[tokio::test]
async fn users_and_recipients_are_carried_whole() {
    let running = serve().await;
    let admin = AdminClient::connect(&running.url, Some(&secret("admin"))).await.unwrap();
    let change = UserChange {
        name: "user".into(),
        password: Some(secret("sesame")),
        tenant: Some(TenantId(3)),
        senders: Some(vec!["*".into()]),
        ..UserChange::default()
    };
    assert!(!format!("{change:?}").contains("sesame"), "a password is not shown");
    admin.put_user(change).await.unwrap();
    let user = admin.list_users("user", 7).await.unwrap().remove(0);
    assert_eq!((user.name.as_str(), user.tenant, user.changed_at), ("user", TenantId(3), Timestamp::from_secs(7)));
    assert!(admin.delete_user("user", "alice").await.unwrap() && !admin.delete_user("other", "").await.unwrap());
    let targets = vec!["x@b.example".to_owned(), "y@b.example".to_owned()];
    admin.put_address(Address { pattern: "@b.example".into(), targets }, "alice").await.unwrap();
    assert_eq!(admin.list_addresses("@b.example", 1).await.unwrap()[0].targets, ["a@b.example"]);
    assert!(admin.delete_address("@b.example", "").await.unwrap());

    let accounts = AccountsClient::connect(&running.url, Some(&secret("service"))).await.unwrap();
    let login = accounts.check_password("user", &secret("secret"), "192.0.2.1").await.unwrap();
    let expected = Account { name: "user".into(), tenant: TenantId(3), senders: vec!["@example.org".into()] };
    assert_eq!(login, Login::User(expected));
    assert_eq!(accounts.check_password("user", &secret("other"), "").await.unwrap(), Login::Invalid);
    let salt = ScramSalt::Salt { salt: vec![1, 2], iterations: 9 };
    assert_eq!(accounts.begin_scram("user", "").await.unwrap(), salt);
    assert_eq!(accounts.begin_scram("other", "").await.unwrap(), ScramSalt::Limited);
    let proof = ScramProof { name: "user".into(), client: String::new(), auth_message: b"m".to_vec(), proof: [7; 32] };
    let verdict = accounts.finish_scram(proof).await.unwrap();
    assert_eq!(verdict, ScramVerdict { login: Login::Limited, server_signature: [7; 32] });
    assert!(matches!(accounts.find_account("user").await, Err(ApiError::Unavailable(_))));
    assert_eq!(accounts.find_addresses(vec!["@a".into()]).await.unwrap()[0].pattern, "@a");
    assert_eq!(accounts.start_queue("example.org").await.unwrap(), 11);
    let stranger = AccountsClient::connect(&running.url, Some(&secret("admin"))).await.unwrap();
    assert!(matches!(stranger.start_queue("x").await, Err(ApiError::Unauthenticated(_))));
}

#[tokio::test]
async fn suspensions_are_carried_whole() {
    let running = serve().await;
    let admin = AdminClient::connect(&running.url, Some(&secret("admin"))).await.unwrap();
    admin.suspend(suspend_order()).await.unwrap();
    let refused = admin.suspend(SuspendOrder { operator: "two\nlines".into(), ..suspend_order() }).await;
    assert!(matches!(&refused, Err(ApiError::Invalid(text)) if text.contains("operator")), "{refused:?}");
    let order = |number| ResumeOrder { scope: Scope::Tenant(TenantId(number)), operator: "alice".into() };
    assert!(admin.resume(order(3)).await.unwrap() && !admin.resume(order(4)).await.unwrap());
    let all = admin.list_suspensions().await.unwrap();
    assert_eq!(all.len(), 1500);
    assert_eq!((&all[0], &all[1499]), (&suspension(TenantId(0)), &suspension(TenantId(1499))));
}

#[tokio::test]
async fn suppression_lists_are_carried_whole() {
    let running = serve().await;
    let operator = AdminClient::connect(&running.url, Some(&secret("operator"))).await.unwrap();
    let new = |address: &str| NewSuppression::new(address, "they asked".into(), Some(Timestamp::from_secs(9))).unwrap();
    let suppressions = vec![new("A@b.example"), new("c@b.example")];
    let order = SuppressOrder { tenant: TenantId(7), suppressions, operator: "alice".into() };
    assert_eq!(operator.suppress(order).await.unwrap(), 2);
    let off = |address: &str| operator.unsuppress(TenantId(7), address.into(), "alice".into());
    assert!(off("Gone@B.example").await.unwrap() && !off("other@b.example").await.unwrap());
    assert!(matches!(off("nobody").await, Err(ApiError::Invalid(text)) if text.contains("address: `nobody`")));

    let viewer = AdminClient::connect(&running.url, Some(&secret("viewer"))).await.unwrap();
    let filter = SuppressionFilter { tenant: Some(TenantId(7)), address: None };
    let first = viewer.list_suppressions(&filter, None).await.unwrap();
    let after = first.last().map(|last| (last.tenant, last.address.clone()));
    let second = viewer.list_suppressions(&filter, after).await.unwrap();
    assert_eq!((first.len(), second.len()), (1000, 500));
    assert_eq!((&first[0], &second[499]), (&suppression(TenantId(7), 0), &suppression(TenantId(7), 1499)));
    let refused = viewer.unsuppress(TenantId(7), "gone@b.example".into(), String::new()).await;
    assert!(matches!(refused, Err(ApiError::Forbidden(_))));

    let accounts = AccountsClient::connect(&running.url, Some(&secret("service"))).await.unwrap();
    for (tenant, address, found) in [
        (0, "gone@b.example", FoundSuppression::Nobody),
        (7, "other@b.example", FoundSuppression::NotListed),
        (7, "gone@b.example", FoundSuppression::Listed("it bounced".into())),
    ] {
        assert_eq!(accounts.find_suppression(TenantId(tenant), address).await.unwrap(), found);
    }
}

#[tokio::test]
async fn tokens_arrive_as_they_were_meant() {
    let running = serve().await;
    let admin = AdminClient::connect(&running.url, Some(&secret("admin"))).await.unwrap();
    let new = admin.create_token(token_order()).await.unwrap();
    assert_eq!((new.secret.expose(), new.view), ("once", token_view()));
    let nameless = TokenOrder { name: "two words".into(), ..token_order() };
    let refused = admin.create_token(nameless).await.unwrap_err();
    assert!(matches!(&refused, ApiError::Invalid(text) if text.contains("name: `two words`")), "{refused}");
    assert_eq!(admin.list_tokens("a", 7).await.unwrap(), [TokenView { name: "a7".into(), ..token_view() }]);
    assert!(admin.revoke_token("ci-bot", "alice").await.unwrap());
    assert!(!admin.revoke_token("other", "").await.unwrap());
}

#[tokio::test]
async fn contents_are_shown_to_whom_they_may_be() {
    let running = serve().await;
    let id = MessageId::from_i64(4096).unwrap();
    for (token, may) in [("viewer", false), ("operator", false), ("reader", true), ("admin", true)] {
        let client = AdminClient::connect(&running.url, Some(&secret(token))).await.unwrap();
        assert!(matches!(client.show(id, Shown::Headers).await, Err(ApiError::NotFound(_))), "{token}");
        match client.show(id, Shown::Content).await {
            Err(ApiError::NotFound(_)) => assert!(may, "{token}"),
            Err(ApiError::Forbidden(text)) => assert!(!may && text.contains("--content"), "{token}: {text}"),
            other => panic!("{token}: {other:?}"),
        }
    }
    let client = AdminClient::connect(&running.url, Some(&secret("away"))).await.unwrap();
    assert!(matches!(client.show(id, Shown::Headers).await, Err(ApiError::Unavailable(_))));
}

fn shard_map() -> ShardMap {
    let (id, lease_left) = (ReplicaId::from_slice(&[1; 16]).unwrap(), Duration::from_millis(2500));
    let replica = ReplicaView { id, address: "10.0.0.1:7070".into(), lease_left };
    let (shard, epoch) = (ShardId::new(255), Epoch(3));
    let owned = ShardView { shard, epoch, owner: Some((id, lease_left)), is_clean: false };
    let free = ShardView { shard: ShardId::new(0), epoch: Epoch(0), owner: None, is_clean: true };
    ShardMap { replicas: vec![replica], shards: vec![free, owned] }
}

fn status() -> Status {
    let id = WorkerId::from_slice(&[2; 16]).unwrap();
    let overview = Overview {
        shards: 256,
        taking_over: 2,
        spilled: 3,
        waiting: 4,
        ready: 5,
        in_flight: 6,
        oldest_ready: Some(MessageId::from_i64(7).unwrap().delivery(0)),
        is_draining: true,
        is_dispatching: true,
        workers: vec![WorkerView { id, name: "one".into(), credit: 8, in_flight: 9 }],
        suspensions: 10,
        pools: vec![
            PoolView { name: "default".into(), ready: 11, in_flight: 12, ..PoolView::default() },
            PoolView {
                name: "new".into(),
                allowance_left: Some(0),
                is_suspended: true,
                is_unserved: true,
                ..PoolView::default()
            },
        ],
        dead_destinations: 21,
        dead: vec![DeadView {
            destination: "dead.example".into(),
            hosts: vec!["relay.example".into()],
            deliveries: 22,
            until: Timestamp::from_secs(23),
        }],
        blocks: 24,
        blocked: vec![BlockView {
            address: std::net::Ipv4Addr::LOCALHOST.into(),
            by: "big".into(),
            is_provider: true,
            until: Timestamp::from_secs(25),
        }],
    };
    Status { replica: ReplicaId::from_slice(&[1; 16]).unwrap(), overview }
}

#[tokio::test]
async fn what_operators_look_at_arrives_as_it_was_told() {
    let running = serve().await;
    let admin = AdminClient::connect(&running.url, Some(&secret("operator"))).await.unwrap();
    assert_eq!(admin.shard_map().await, Ok(shard_map()));
    assert_eq!(admin.status().await, Ok(status()));
    let counted = admin.count(CountRequest { after: 41, ..CountRequest::default() }).await.unwrap();
    assert_eq!((counted.next, counted.looked_at), (42, 1));
}
