//! One session's questions answered: the facts of each are gathered, `policy` decides, and what it decided is carried out.
//! Not responsible for the dialogue, which is the engine's, nor for the socket, which is the transport's.
//!
//! | module | answers |
//! |---|---|
//! | `greeting` | the connection, EHLO, XCLIENT and XFORWARD |
//! | `envelope` | MAIL and RCPT |
//! | `content` | DATA, BDAT and the end of data |
//! | `login` | AUTH |
//! | `inquiries` | VRFY, EXPN, ETRN |

mod content;
mod envelope;
mod greeting;
mod inquiries;
mod login;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use mailtier_smtp::{Question, TlsInfo, Verdict};
use mailtier_transport::server::Handler;
use mailtier_types::TenantId;

use crate::limits::{Account, ClientKey, Held};
use crate::peer::Peer;
use crate::record::Tally;
use crate::shared::Shared;
use crate::transaction::Transaction;

/// The server's side of one session.
#[derive(Debug)]
pub(crate) struct Session {
    shared: Arc<Shared>,
    peer: Peer,
    transaction: Option<Transaction>,
    /// A login under way.
    attempt: Option<login::Attempt>,
    tally: Tally,
    /// When the queue last said who the user is.
    user_known_at: Instant,
    /// What counts against the limits of the client, of the user, and of whose mail it is.
    client_slot: Option<Held<ClientKey>>,
    user_slot: Option<Held<Arc<str>>>,
    tenant_slot: Option<Held<TenantId>>,
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>, peer: Peer) -> Self {
        Self {
            shared,
            peer,
            transaction: None,
            attempt: None,
            tally: Tally::default(),
            user_known_at: Instant::now(),
            client_slot: None,
            user_slot: None,
            tenant_slot: None,
        }
    }

    /// What is said about the session when it is over.
    pub(crate) const fn summary(&self) -> (&Peer, &Tally) {
        (&self.peer, &self.tally)
    }

    /// A login was forgotten: the session is its network's tenant's again. Where that has too many, it counts where it did.
    fn count_for_network(&mut self) {
        let tenant = self.peer.tenant();
        if self.tenant_slot.as_ref().is_some_and(|slot| *slot.holder() != tenant)
            && let Some(slot) = self.shared.limits.tenant_session(tenant)
        {
            self.tenant_slot = Some(slot);
        }
    }

    /// Whose limits count. Clients that may send to anyone are not limited by where they are.
    fn account(&self) -> Account<'_> {
        let peer = &self.peer;
        let tenant: TenantId = peer.tenant();
        let client = (!peer.trusted).then(|| (ClientKey::of(peer.address.ip()), peer.settings.limits));
        Account { client, user: peer.user.as_ref().map(|user| &user.name), tenant }
    }
}

impl Handler for Session {
    async fn ask(&mut self, question: Question) -> Verdict {
        match question {
            Question::Connect => self.connect().await,
            Question::Hello { name, extended } => self.hello(name, extended),
            Question::SaslStart(mechanism, initial) => self.sasl_start(mechanism, initial).await,
            Question::SaslResponse(response) => self.sasl_response(response).await,
            Question::Impersonate(attributes) => self.impersonate(&attributes).await,
            Question::Forward(attributes) => self.forward(attributes),
            Question::Mail(parameters) => self.mail(*parameters).await,
            Question::Rcpt(parameters) => self.rcpt(parameters).await,
            Question::Verify(address) => self.verify(&address).await,
            Question::Expand(address) => self.expand(&address).await,
            Question::StartQueue(node) => self.start_queue(&node).await,
            Question::Data => self.data().await,
            Question::EndOfData { .. } => self.end_of_data().await,
        }
    }

    async fn body(&mut self, chunk: Bytes) {
        if let Some(transaction) = &mut self.transaction {
            transaction.take(&chunk, &self.peer, &self.shared).await;
        }
    }

    fn reset(&mut self) {
        if let Some(mut content) = self.transaction.take().and_then(|transaction| transaction.content) {
            content.drop_all(&self.shared);
        }
    }

    fn tls(&mut self, info: &TlsInfo) {
        self.peer.tls = Some(Arc::new(info.clone()));
        // RFC 3207 §4.2.
        self.peer.helo.clear();
        self.peer.extended = false;
        self.peer.user = None;
        self.user_slot = None;
        self.count_for_network();
    }
}
