//! A queue with the real protocol and no database: replicas that share what they store and can be told to fail.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mailtier_api::accounts::{Account, Address, FoundSuppression, Login, ScramProof, ScramSalt, ScramVerdict};
use mailtier_api::submit::{NodeLease, StoredPart, Submission, SubmitFrame, Verdict, VerdictFrame};
use mailtier_api::{ApiError, Incoming, server};
use mailtier_config::Secret;
use mailtier_sasl::ScramKeys;
use mailtier_types::{BodyEncoding, MessageId, NodeNumber, ReplicaId, Reply, TenantId, reply};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// What a replica does with submissions.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Mode {
    /// Stores them.
    Accept,
    /// Refuses them.
    Refuse(Reply),
    /// Never answers.
    Silent,
    /// Stores them and ends the stream without an answer.
    StoreAndHangUp,
    /// Ends the stream without storing or answering.
    HangUp,
    /// The same when parts come, ahead of any message.
    HangUpOnParts,
}

/// What the replicas share.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    pub(crate) messages: BTreeMap<MessageId, Submission>,
    pub(crate) parts: BTreeMap<(MessageId, u32), Bytes>,
    /// Every submission seen, by which replica and whether as a resubmission.
    pub(crate) seen: Vec<(usize, MessageId, bool)>,
    pub(crate) frames: usize,
    pub(crate) aborted: Vec<MessageId>,
    /// The only user is none any more.
    pub(crate) user_is_gone: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Queue {
    stored: Arc<watch::Sender<Stored>>,
}

/// One replica.
pub(crate) struct Replica {
    pub(crate) url: String,
    mode: watch::Sender<Mode>,
    end: CancellationToken,
}

struct Handler {
    number: usize,
    queue: Queue,
    mode: watch::Receiver<Mode>,
    end: CancellationToken,
}

impl Queue {
    pub(crate) fn new() -> Self {
        Self { stored: Arc::new(watch::Sender::new(Stored::default())) }
    }

    pub(crate) async fn replica(&self, number: usize, mode: Mode) -> Replica {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.replica_on(listener, number, mode)
    }

    pub(crate) fn replica_on(&self, listener: TcpListener, number: usize, mode: Mode) -> Replica {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (mode, modes) = watch::channel(mode);
        let end = CancellationToken::new();
        let handler = Handler { number, queue: self.clone(), mode: modes, end: end.clone() };
        let (_ready, health) = watch::channel(None);
        let server = server::Server::new(listener, None).submit(handler).accounts(Accounts::new(self.clone()));
        tokio::spawn(server.serve(health, end.clone()));
        Replica { url, mode, end }
    }

    pub(crate) fn read<T>(&self, what: impl FnOnce(&Stored) -> T) -> T {
        what(&self.stored.borrow())
    }

    /// Nobody may log in any more, nor go on.
    pub(crate) fn delete_user(&self) {
        self.stored.send_modify(|stored| stored.user_is_gone = true);
    }

    /// Waits until something holds.
    pub(crate) async fn until(&self, what: impl FnMut(&Stored) -> bool) {
        let mut stored = self.stored.subscribe();
        tokio::time::timeout(Duration::from_secs(20), stored.wait_for(what)).await.expect("waited in vain").unwrap();
    }

    /// The content of a stored message, put together again.
    pub(crate) fn content(&self, id: MessageId) -> Vec<u8> {
        self.read(|stored| {
            let submission = &stored.messages[&id];
            let parts = (0..submission.parts).map(|seq| stored.parts[&(id, seq)].clone());
            let chunks = parts.chain([submission.body.clone()]);
            chunks
                .flat_map(|chunk| match submission.envelope.options.encoding {
                    BodyEncoding::Identity => chunk.to_vec(),
                    BodyEncoding::Zstd => zstd::bulk::decompress(&chunk, 2 << 20).unwrap(),
                })
                .collect()
        })
    }
}

impl Replica {
    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// As kill -9 does: connections are gone.
    pub(crate) fn kill(&self) {
        self.end.cancel();
    }
}

impl Handler {
    /// Whether the stream goes on.
    async fn take(&self, frame: SubmitFrame, outgoing: &mpsc::Sender<VerdictFrame>) -> bool {
        let mode = self.mode.borrow().clone();
        if mode == Mode::HangUpOnParts && !frame.parts.is_empty() {
            return false;
        }
        let submitted = !frame.submissions.is_empty();
        let (mut verdicts, mut parts) = (Vec::new(), Vec::new());
        self.queue.stored.send_modify(|stored| {
            stored.frames += 1;
            stored.aborted.extend(frame.aborted);
            if mode != Mode::HangUp {
                parts.extend(frame.parts.iter().map(|part| StoredPart { id: part.id, seq: part.seq }));
                stored.parts.extend(frame.parts.into_iter().map(|part| ((part.id, part.seq), part.data)));
            }
            for submission in frame.submissions {
                stored.seen.push((self.number, submission.id, submission.resubmission));
                let result = match &mode {
                    Mode::Refuse(reply) => Err(reply.clone()),
                    _ => Ok(()),
                };
                verdicts.push(Verdict { id: submission.id, result });
                if matches!(mode, Mode::Accept | Mode::StoreAndHangUp | Mode::HangUpOnParts) {
                    let complete = (0..submission.parts).all(|seq| stored.parts.contains_key(&(submission.id, seq)));
                    assert!(complete, "a message without its parts would have been stored");
                    stored.messages.entry(submission.id).or_insert(submission);
                }
            }
        });
        if submitted && matches!(mode, Mode::HangUp | Mode::StoreAndHangUp) {
            return false;
        }
        if mode == Mode::Silent {
            return true;
        }
        if submitted || !parts.is_empty() {
            let _ = outgoing.send(VerdictFrame { verdicts, stored: parts }).await;
        }
        true
    }
}

impl server::SubmitHandler for Handler {
    async fn lease_node(&self, _holder: ReplicaId) -> Result<NodeLease, ApiError> {
        Ok(NodeLease { node: NodeNumber::new(5).unwrap(), valid_for: Duration::from_secs(60) })
    }

    async fn session(&self, mut incoming: Incoming<SubmitFrame>, outgoing: mpsc::Sender<VerdictFrame>) {
        loop {
            let frame = tokio::select! {
                frame = incoming.next() => frame,
                () = self.end.cancelled() => return,
            };
            match frame {
                Some(Ok(frame)) => {
                    if !self.take(frame, &outgoing).await {
                        return;
                    }
                }
                _ => return,
            }
        }
    }
}

/// The only user.
pub(crate) const USER: &str = "user@example.org";
pub(crate) const USERS_TENANT: i32 = 3;
pub(crate) const PASSWORD: &str = "correct horse";

/// Knows one user, and no client that has failed too often but the one called so.
struct Accounts {
    keys: ScramKeys,
    queue: Queue,
}

impl Accounts {
    fn new(queue: Queue) -> Self {
        Self { queue, keys: ScramKeys::derive(PASSWORD, b"salt".to_vec(), std::num::NonZeroU32::new(4096).unwrap()) }
    }

    fn user(name: &str, good: bool) -> Login {
        let account = Account { name: USER.into(), tenant: TenantId(USERS_TENANT), senders: vec![USER.into()] };
        if name == USER && good { Login::User(account) } else { Login::Invalid }
    }
}

impl server::AccountsHandler for Accounts {
    async fn check_password(&self, name: String, password: Secret, client: String) -> Result<Login, ApiError> {
        assert_eq!(client, "127.0.0.1");
        match name.as_str() {
            "guesser@example.org" => Ok(Login::Limited),
            "away@example.org" => Err(ApiError::Unavailable("the database is away".into())),
            name => Ok(Self::user(name, password.expose() == PASSWORD)),
        }
    }

    async fn begin_scram(&self, _: String, _: String) -> Result<ScramSalt, ApiError> {
        Ok(ScramSalt::Salt { salt: self.keys.salt.clone(), iterations: self.keys.iterations })
    }

    async fn finish_scram(&self, proof: ScramProof) -> Result<ScramVerdict, ApiError> {
        let keys = &self.keys;
        let signature =
            mailtier_sasl::check_proof(&keys.stored_key, &keys.server_key, &proof.auth_message, &proof.proof);
        let login = Self::user(&proof.name, signature.is_some());
        Ok(ScramVerdict { login, server_signature: signature.unwrap_or([0; 32]) })
    }

    async fn find_account(&self, name: String) -> Result<Login, ApiError> {
        Ok(Self::user(&name, !self.queue.read(|stored| stored.user_is_gone)))
    }

    async fn find_addresses(&self, patterns: Vec<String>) -> Result<Vec<Address>, ApiError> {
        if patterns.iter().any(|pattern| pattern.starts_with("away@")) {
            return Err(ApiError::Unavailable("the database is away".into()));
        }
        let known = |pattern: &str, targets: &[&str]| Address {
            pattern: pattern.into(),
            targets: targets.iter().map(|target| (*target).to_owned()).collect(),
        };
        let all =
            [known("stored@example.org", &[]), known("list@example.org", &["a@example.net", "stored@example.org"])];
        Ok(all.into_iter().filter(|address| patterns.contains(&address.pattern)).collect())
    }

    async fn start_queue(&self, destination: String) -> Result<u64, ApiError> {
        Ok(u64::from(destination == "example.org"))
    }

    async fn find_suppression(&self, tenant: TenantId, recipient: String) -> Result<FoundSuppression, ApiError> {
        match (tenant.0, recipient.as_str()) {
            (9, _) => Ok(FoundSuppression::Nobody),
            (_, "gone@example.net") => Ok(FoundSuppression::Listed("it bounced".into())),
            (_, "away@example.net") => Err(ApiError::Unavailable("the database is away".into())),
            _ => Ok(FoundSuppression::NotListed),
        }
    }
}

/// A refusal as the queue gives it.
pub(crate) fn refusal() -> Reply {
    reply::INSUFFICIENT_STORAGE.with_text("Disk full")
}
